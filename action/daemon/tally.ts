import type { JobMetrics, ProtocolMetrics } from "./settings.ts";

/** What this worker has done so far. */
export class Tally {
  readonly #rows = new Map<string, ProtocolMetrics>();
  breakerOpened = 0;
  /** Changes with every use. */
  uses = 0;

  of(protocol: string): ProtocolMetrics {
    let row = this.#rows.get(protocol);
    if (!row) this.#rows.set(protocol, (row = { protocol, hits: 0, misses: 0, stored: 0, failed: 0, bytesIn: 0, bytesOut: 0, msWaited: 0 }));
    return row;
  }

  /** @param unsentBytes uploads that wait or were given up */
  metrics(unsentBytes: number): JobMetrics {
    const perProtocol = [...this.#rows.values()].map((row) => ({ ...row, msWaited: Math.round(row.msWaited) }));
    return { perProtocol, breakerOpened: this.breakerOpened, unsentBytes, restarts: 0 };
  }
}
