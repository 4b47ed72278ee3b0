import type { Transfer } from "./archives.ts";
import type { JobMetrics } from "./daemon/control.ts";
import type { Pushed } from "./nix/push.ts";
import { bytes, rate, time } from "./text.ts";

export interface Report {
  readonly server: string;
  readonly mode: string;
  readonly reason: string;
  readonly transfers: readonly Transfer[];
  /** Of what Nix has built. */
  readonly pushed?: Pushed | undefined;
  /** Undefined without a daemon: tools then talk to the server themselves. */
  readonly metrics: JobMetrics | undefined;
}

/** What the cache did in this job, as Markdown for the job's summary. */
export function summary({ server, mode, reason, transfers, pushed, metrics }: Report): string {
  const lines = ["### Stowhouse", "", `Mode **${mode}**${server === "" ? "" : ` at ${cell(server)}`}${reason === "" ? "" : ` (${cell(reason)})`}`, ""];
  if (transfers.length > 0) {
    lines.push("| Archive | Key | Result | Files | Transferred | Of | Time | Rate | Saved time |", "|---|---|---|---|---|---|---|---|---|");
    for (const one of transfers) lines.push(row([one.op, code(one.key), outcome(one), one.files || "", bytes(one.moved), one.total > 0 ? bytes(one.total) : "", time(one.ms), rate(one.moved, one.ms), saved(one)]));
    lines.push("");
  }
  const active = metrics?.perProtocol.filter(({ hits, misses, stored, failed }) => hits + misses + stored + failed > 0) ?? [];
  if (active.length > 0) {
    lines.push("| Protocol | Hits | Misses | Hit rate | Stored | Failed | Received | Sent | Waited |", "|---|---|---|---|---|---|---|---|---|");
    for (const one of active) {
      const asked = one.hits + one.misses;
      lines.push(row([one.protocol, one.hits, one.misses, asked > 0 ? `${Math.round((one.hits / asked) * 100)} %` : "", one.stored, one.failed, bytes(one.bytesIn), bytes(one.bytesOut), time(one.msWaited)]));
    }
    lines.push("");
  }
  if (pushed) lines.push(`- ${cell(pushText(pushed))}`);
  for (const trouble of troubles(metrics)) lines.push(`- ${trouble}`);
  return `${lines.join("\n").trimEnd()}\n`;
}

/** What became of what Nix has built, in one line. */
export function pushText({ status, paths, present, failed, moved, total, ms, reason }: Pushed): string {
  const counts = [`${paths} store paths pushed, ${bytes(total)} as ${bytes(moved)} in ${time(ms)}`, present > 0 && `${present} were there`, failed > 0 && `${failed} were not taken`].filter((one) => one !== false).join("; ");
  if (status === "denied") return `Nix: nothing more is pushed, because the server says no (${reason}); ${counts}`;
  return `Nix: ${counts}${reason === undefined ? "" : ` (${reason})`}`;
}

function troubles(metrics: JobMetrics | undefined): string[] {
  if (!metrics) return [];
  const { breakerOpened, unsentBytes, restarts } = metrics;
  return [
    breakerOpened > 0 && `A server was found dead or sick ${breakerOpened} times; tools went on without it.`,
    unsentBytes > 0 && `${bytes(unsentBytes)} of uploads did not reach a server in time.`,
    restarts > 0 && `The daemon's worker was started again ${restarts} times.`,
  ].filter((line) => line !== false);
}

function outcome({ status, via, matchedKey, key, unchanged, reason }: Transfer): string {
  const where = via === "github" ? " (GitHub's cache)" : "";
  if (status === "hit") return `hit${where}${matchedKey !== undefined && matchedKey !== key ? ` of ${code(matchedKey)}` : ""}`;
  if (status === "saved") return `saved${unchanged ? ", unchanged" : ""}${where}`;
  return cell(`${status}${where}${reason ? `: ${reason}` : ""}`);
}

/** Fewer bytes tell nothing about the network. */
const MEASURABLE = 1_000_000;

/** What the bytes the server had already would have taken at the rate of those that were sent. */
function saved({ op, status, moved, total, ms }: Transfer): string {
  if (op !== "save" || status !== "saved" || moved < MEASURABLE || total <= moved) return "";
  return time(((total - moved) / moved) * ms);
}

const row = (cells: readonly (string | number)[]) => `| ${cells.join(" | ")} |`;
/** Text that comes from outside must not break out of its cell. */
const cell = (text: string) => text.replaceAll(/[\r\n]+/g, " ").replaceAll(/[|<>&]/g, (sign) => `&#${sign.codePointAt(0)};`);
const code = (text: string) => `<code>${cell(text)}</code>`;
