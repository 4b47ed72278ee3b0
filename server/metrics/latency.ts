import type { MetricValueWithName, Registry } from "prom-client";

interface Cell {
  readonly labels: Readonly<Record<string, string>>;
  /** Observations below each bound, not cumulated; the last for those above all. */
  readonly counts: Float64Array;
  sum: number;
}

/** A series of a histogram that is observed on the hot path. */
export interface Series {
  observe(seconds: number): void;
}

/**
 * A histogram in prom-client's registry that counts in plain arrays: prom-client's own looks labels up and keeps exemplars,
 * which made it the dearest part of a request answered from RAM.
 */
export class Histogram {
  readonly #name: string;
  readonly #help: string;
  readonly #bounds: readonly number[];
  readonly #cells = new Map<string, Cell>();

  /** @param bounds upper bounds of the buckets, rising */
  constructor(registry: Registry, name: string, help: string, bounds: readonly number[]) {
    this.#name = name;
    this.#help = help;
    this.#bounds = bounds;
    // The registry asks a metric for its name and its values, whatever made it.
    registry.registerMetric({ name, get: () => Promise.resolve(this.#export()), reset: () => this.#cells.clear() } as never);
  }

  /** The series of these labels, to be kept. */
  series(labels: Readonly<Record<string, string>>): Series {
    const key = JSON.stringify(labels);
    let cell = this.#cells.get(key);
    if (!cell) this.#cells.set(key, (cell = { labels, counts: new Float64Array(this.#bounds.length + 1), sum: 0 }));
    const bounds = this.#bounds;
    const { counts } = cell;
    const target = cell;
    return {
      observe(seconds) {
        let bucket = 0;
        while (bucket < bounds.length && seconds > bounds[bucket]!) bucket++;
        counts[bucket]!++;
        target.sum += seconds;
      },
    };
  }

  #export(): object {
    const values: MetricValueWithName<string>[] = [];
    for (const { labels, counts, sum } of this.#cells.values()) {
      let count = 0;
      for (const [i, bound] of [...this.#bounds, "+Inf"].entries()) {
        count += counts[i]!;
        values.push({ metricName: `${this.#name}_bucket`, labels: { le: bound, ...labels }, value: count });
      }
      values.push({ metricName: `${this.#name}_sum`, labels: { ...labels }, value: sum }, { metricName: `${this.#name}_count`, labels: { ...labels }, value: count });
    }
    return { name: this.#name, help: this.#help, type: "histogram", aggregator: "sum", values };
  }
}
