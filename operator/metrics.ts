import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from "prom-client";

/** Each name in the dashboard and the alerts of charts/stowhouse-operator is one of these. */
const PREFIX = "stowhouse_operator_";

/** What one run of a reconciler came to; `conflict` is no error: somebody else was faster. */
export type Result = "success" | "conflict" | "error";

/** What is known only when it is asked for. */
export interface Sources {
  leading(): boolean;
  /** Keys that wait, by controller. */
  depths(): Iterable<readonly [controller: string, depth: number]>;
  /** Resources seen, by kind and by the status of their condition Ready. */
  managed(): Iterable<readonly [kind: string, ready: string, count: number]>;
}

/** What the operator tells Prometheus about itself. */
export class Metrics {
  readonly registry = new Registry();
  readonly #reconciles = new Counter({ name: `${PREFIX}reconcile_total`, help: "Runs of a reconciler by result.", labelNames: ["controller", "result"], registers: [this.registry] });
  readonly #durations = new Histogram({
    name: `${PREFIX}reconcile_duration_seconds`, help: "Duration of a run of a reconciler.", labelNames: ["controller"],
    buckets: [0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30], registers: [this.registry],
  });
  readonly #restarts = new Counter({ name: `${PREFIX}watch_restarts_total`, help: "Watches that broke off and were started again.", labelNames: ["kind"], registers: [this.registry] });
  readonly #requests = new Counter({ name: `${PREFIX}api_requests_total`, help: "Requests to the API server; code 0 where it did not answer.", labelNames: ["verb", "kind", "code"], registers: [this.registry] });
  readonly #dropped = new Counter({ name: `${PREFIX}events_dropped_total`, help: "Events not sent because they repeat or are too many.", registers: [this.registry] });

  constructor(version: string) {
    const { registry } = this;
    collectDefaultMetrics({ register: registry, prefix: PREFIX });
    new Gauge({ name: `${PREFIX}build_info`, help: "Version of the operator; always 1.", labelNames: ["version"], registers: [registry] }).set({ version }, 1);
  }

  /** What is asked when the metrics are. */
  observe(sources: Sources): void {
    const registers = [this.registry];
    new Gauge({ name: `${PREFIX}leader`, help: "1 while this operator leads.", registers, collect() { this.set(sources.leading() ? 1 : 0); } });
    new Gauge({
      name: `${PREFIX}queue_depth`, help: "Resources that wait for their turn.", labelNames: ["controller"], registers,
      collect() {
        for (const [controller, depth] of sources.depths()) this.set({ controller }, depth);
      },
    });
    new Gauge({
      name: `${PREFIX}managed`, help: "Resources looked after, by the status of their condition Ready.", labelNames: ["kind", "ready"], registers,
      collect() {
        this.reset();
        for (const [kind, ready, count] of sources.managed()) this.set({ kind, ready }, count);
      },
    });
  }

  /** Makes series known before they have happened, so that a rate over them is 0, not absent. */
  announce(controllers: readonly string[], kinds: readonly string[]): void {
    for (const controller of controllers) for (const result of ["success", "conflict", "error"] satisfies Result[]) this.#reconciles.inc({ controller, result }, 0);
    for (const kind of kinds) this.#restarts.inc({ kind }, 0);
  }

  /** @param duration s */
  reconciled(controller: string, result: Result, duration: number): void {
    this.#reconciles.inc({ controller, result });
    this.#durations.observe({ controller }, duration);
  }

  watchRestarted(kind: string): void {
    this.#restarts.inc({ kind });
  }

  requested(verb: string, kind: string, code: number): void {
    this.#requests.inc({ verb, kind, code });
  }

  eventDropped(): void {
    this.#dropped.inc();
  }
}
