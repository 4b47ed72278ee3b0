import { Backoff } from "./backoff.ts";

/** What became of a run. `after`: look again after so many ms; without it the key is forgotten until it is added again. */
export interface Worked {
  readonly after?: number;
}

export interface QueueOptions {
  /** Never called twice at once for the same key. */
  readonly work: (key: string) => Promise<Worked>;
  /** A run failed; the next comes after `wait` ms at the latest. The answer, if any, is the least time to wait, ms. */
  readonly onError?: (key: string, error: unknown, failures: number) => number | undefined;
  readonly concurrency?: number;
  /** Waiting times after failures, ms. */
  readonly backoff?: { readonly least: number; readonly most: number };
  /** How often a key may run: so many times in a row, and then once every `every` ms. */
  readonly pace?: { readonly burst: number; readonly every: number };
}

interface Item {
  readonly backoff: Backoff;
  timer: NodeJS.Timeout | undefined;
  /** When the timer fires (performance.now()). */
  due: number;
  ready: boolean;
  running: boolean;
  /** It was added again while it ran. */
  again: boolean;
  /** Runs that the pace still allows, at the time `countedAt`. */
  allowed: number;
  countedAt: number;
}

const CONCURRENCY = 4;
const BACKOFF = { least: 1_000, most: 300_000 };
const PACE = { burst: 10, every: 6_000 };

/**
 * Keys to work on. A key that is added many times before its turn runs once; one that is added while it runs, runs once more
 * afterwards. Failures are retried with growing pauses, for each key its own. Somebody who changes our objects back as fast
 * as we do is met at a set pace.
 */
export class Queue {
  readonly #options: QueueOptions;
  readonly #pace: { readonly burst: number; readonly every: number };
  readonly #items = new Map<string, Item>();
  readonly #ready: string[] = [];
  readonly #running = new Set<Promise<void>>();
  #stopped = false;

  constructor(options: QueueOptions) {
    this.#options = options;
    this.#pace = options.pace ?? PACE;
  }

  /** How many keys could run now, were there room for them. */
  get depth(): number {
    return this.#ready.length;
  }

  /** As soon as may be. */
  add(key: string): void {
    this.addAfter(key, 0);
  }

  /** After a time, unless it comes sooner for another reason. @param ms time to wait */
  addAfter(key: string, ms: number): void {
    if (this.#stopped) return;
    const item = this.#item(key);
    if (item.running && ms === 0) item.again = true;
    else this.#schedule(key, item, ms);
  }

  /** Starts nothing more, and resolves when what runs has ended. */
  async stop(): Promise<void> {
    this.#stopped = true;
    for (const { timer } of this.#items.values()) clearTimeout(timer);
    this.#items.clear();
    this.#ready.length = 0;
    await Promise.all(this.#running);
  }

  #item(key: string): Item {
    const known = this.#items.get(key);
    if (known !== undefined) return known;
    const { least, most } = this.#options.backoff ?? BACKOFF;
    const item: Item = { backoff: new Backoff(least, most), timer: undefined, due: Infinity, ready: false, running: false, again: false, allowed: this.#pace.burst, countedAt: performance.now() };
    this.#items.set(key, item);
    return item;
  }

  #schedule(key: string, item: Item, ms: number): void {
    const now = performance.now();
    const due = now + Math.max(ms, this.#untilAllowed(item, now));
    if (item.ready || item.due <= due) return;
    clearTimeout(item.timer);
    item.due = due;
    item.timer = setTimeout(() => this.#makeReady(key, item), due - now);
  }

  #untilAllowed(item: Item, now: number): number {
    const { burst, every } = this.#pace;
    item.allowed = Math.min(burst, item.allowed + (now - item.countedAt) / every);
    item.countedAt = now;
    return item.allowed >= 1 ? 0 : (1 - item.allowed) * every;
  }

  #makeReady(key: string, item: Item): void {
    item.timer = undefined;
    item.due = Infinity;
    if (item.running) {
      item.again = true;
      return;
    }
    item.ready = true;
    this.#ready.push(key);
    this.#fill();
  }

  #fill(): void {
    while (!this.#stopped && this.#running.size < (this.#options.concurrency ?? CONCURRENCY)) {
      const key = this.#ready.shift();
      if (key === undefined) return;
      const run: Promise<void> = this.#run(key, this.#item(key)).finally(() => {
        this.#running.delete(run);
        this.#fill();
      });
      this.#running.add(run);
    }
  }

  async #run(key: string, item: Item): Promise<void> {
    item.ready = false;
    item.running = true;
    item.allowed -= 1;
    let after: number | undefined;
    try {
      ({ after } = await this.#options.work(key));
      item.backoff.reset();
    } catch (error) {
      const wait = item.backoff.next();
      after = Math.max(wait, this.#options.onError?.(key, error, item.backoff.failures) ?? 0);
    }
    item.running = false;
    if (this.#stopped) return;
    if (item.again) {
      item.again = false;
      this.#schedule(key, item, 0);
    }
    if (after !== undefined) this.#schedule(key, item, after);
    // Nothing is waiting for it: a resource that is gone leaves nothing behind.
    else if (item.timer === undefined) this.#items.delete(key);
  }
}
