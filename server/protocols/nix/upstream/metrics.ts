import { Counter, Gauge, Histogram, type Registry } from "prom-client";

export type AskedFor = "narinfo" | "nar" | "file";
/** `miss` is certain; `untrusted` and `denied` count as one to the client. */
export type AskResult = "hit" | "miss" | "untrusted" | "denied" | "error" | "timeout" | "skipped";

/** What upstreams did for the caches of this server. */
export class UpstreamMetrics {
  readonly #requests: Counter<"cache" | "upstream" | "kind" | "result">;
  readonly #seconds: Histogram<"cache" | "upstream" | "kind">;
  readonly #bytes: Counter<"cache" | "upstream">;
  readonly #nars: Counter<"cache" | "result">;
  readonly #joins: Counter<"cache">;
  readonly #arriving: Gauge;
  readonly #open: Gauge<"cache" | "upstream">;

  constructor(registry: Registry) {
    const registers = [registry];
    this.#requests = new Counter({ name: "stowhouse_upstream_requests_total", help: "Questions to upstreams by result.", labelNames: ["cache", "upstream", "kind", "result"], registers });
    this.#seconds = new Histogram({
      name: "stowhouse_upstream_request_duration_seconds", help: "Time until an upstream's answer, for NARs until it begins.", labelNames: ["cache", "upstream", "kind"],
      buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30], registers,
    });
    this.#bytes = new Counter({ name: "stowhouse_upstream_received_bytes_total", help: "Bytes of NARs received from upstreams.", labelNames: ["cache", "upstream"], registers });
    this.#nars = new Counter({ name: "stowhouse_upstream_nars_total", help: "NARs fetched, by how it ended: kept, unkept (served, but no room to keep it), spoiled, missing, cancelled or failed.", labelNames: ["cache", "result"], registers });
    this.#joins = new Counter({ name: "stowhouse_upstream_joins_total", help: "Requests for a NAR that was arriving already.", labelNames: ["cache"], registers });
    this.#arriving = new Gauge({ name: "stowhouse_upstream_arriving", help: "NARs that are arriving.", registers });
    this.#open = new Gauge({ name: "stowhouse_upstream_open", help: "Whether an upstream is left alone because it failed.", labelNames: ["cache", "upstream"], aggregator: "max", registers });
    this.#arriving.set(0);
  }

  asked(cache: string, upstream: string, kind: AskedFor, result: AskResult, milliseconds?: number): void {
    this.#requests.labels(cache, upstream, kind, result).inc();
    if (milliseconds !== undefined) this.#seconds.labels(cache, upstream, kind).observe(milliseconds / 1000);
  }

  received(cache: string, upstream: string, bytes: number): void {
    this.#bytes.labels(cache, upstream).inc(bytes);
  }

  nar(cache: string, result: "kept" | "unkept" | "spoiled" | "missing" | "cancelled" | "failed"): void {
    this.#nars.labels(cache, result).inc();
  }

  joined(cache: string): void {
    this.#joins.labels(cache).inc();
  }

  arriving(change: 1 | -1): void {
    this.#arriving.inc(change);
  }

  open(cache: string, upstream: string, open: boolean): void {
    this.#open.labels(cache, upstream).set(open ? 1 : 0);
  }
}
