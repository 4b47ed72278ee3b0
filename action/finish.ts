import { identify } from "./access.ts";
import { isExact, metricsOf, save, type Access, type Transfer } from "./archives.ts";
import { reportSaved } from "./cache-steps.ts";
import type { JobMetrics, ProtocolMetrics } from "./daemon/control.ts";
import { rightsOf } from "./event.ts";
import { setupInputs, type SetupInputs } from "./inputs.ts";
import { isDead, SET_UP } from "./memory.ts";
import type { Parts } from "./parts.ts";
import type { Pushed } from "./nix/push.ts";
import { pickUp, removeJobDir, type State } from "./state.ts";
import { pushText, summary } from "./summary.ts";
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
  let pushed: Pushed | undefined;
  let metrics: JobMetrics | undefined;
  try {
    const state = await renewed(step, parts, inputs, left);
    saved = await saveAtEnd(step, parts, inputs, state);
    pushed = await pushAtEnd(step, parts, inputs, state);
  } finally {
    if (left.nix) await parts.undoNix(step, left.nix.directory);
    if (left.daemon !== undefined) {
      metrics = await parts.stopDaemon(left.daemon, { drainMs: isDead(left.stateDir, SET_UP) ? SHORT_DRAIN : DRAIN, also: [...metricsOf([left.restored, saved].filter((one) => one !== undefined)), ...pushMetrics(pushed)] });
    }
    removeJobDir(left.stateDir, [left.daemon, left.nix?.directory]);
  }
  await report(step, inputs, left, [left.restored, saved], pushed, metrics);
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

/** What Nix has built. It goes straight to the server, like archives; not after a job that was cancelled, which has little time left. */
async function pushAtEnd({ toolkit, env }: Step, parts: Parts, inputs: SetupInputs, { nix, mode, connections, stateDir }: State): Promise<Pushed | undefined> {
  if (!nix || inputs.jobStatus === "cancelled" || isDead(stateDir, SET_UP)) return undefined;
  if (!rightsOf(mode).write) {
    toolkit.info("What Nix has built is not pushed: this job may only read");
    return undefined;
  }
  const pushed = await parts.pushNix({ env, connections, since: nix.since, directory: nix.directory, deadlineMs: inputs.timeout });
  if (pushed.reason === undefined) toolkit.info(pushText(pushed));
  else toolkit.warning(pushText(pushed));
  return pushed;
}

/** What a push adds to the metrics of a job's daemon, which has not seen it. */
function pushMetrics(pushed: Pushed | undefined): ProtocolMetrics[] {
  if (!pushed) return [];
  const { paths, failed, status, moved, ms } = pushed;
  return [{ protocol: "nix", hits: 0, misses: 0, stored: paths, failed: failed + Number(status === "unavailable"), bytesIn: 0, bytesOut: moved, msWaited: Math.round(ms) }];
}

async function report({ toolkit }: Step, inputs: SetupInputs, state: State, transfers: readonly (Transfer | undefined)[], pushed: Pushed | undefined, metrics: JobMetrics | undefined): Promise<void> {
  if (inputs.summary === "never" || (inputs.summary === "on-failure" && inputs.jobStatus === "success")) return;
  const { mode, reason, connections: [first] } = state;
  await toolkit.summarize(summary({ server: first?.url ?? "", mode, reason, transfers: transfers.filter((one) => one !== undefined), pushed, metrics }));
}
