export interface BreakerOptions {
  /** Failures in a row after which nobody asks any more. */
  readonly failures: number;
  /** How long, ms. Then one request tries, and decides for the others. */
  readonly pause: number;
}

/** The permission for one request. Exactly one of its ends counts; further ones do nothing. */
export interface Attempt {
  succeeded(): void;
  failed(): void;
  /** It was given up for reasons that say nothing about the upstream. */
  left(): void;
}

/** Keeps requests from an upstream that fails: closed → open after failures in a row → half open, for one probe. */
export class Breaker {
  readonly #options: BreakerOptions;
  readonly #now: () => number;
  #failures = 0;
  #openUntil: number | undefined;
  #probe: object | undefined;

  constructor(options: BreakerOptions, now: () => number = Date.now) {
    this.#options = options;
    this.#now = now;
  }

  get open(): boolean {
    return this.#openUntil !== undefined;
  }

  /** Seconds until the next try, at least 1. */
  get retryAfter(): number {
    return Math.max(1, Math.ceil(((this.#openUntil ?? 0) - this.#now()) / 1000));
  }

  /** Undefined when nobody may ask. */
  enter(): Attempt | undefined {
    if (this.#openUntil !== undefined && (this.#probe || this.#now() < this.#openUntil)) return undefined;
    const own = {};
    if (this.#openUntil !== undefined) this.#probe = own;
    let ended = false;
    const once = (end: (probing: boolean) => void) => () => {
      if (ended) return;
      ended = true;
      const probing = this.#probe === own;
      if (probing) this.#probe = undefined;
      end(probing);
    };
    return {
      succeeded: once(() => {
        this.#failures = 0;
        this.#openUntil = undefined;
        this.#probe = undefined;
      }),
      failed: once((probing) => {
        this.#failures++;
        // What was asked before it opened and fails later changes nothing.
        if (probing || (this.#openUntil === undefined && this.#failures >= this.#options.failures)) this.#openUntil = this.#now() + this.#options.pause;
      }),
      left: once(() => {}),
    };
  }
}
