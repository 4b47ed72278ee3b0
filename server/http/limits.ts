import { errors } from "../core/errors.ts";

const WINDOW_MS = 60_000;
/** Pairs counted at once; beyond it the oldest window is forgotten. */
const MAX_PAIRS = 50_000;

/** Counts requests of (credential, address) pairs in windows of a minute: a public key is never limited as a whole. */
export class RateLimiter {
  readonly #max: number;
  readonly #windows = new Map<string, { count: number; ends: number }>();

  /** @param max requests a minute; 0 turns limiting off */
  constructor(max: number) {
    this.#max = max;
  }

  /** Counts one request. @throws rateLimited with the seconds until the window ends */
  take(actor: string, address: string): void {
    if (this.#max === 0) return;
    const pair = `${actor} ${address}`;
    const now = Date.now();
    let window = this.#windows.get(pair);
    if (!window || window.ends <= now) {
      this.#windows.delete(pair);
      if (this.#windows.size >= MAX_PAIRS) this.#windows.delete(this.#windows.keys().next().value!);
      this.#windows.set(pair, (window = { count: 0, ends: now + WINDOW_MS }));
    }
    if (++window.count > this.#max) throw errors.rateLimited("", { retryAfter: Math.ceil((window.ends - now) / 1000) });
  }
}

export function isLoopback(address: string): boolean {
  return address.startsWith("127.") || address === "::1" || address.startsWith("::ffff:127.");
}

/** A bounded number of places; whoever finds none waits in line, and is refused after `patience` ms. */
export class Places {
  #free: number;
  readonly #patience: number;
  readonly #line = new Set<() => void>();

  constructor(count: number, patience: number) {
    this.#free = count;
    this.#patience = patience;
  }

  /** @throws tooManyUploads */
  async take(): Promise<() => void> {
    if (this.#free > 0) this.#free--;
    else {
      await new Promise<void>((resolve, reject) => {
        const next = () => {
          clearTimeout(timer);
          resolve();
        };
        const timer = setTimeout(() => {
          this.#line.delete(next);
          reject(errors.tooManyUploads("", { retryAfter: 5 }));
        }, this.#patience);
        this.#line.add(next);
      });
    }
    let given = false;
    return () => {
      if (given) return;
      given = true;
      const next = this.#line.values().next().value;
      if (next) {
        this.#line.delete(next);
        next();
      } else this.#free++;
    };
  }
}
