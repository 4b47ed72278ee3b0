import type { Received } from "../../../server/protocols/go/wire.ts";
import type { Fetched, Remote } from "./remote.ts";

/** How a look-up ended: it is here, or is on its way, or no stream will bring it. */
export type Prefetched = { readonly state: "here"; readonly fetched: Fetched } | { readonly state: "coming"; readonly arrival: Promise<Fetched | undefined> } | { readonly state: "unlisted" };

/** What is announced and not here yet: whoever waits for it, once somebody does. */
interface Expected {
  arrival?: PromiseWithResolvers<Fetched | undefined>;
}

/** What puts outputs on disk before go asks for them. */
export interface Shelf {
  /** Does it now. Must not throw. */
  spill(fetched: Fetched): void;
  /** Whether it would take one more to be put there beside other work. */
  readonly free: boolean;
  /** Does it beside other work. Must not reject. */
  place(fetched: Fetched): Promise<void>;
}

/** Smaller outputs wait until go asks: their work is a file, and not everything that comes is asked for. Bytes as they come. */
const WORTH_AHEAD = 4096;
/** Streams of neighbours at once, and actions of which a server is told that they need not come. */
const MAX_STREAMS = 4;
const MAX_HAVE = 8_192;

/**
 * Outputs that come before go asks for them: what the last build used, streamed from the first moment on, and what was stored
 * next to an action that this build needs beyond that. Large ones of the former are put on disk beside all other work, the rest
 * when go asks, or when more of them are in memory than the budget allows.
 */
export class Bundle {
  readonly #here = new Map<string, Fetched>();
  readonly #expected = new Map<string, Expected>();
  readonly #abort = new AbortController();
  readonly #budget: number;
  #shelf: Shelf | undefined;
  readonly #list = Promise.withResolvers<void>();
  #have: readonly string[] = [];
  /** What is here and will surely be asked for, in that order. */
  readonly #ahead: string[] = [];
  /** What the server has for this label, as far as this machine lacks it. */
  readonly #listed = new Set<string>();
  #bytes = 0;
  #streams = 0;
  #decided = false;
  /** Bytes and records received. */
  received = { bytes: 0, records: 0 };

  /** @param budget bytes of compressed outputs kept in memory */
  constructor(budget: number) {
    this.#budget = budget;
  }

  /** A bundle that never has anything. */
  static none(): Bundle {
    const bundle = new Bundle(0);
    bundle.#decide();
    bundle.stop();
    return bundle;
  }

  /** Streams what the last build used; resolves at its end, and never throws. @param have actions this machine has @returns why it broke off */
  async run(remote: Remote, label: string, have: readonly string[], shelf: Shelf): Promise<string | undefined> {
    this.#shelf = shelf;
    this.#have = have.slice(-MAX_HAVE);
    try {
      await this.#stream(remote, { label }, have, [], () => this.#decide());
      return undefined;
    } catch (error) {
      return (error as Error).message;
    } finally {
      this.#decide();
    }
  }

  /** Whether the list of what the last build used is known, or will never be. */
  get decided(): boolean {
    return this.#decided;
  }

  /** Resolves when it is. */
  get list(): Promise<void> {
    return this.#list.promise;
  }

  /** Whether the server's list for this label was exactly this. */
  listed(used: ReadonlySet<string>): boolean {
    return used.size === this.#listed.size && used.isSubsetOf(this.#listed);
  }

  look(action: string): Prefetched {
    const fetched = this.#leave(action);
    if (fetched) return { state: "here", fetched };
    const expected = this.#expected.get(action);
    return expected ? { state: "coming", arrival: (expected.arrival ??= Promise.withResolvers()).promise } : { state: "unlisted" };
  }

  /** Whether another stream may begin. */
  get mayAsk(): boolean {
    return this.#streams < MAX_STREAMS && !this.#abort.signal.aborted;
  }

  /** Asks for an action that no stream brings, and for its neighbours. Undefined when no server has it. @throws what Remote.get throws */
  async near(remote: Remote, action: string): Promise<Fetched | undefined> {
    const arrival = Promise.withResolvers<Fetched | undefined>();
    this.#expected.set(action, { arrival });
    let known = false;
    void this.#stream(remote, { near: action }, this.#have, [action], () => (known = true)).catch(() => {});
    // It is there, but too large to come with others.
    return (await arrival.promise) ?? (known ? remote.get(action) : undefined);
  }

  /** Stops all of it: nobody asks any more. */
  stop(): void {
    this.#abort.abort();
    this.#here.clear();
    this.#ahead.length = 0;
  }

  async #stream(remote: Remote, of: { label: string } | { near: string }, have: readonly string[], asked: readonly string[], onList: () => void): Promise<void> {
    const listed = new Set(asked);
    this.#streams++;
    try {
      await remote.bundle(of, have, (actions) => {
        for (const action of actions) {
          listed.add(action);
          if ("label" in of) this.#listed.add(action);
          if (!this.#expected.has(action) && !this.#here.has(action)) this.#expected.set(action, {});
        }
        this.#have = [...this.#have, ...actions].slice(-MAX_HAVE);
        onList();
      }, (received) => {
        listed.delete(received.head.action);
        return this.#take(received, "label" in of);
      }, this.#abort.signal);
    } finally {
      this.#streams--;
      for (const action of listed) this.#settle(action, undefined);
    }
  }

  /** @returns what the stream waits for before it goes on */
  #take({ head, body }: Received, sure: boolean): Promise<void> | undefined {
    this.received.bytes += body.length;
    this.received.records++;
    // Another stream was faster.
    if (!this.#expected.has(head.action)) return undefined;
    const fetched = head.found ? { head, body } : undefined;
    if (this.#settle(head.action, fetched) || !fetched) return undefined;
    if (this.#bytes + body.length > this.#budget) {
      if (this.#shelf?.free) return this.#shelf.place(fetched);
      this.#shelf?.spill(fetched);
      return undefined;
    }
    this.#here.set(head.action, fetched);
    this.#bytes += body.length;
    if (!sure || body.length < WORTH_AHEAD) return undefined;
    this.#ahead.push(head.action);
    this.#workAhead();
    return undefined;
  }

  #leave(action: string): Fetched | undefined {
    const fetched = this.#here.get(action);
    if (!fetched) return undefined;
    this.#here.delete(action);
    this.#bytes -= fetched.body.length;
    return fetched;
  }

  readonly #workAhead = (): void => {
    while (this.#shelf?.free && this.#ahead.length > 0) {
      const fetched = this.#leave(this.#ahead.shift()!);
      if (fetched) void this.#shelf.place(fetched).then(this.#workAhead);
    }
  };

  /** @returns whether somebody waited */
  #settle(action: string, fetched: Fetched | undefined): boolean {
    const expected = this.#expected.get(action);
    this.#expected.delete(action);
    expected?.arrival?.resolve(fetched);
    return expected?.arrival !== undefined;
  }

  #decide(): void {
    this.#decided = true;
    this.#list.resolve();
  }
}
