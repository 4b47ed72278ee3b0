import { setTimeout } from "node:timers/promises";

/** What an attempt came to: `away` means that there was nobody to try it with. */
export type Attempt = "done" | "refused" | "again" | "away";

const AT_ONCE = 4;
const ATTEMPTS = 5;
const FIRST_PAUSE = 250;
const AWAY_PAUSE = 500;

/** Work that goes on behind the tools' backs: a few at once, tried again for a while, over at a deadline. */
export class Behind {
  readonly #end = new AbortController();
  readonly #open = new Set<Promise<boolean>>();
  readonly #queue: (() => void)[] = [];
  #running = 0;
  #waiting = 0;
  #lost = 0;

  /** Bytes that are not delivered: not yet, or never. */
  get unsentBytes(): number {
    return this.#waiting + this.#lost;
  }

  /**
   * Delivers so many bytes, once `after` has gone well. Resolves whether it did. @param work gets the signal that ends it
   */
  add(bytes: number, work: (signal: AbortSignal) => Promise<Attempt>, after: Promise<boolean> = Promise.resolve(true)): Promise<boolean> {
    this.#waiting += bytes;
    const done = after.then((well) => well && this.#slot(() => this.#attempts(work))).then((well) => {
      this.#waiting -= bytes;
      if (!well) this.#lost += bytes;
      this.#open.delete(done);
      return well;
    });
    this.#open.add(done);
    return done;
  }

  /** Waits for all work, for `ms` at most; then what is left is given up. */
  async drain(ms: number): Promise<void> {
    const timer = globalThis.setTimeout(() => this.#end.abort(), ms);
    while (this.#open.size > 0) await Promise.all(this.#open);
    clearTimeout(timer);
  }

  async #attempts(work: (signal: AbortSignal) => Promise<Attempt>): Promise<boolean> {
    const { signal } = this.#end;
    for (let failed = 0; !signal.aborted; ) {
      const result = await work(signal).catch((): Attempt => "again");
      if (result === "done" || result === "refused") return result === "done";
      if (result === "again" && ++failed === ATTEMPTS) return false;
      await setTimeout(result === "away" ? AWAY_PAUSE : FIRST_PAUSE * 2 ** failed, undefined, { signal }).catch(() => {});
    }
    return false;
  }

  async #slot<T>(work: () => Promise<T>): Promise<T> {
    if (this.#running >= AT_ONCE) await new Promise<void>((resolve) => this.#queue.push(resolve));
    else this.#running++;
    try {
      return await work();
    } finally {
      // The slot goes to the next in line, if there is one.
      const next = this.#queue.shift();
      if (next) next();
      else this.#running--;
    }
  }
}
