import { braces } from "../client/exposition.ts";
import type { JobMetrics, ProtocolMetrics, PushSettings } from "./settings.ts";

const PUSH_MS = 3_000;

const OF_PROTOCOL: readonly [name: string, help: string, of: (row: ProtocolMetrics) => number][] = [
  ["hits", "Look-ups that found an entry", (row) => row.hits],
  ["misses", "Look-ups that found none", (row) => row.misses],
  ["stored", "Entries that were stored", (row) => row.stored],
  ["failed", "Requests no server answered as it should", (row) => row.failed],
  ["received_bytes", "Bytes of bodies from servers", (row) => row.bytesIn],
  ["sent_bytes", "Bytes of bodies to servers", (row) => row.bytesOut],
  ["waited_seconds", "Time tools waited for answers", (row) => row.msWaited / 1000],
];

/** A job's metrics in the text format of Prometheus. */
export function exposition(metrics: JobMetrics, labels: Readonly<Record<string, string>> = {}): string {
  const lines: string[] = [];
  const gauge = (name: string, help: string, samples: readonly [labels: Readonly<Record<string, string>>, value: number][]) => {
    lines.push(`# HELP stowhouse_job_${name} ${help}.`, `# TYPE stowhouse_job_${name} gauge`);
    for (const [own, value] of samples) lines.push(`stowhouse_job_${name}${braces({ ...labels, ...own })} ${value}`);
  };
  for (const [name, help, of] of OF_PROTOCOL) gauge(name, help, metrics.perProtocol.map((row) => [{ protocol: row.protocol }, of(row)]));
  gauge("breaker_opened", "How often a server was found dead or sick", [[{}, metrics.breakerOpened]]);
  gauge("unsent_bytes", "Bytes of uploads that never reached a server", [[{}, metrics.unsentBytes]]);
  gauge("restarts", "How often the daemon's worker was started again", [[{}, metrics.restarts]]);
  return `${lines.join("\n")}\n`;
}

/** Sends them; a failure is logged, and no job's concern. */
export async function push({ url, headers, labels }: PushSettings, metrics: JobMetrics): Promise<void> {
  try {
    const answer = await fetch(url, {
      method: "POST", headers: { "content-type": "text/plain; version=0.0.4", ...headers }, body: exposition(metrics, labels), signal: AbortSignal.timeout(PUSH_MS),
    });
    if (!answer.ok) console.error(`the job's metrics were not taken: ${answer.status}`);
    await answer.body?.cancel();
  } catch (error) {
    console.error(`the job's metrics could not be pushed: ${(error as Error).message}`);
  }
}
