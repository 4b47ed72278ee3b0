/** Nothing must have arrived for so long, ms: the NARs of one pull come with gaps. */
const QUIET_MS = 100;
/** How long one waits at most, ms. */
const PATIENCE_MS = 10_000;
/** How many wait at most: each holds a file and what came of it last. */
const MOST_WAITING = 64;

/**
 * When to store what has come: one after the other as long as nothing more comes, for clients wait for that alone. Who has
 * waited too long, or is one too many, goes at once.
 */
export class Leisure {
  #arriving = 0;
  #working = 0;
  #quietSince = 0;
  readonly #waiting = new Set<() => void>();
  #look: NodeJS.Timeout | undefined;

  /** Something begins to arrive. The function returned ends that, once. */
  arrives(): () => void {
    this.#arriving++;
    return () => {
      this.#arriving--;
      this.#quietSince = performance.now();
      this.#plan();
    };
  }

  /** Does a work when it is its turn. @throws the signal's reason, and what the work throws */
  async work(signal: AbortSignal, work: () => Promise<void>): Promise<void> {
    await this.#turn(signal);
    signal.throwIfAborted();
    this.#working++;
    try {
      await work();
    } finally {
      this.#working--;
      this.#plan();
    }
  }

  async #turn(signal: AbortSignal): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const latest = setTimeout(resolve, PATIENCE_MS);
    signal.addEventListener("abort", () => resolve(), { once: true });
    this.#waiting.add(resolve);
    if (this.#waiting.size > MOST_WAITING) this.#next();
    this.#plan();
    await promise;
    clearTimeout(latest);
    this.#waiting.delete(resolve);
  }

  #plan(): void {
    clearTimeout(this.#look);
    const wait = this.#quietSince + QUIET_MS - performance.now();
    this.#look = setTimeout(() => {
      if (this.#arriving === 0 && this.#working === 0) this.#next();
    }, Math.max(wait, 0)).unref();
  }

  #next(): void {
    const [next] = this.#waiting;
    if (!next) return;
    this.#waiting.delete(next);
    next();
  }
}
