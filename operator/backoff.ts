/** Waiting times that double from `least` to `most` ms, each spread over its upper half so that many don't come at once. */
export class Backoff {
  readonly #least: number;
  readonly #most: number;
  readonly #chance: () => number;
  #failures = 0;

  constructor(least: number, most: number, chance: () => number = Math.random) {
    this.#least = least;
    this.#most = most;
    this.#chance = chance;
  }

  /** How often in a row it failed. */
  get failures(): number {
    return this.#failures;
  }

  /** The time to wait after one more failure, ms. */
  next(): number {
    // 30 doublings are beyond any `most`, and far from infinity.
    const full = Math.min(this.#most, this.#least * 2 ** Math.min(30, this.#failures++));
    return full * (0.5 + this.#chance() / 2);
  }

  reset(): void {
    this.#failures = 0;
  }
}

/** Resolves after a time, or at once when the signal is aborted. */
export function sleep(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const end = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    signal.addEventListener("abort", end);
  });
}
