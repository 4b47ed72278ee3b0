import { identify } from "./access.ts";
import { isExact, metricsOf, save, type Access, type Transfer } from "./archives.ts";
import { reportSaved } from "./cache-steps.ts";
import type { JobMetrics } from "./daemon/control.ts";
import { rightsOf } from "./event.ts";
import { setupInputs, type SetupInputs } from "./inputs.ts";
import { isDead, SET_UP } from "./memory.ts";
import type { Parts } from "./parts.ts";
import { pickUp, removeJobDir, type State } from "./state.ts";
import { summary } from "./summary.ts";
import type { Step } from "./toolkit.ts";

/** A token that ends sooner is replaced before it is used, ms. */
const SOON = 5 * 60_000;
/** How long the daemon may go on sending what tools have stored, ms. */
const DRAIN = 60_000;
/** The same for a server that was found dead. */
const SHORT_DRAIN = 1_000;

/** Post of the set-up action: saves, ends the daemon, reports, and leaves nothing behind. @throws Failure with fail-on-error */
export async function finish(step: Step, parts: Parts): Promise<void> {
  const { toolkit } = step;
  // Inputs are evaluated anew: job-status now says how the job went.
  const inputs = setupInputs((name) => toolkit.getInput(name));
  const left = pickUp(toolkit);
  if (!left) return;
  let saved: Transfer | undefined;
  let metrics: JobMetrics | undefined;
  try {
    const state = await renewed(step, parts, inputs, left);
    saved = await saveAtEnd(step, parts, inputs, state);
  } finally {
    if (left.daemon !== undefined) {
      metrics = await parts.stopDaemon(left.daemon, { drainMs: isDead(left.stateDir, SET_UP) ? SHORT_DRAIN : DRAIN, also: metricsOf([left.restored, saved].filter((one) => one !== undefined)) });
    }
    removeJobDir(left.stateDir, left.daemon);
  }
  await report(step, inputs, left, [left.restored, saved], metrics);
  if (saved && inputs.archive) reportSaved(step, { ...inputs, ...inputs.archive }, saved);
}

/** A job can outlive its token; the credentials it came from are still there. */
async function renewed(step: Step, parts: Parts, inputs: SetupInputs, state: State): Promise<State> {
  if (state.connections.length === 0 || state.expires - Date.now() > SOON) return state;
  const { sessions } = await identify(step, inputs, state.stateDir);
  const { daemon } = state;
  if (daemon !== undefined) await Promise.all(sessions.map(({ url, token }) => parts.renewToken(daemon, token, url)));
  return { ...state, connections: state.connections.map((one) => ({ ...one, token: sessions.find(({ url }) => url === one.url)?.token ?? one.token })) };
}

async function saveAtEnd(step: Step, parts: Parts, inputs: SetupInputs, state: State): Promise<Transfer | undefined> {
  const { toolkit } = step;
  const { archive, jobStatus } = inputs;
  if (!archive) return undefined;
  if (isExact(archive.key, state.restored?.matchedKey)) {
    toolkit.info(`Cache hit occurred on the primary key ${archive.key}, not saving cache.`);
    return undefined;
  }
  if (jobStatus !== "success" && !(jobStatus === "failure" && inputs.saveOnFailure)) {
    toolkit.info(`The job ended with ${jobStatus || "no status"}, not saving cache.`);
    return undefined;
  }
  const gone = state.connections.length > 0 && isDead(state.stateDir, SET_UP);
  const access: Access = {
    connections: gone ? [] : state.connections, rights: rightsOf(state.mode), alone: gone || state.alone, stateDir: state.stateDir, name: SET_UP,
    reason: gone ? "the server was of no use a moment ago" : state.reason,
  };
  return save(step, parts, access, { ...inputs, ...archive });
}

async function report({ toolkit }: Step, inputs: SetupInputs, state: State, transfers: readonly (Transfer | undefined)[], metrics: JobMetrics | undefined): Promise<void> {
  if (inputs.summary === "never" || (inputs.summary === "on-failure" && inputs.jobStatus === "success")) return;
  const { mode, reason, connections: [first] } = state;
  await toolkit.summarize(summary({ server: first?.url ?? "", mode, reason, transfers: transfers.filter((one) => one !== undefined), metrics }));
}
