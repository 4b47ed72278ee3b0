/** Times in ms, the rest in failures. */
export interface BreakerOptions {
  /** How long a server that failed is left alone; doubles with every failed probe. */
  readonly rest: number;
  readonly longestRest: number;
  /** Bad answers in a row that open it; a server that does not answer at all opens it at once. */
  readonly badAnswers: number;
}

export const BREAKER: BreakerOptions = { rest: 30_000, longestRest: 300_000, badAnswers: 3 };

/** Remembers that a server is dead or sick, so that only one request in a while finds out again, and no other waits. */
export class Breaker {
  readonly #options: BreakerOptions;
  #bad = 0;
  #rest: number;
  #openUntil = 0;
  #probing = false;

  constructor(options: BreakerOptions = BREAKER) {
    this.#options = options;
    this.#rest = options.rest;
  }

  /** Whether requests may go out now. Whoever gets true reports `good`, `bad` or `dead` as it comes, and `release` at the end. */
  take(now = Date.now()): boolean {
    if (this.#openUntil === 0) return true;
    if (now < this.#openUntil || this.#probing) return false;
    this.#probing = true;
    return true;
  }

  release(): void {
    this.#probing = false;
  }

  good(): void {
    this.#bad = 0;
    this.#openUntil = 0;
    this.#rest = this.#options.rest;
    this.#probing = false;
  }

  /** The server answered that it can't. */
  bad(now = Date.now()): void {
    this.#bad++;
    if (this.#probing || this.#bad >= this.#options.badAnswers) this.dead(now);
  }

  /** The server did not answer. */
  dead(now = Date.now()): void {
    if (this.#probing) this.#rest = Math.min(this.#rest * 2, this.#options.longestRest);
    this.#probing = false;
    this.#bad = 0;
    this.#openUntil = now + this.#rest;
  }
}
