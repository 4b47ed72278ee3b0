import { gzipSync } from "node:zlib";
import { braces } from "../exposition.ts";
import { WAITS, type Figures, type Where } from "./figures.ts";
import type { UploadFigures } from "./uploads.ts";

const PUSH_MS = 5_000;

export interface PushOptions {
  readonly endpoint: string;
  readonly method: string;
  readonly gzip: boolean;
  /** VictoriaMetrics' `vmrange` buckets instead of Prometheus' `le`. */
  readonly vmHistograms: boolean;
  readonly labels: Readonly<Record<string, string>>;
  readonly headers: Readonly<Record<string, string>>;
}

/** The figures of one run in the text format of Prometheus. */
export function exposition(figures: Figures, uploads: UploadFigures | undefined, options: Pick<PushOptions, "labels" | "vmHistograms">): string {
  const lines: string[] = [];
  const metric = (name: string, type: string, help: string, samples: readonly [labels: Readonly<Record<string, string>>, value: number, suffix?: string][]) => {
    lines.push(`# HELP stowhouse_go_${name} ${help}`, `# TYPE stowhouse_go_${name} ${type}`);
    for (const [labels, value, suffix = ""] of samples) lines.push(`stowhouse_go_${name}${suffix}${braces({ ...options.labels, ...labels })} ${value}`);
  };
  const gets = Object.entries(figures.gets) as [Where, Figures["gets"][Where]][];
  metric("gets", "gauge", "Look-ups by where the output came from.", gets.map(([source, { count }]) => [{ source }, count]));
  metric("get_bytes", "gauge", "Bytes of outputs that were found.", gets.map(([source, { bytes }]) => [{ source }, bytes]));
  metric("waited_seconds", "gauge", "Time look-ups took.", gets.map(([source, { ms }]) => [{ source }, ms / 1000]));
  metric("get_duration_seconds", "histogram", "Time of one look-up.", histogram(figures, options.vmHistograms));
  metric("puts", "gauge", "Outputs the build has made.", [[{}, figures.puts]]);
  metric("put_bytes", "gauge", "Bytes of outputs the build has made.", [[{}, figures.putBytes]]);
  metric("received_bytes", "gauge", "Bytes of bodies from servers.", [[{}, figures.receivedBytes]]);
  metric("errors", "gauge", "Look-ups and outputs that failed.", [[{}, figures.errors]]);
  metric("run_seconds", "gauge", "From start to end.", [[{}, figures.seconds]]);
  const { sent = 0, bytes = 0, failed = 0, undelivered = 0 } = uploads ?? {};
  metric("uploads", "gauge", "Outputs by how their upload ended.", [[{ result: "sent" }, sent], [{ result: "failed" }, failed], [{ result: "undelivered" }, undelivered]]);
  metric("sent_bytes", "gauge", "Bytes of bodies to servers.", [[{}, bytes]]);
  return `${lines.join("\n")}\n`;
}

function histogram(figures: Figures, vm: boolean): [Readonly<Record<string, string>>, number, string][] {
  const total = figures.waits.reduce((sum, count) => sum + count, 0);
  const seconds = Object.values(figures.gets).reduce((sum, { ms }) => sum + ms, 0) / 1000;
  let below = 0;
  const buckets = figures.waits.flatMap((count, i): [Record<string, string>, number, string][] => {
    const [least, most] = [i === 0 ? "0" : String(WAITS[i - 1]! / 1000), i === WAITS.length ? "+Inf" : String(WAITS[i]! / 1000)];
    below += count;
    if (!vm) return [[{ le: most }, below, "_bucket"]];
    return count === 0 ? [] : [[{ vmrange: `${least}...${most}` }, count, "_bucket"]];
  });
  return [...buckets, [{}, seconds, "_sum"], [{}, total, "_count"]];
}

/** Sends them. @throws Error when they were not taken */
export async function push(text: string, { endpoint, method, gzip, headers }: PushOptions): Promise<void> {
  const answer = await fetch(endpoint, {
    method: method.toUpperCase() === "PUT" ? "PUT" : "POST",
    headers: { "content-type": "text/plain; version=0.0.4", ...(gzip && { "content-encoding": "gzip" }), ...headers },
    body: gzip ? gzipSync(text) : text,
    signal: AbortSignal.timeout(PUSH_MS),
  });
  await answer.body?.cancel();
  if (!answer.ok) throw new Error(`the endpoint answered ${answer.status}`);
}
