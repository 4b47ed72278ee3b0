import type { Received } from "../../../server/protocols/go/wire.ts";
import type { Fetched, Remote } from "./remote.ts";

/** How a look-up in the bundle ended: it is here, or is on its way, or the bundle will not have it. */
export type Prefetched = { readonly state: "here"; readonly fetched: Fetched } | { readonly state: "coming"; readonly arrival: Promise<Fetched | undefined> } | { readonly state: "unlisted" };

interface Waiter {
  readonly promise: Promise<Fetched | undefined>;
  readonly settle: (fetched: Fetched | undefined) => void;
}

/**
 * What the last build used, streamed from the first moment on. Outputs stay compressed in memory until go asks for them, up
 * to a budget; beyond it they are handed to `spill` at once.
 */
export class Bundle {
  readonly #here = new Map<string, Fetched>();
  readonly #waiters = new Map<string, Waiter>();
  readonly #abort = new AbortController();
  readonly #budget: number;
  readonly #spill: (fetched: Fetched) => void;
  #listed: Set<string> | undefined;
  #bytes = 0;
  #over = false;
  readonly #list = Promise.withResolvers<void>();
  /** Bytes and records received. */
  received = { bytes: 0, records: 0 };

  /** @param budget bytes of compressed outputs kept in memory */
  constructor(budget: number, spill: (fetched: Fetched) => void) {
    this.#budget = budget;
    this.#spill = spill;
  }

  /** A bundle that has nothing. */
  static none(): Bundle {
    const bundle = new Bundle(0, () => {});
    bundle.#end();
    return bundle;
  }

  /** Runs until the stream has ended; never throws. @returns why it broke off */
  async run(remote: Remote, label: string, have: readonly string[]): Promise<string | undefined> {
    try {
      await remote.bundle(label, have, (actions) => this.#begin(actions), (received) => this.#take(received), this.#abort.signal);
      return undefined;
    } catch (error) {
      return (error as Error).message;
    } finally {
      this.#end();
    }
  }

  /** Whether the list of what comes is known, or will never be. */
  get decided(): boolean {
    return this.#listed !== undefined || this.#over;
  }

  /** Resolves when it is. */
  get list(): Promise<void> {
    return this.#list.promise;
  }

  look(action: string): Prefetched {
    const fetched = this.#here.get(action);
    if (fetched) {
      this.#here.delete(action);
      this.#bytes -= fetched.body.length;
      return { state: "here", fetched };
    }
    if (this.#over || !this.#listed?.has(action)) return { state: "unlisted" };
    let waiter = this.#waiters.get(action);
    if (!waiter) {
      const { promise, resolve } = Promise.withResolvers<Fetched | undefined>();
      this.#waiters.set(action, (waiter = { promise, settle: resolve }));
    }
    return { state: "coming", arrival: waiter.promise };
  }

  /** Stops it: nobody asks any more. */
  stop(): void {
    this.#abort.abort();
    this.#here.clear();
  }

  #begin(actions: readonly string[]): void {
    this.#listed = new Set(actions);
    this.#list.resolve();
  }

  #take({ head, body }: Received): void {
    this.#listed?.delete(head.action);
    this.received.bytes += body.length;
    this.received.records++;
    const waiter = this.#waiters.get(head.action);
    this.#waiters.delete(head.action);
    const fetched = head.found ? { head, body } : undefined;
    if (waiter) return waiter.settle(fetched);
    if (!fetched) return;
    if (this.#bytes + body.length > this.#budget) return this.#spill(fetched);
    this.#here.set(head.action, fetched);
    this.#bytes += body.length;
  }

  #end(): void {
    this.#over = true;
    this.#list.resolve();
    for (const waiter of this.#waiters.values()) waiter.settle(undefined);
    this.#waiters.clear();
  }
}
