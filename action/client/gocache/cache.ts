import { hash } from "node:crypto";
import type { Bundle, Shelf } from "./bundle.ts";
import type { Head } from "../../../server/protocols/go/wire.ts";
import { base64Of, type Command, type Request, type Response, type Sink } from "./protocol.ts";
import { plainOf, type Fetched, type Remote } from "./remote.ts";
import type { Figures } from "./figures.ts";
import type { Placer } from "./placer.ts";
import type { DiskStore, Stored, Writer } from "./store.ts";
import type { Uploads } from "./uploads.ts";

/** A look-up goes alone when the stream it waits for has brought nothing for so long, or not this one for longer, ms. */
const STUCK_MS = 250;
const LATE_MS = 1_000;
/** After so many look-ups in a row that no server could answer, go is told of a miss at once, and the answer is awaited behind its back. */
const HOPELESS = 16;
/** Look-ups that are awaited so, at most. */
const MAX_BEHIND = 32;

export interface CacheParts {
  readonly store: DiskStore;
  readonly placer: Placer;
  readonly remote: Remote;
  readonly bundle: Bundle;
  /** Undefined where nothing may be written. */
  readonly uploads: Uploads | undefined;
  readonly figures: Figures;
  readonly log: (level: "debug" | "warn", message: string) => void;
  /** Keeps this tool's entries apart from others'. */
  readonly prefix: string;
  readonly reads: boolean;
  readonly writes: boolean;
}

/** What a go command talks to: disk first, then the bundle, then servers; whatever fails is a miss. */
export class GoCache implements Shelf {
  readonly #parts: CacheParts;
  /** Actions of this build in the order of their first use. */
  readonly used = new Set<string>();
  /** Put on disk before go has asked for them. */
  readonly #ahead = new Set<string>();
  /** On their way there. */
  readonly #placing = new Map<string, Promise<void>>();
  #missed = 0;
  #behind = 0;

  constructor(parts: CacheParts) {
    this.#parts = parts;
  }

  get commands(): Command[] {
    const { reads, writes } = this.#parts;
    return [...(reads ? (["get"] as const) : []), ...(writes ? (["put"] as const) : []), "close"];
  }

  /** Never throws: what can't be found out is a miss. */
  async get({ id, action }: Request): Promise<Response> {
    const { figures, log, reads } = this.#parts;
    const began = performance.now();
    let found: { stored: Stored; where: "disk" | "bundle" | "server" } | undefined;
    try {
      found = reads ? await this.#find(action) : undefined;
    } catch (error) {
      figures.failed();
      log("warn", `get ${action}: ${(error as Error).message}`);
    }
    figures.got(found?.where ?? "miss", found?.stored.size ?? 0, performance.now() - began);
    if (!found) return { ID: id, Miss: true };
    this.used.add(action);
    const { output, size, time, path } = found.stored;
    return { ID: id, OutputID: base64Of(output), Size: size, Time: new Date(time).toISOString(), DiskPath: path };
  }

  async #find(action: string): Promise<{ stored: Stored; where: "disk" | "bundle" | "server" } | undefined> {
    const { bundle, remote, store } = this.#parts;
    await this.#placing.get(action);
    const stored = store.get(this.#name(action));
    if (stored) return { stored, where: this.#ahead.delete(action) ? "bundle" : "disk" };
    if (!remote.present) return undefined;
    if (!bundle.decided) await Promise.race([bundle.list, after(LATE_MS)]);
    const look = bundle.look(action);
    if (look.state === "here") return this.#keep(look.fetched, "bundle");
    if (look.state === "coming") return this.#whicheverIsSooner(action, look.arrival);
    if (this.#missed < HOPELESS) return this.#ask(action);
    if (this.#behind < MAX_BEHIND) {
      this.#behind++;
      void this.#ask(action).catch(() => {}).finally(() => this.#behind--);
    }
    return undefined;
  }

  /** Asks servers for what no stream brings. */
  async #ask(action: string): Promise<{ stored: Stored; where: "server" } | undefined> {
    const { bundle, remote } = this.#parts;
    const fetched = bundle.mayAsk ? await bundle.near(remote, action) : await remote.get(action);
    this.#missed = fetched ? 0 : this.#missed + 1;
    return fetched && this.#keep(fetched, "server");
  }

  async #whicheverIsSooner(action: string, arrival: Promise<Fetched | undefined>): Promise<{ stored: Stored; where: "bundle" | "server" } | undefined> {
    const { bundle, remote } = this.#parts;
    const late = Symbol("late");
    for (let waited = 0; waited < LATE_MS; waited += STUCK_MS) {
      const { records } = bundle.received;
      const first = await Promise.race([arrival, after(STUCK_MS, late)]);
      if (first !== late) return this.#keepOr(first as Fetched | undefined, "bundle", () => remote.get(action));
      if (bundle.received.records === records) break;
    }
    const abort = new AbortController();
    const alone = remote.get(action, abort.signal).catch(() => undefined);
    const fromBundle = arrival.then((fetched) => fetched ?? alone);
    const sooner = await Promise.race([fromBundle, alone.then((fetched) => fetched ?? arrival)]);
    abort.abort();
    return sooner && this.#keep(sooner, "server");
  }

  async #keepOr(fetched: Fetched | undefined, where: "bundle", other: () => Promise<Fetched | undefined>): Promise<{ stored: Stored; where: "bundle" | "server" } | undefined> {
    if (fetched) return this.#keep(fetched, where);
    // The bundle said that the server has it no longer, or it broke off.
    const alone = await other();
    return alone && this.#keep(alone, "server");
  }

  #keep<W extends string>(fetched: Fetched, where: W): { stored: Stored; where: W } {
    this.#parts.figures.received(fetched.body.length);
    return { stored: this.#store(fetched), where };
  }

  spill(fetched: Fetched): void {
    try {
      this.#store(fetched);
      this.#cameAhead(fetched.head, fetched.body.length);
    } catch (error) {
      this.#parts.log("warn", `the bundle: ${(error as Error).message}`);
    }
  }

  get free(): boolean {
    return this.#parts.placer.free;
  }

  place(fetched: Fetched): Promise<void> {
    const { action } = fetched.head;
    const placing = this.#place(fetched).finally(() => this.#placing.delete(action));
    this.#placing.set(action, placing);
    return placing;
  }

  async #place(fetched: Fetched): Promise<void> {
    const { placer, store, log } = this.#parts;
    const { head, body: { length } } = fetched;
    try {
      await placer.place(fetched);
      store.name(this.#name(head.action), head);
      this.#cameAhead(head, length);
    } catch (error) {
      log("warn", `the bundle: ${(error as Error).message}`);
    }
  }

  #cameAhead({ action }: Head, bytes: number): void {
    this.#ahead.add(action);
    this.#parts.figures.received(bytes);
  }

  /** Verifies an output of a server and puts it into the disk store. @throws Error when it is not what it is said to be */
  #store(fetched: Fetched): Stored {
    return this.#parts.store.add(this.#name(fetched.head.action), fetched.head.output, plainOf(fetched), fetched.head.time);
  }

  /** Takes the body of a put; `respond` is called once it is on disk. */
  put({ id, action, output, size }: Request, respond: (response: Response) => void): Sink {
    const { store, figures, uploads, log } = this.#parts;
    let writer: Writer | undefined;
    let failure: string | undefined;
    const attempt = (work: () => void) => {
      if (failure !== undefined) return;
      try {
        work();
      } catch (error) {
        failure = (error as Error).message;
        writer?.abort();
      }
    };
    attempt(() => (writer = store.begin(this.#name(action), output, size)));
    return {
      write: (bytes) => attempt(() => writer!.write(bytes)),
      end: (problem) => {
        if (problem !== undefined) attempt(() => { throw new Error(problem); });
        let stored: Stored | undefined;
        attempt(() => (stored = writer!.commit(output)));
        if (!stored) {
          log("warn", `put ${action}: ${failure}`);
          figures.failed();
          return respond({ ID: id, Err: `the cache could not keep an output: ${failure}` });
        }
        figures.put(stored.size);
        this.used.add(action);
        uploads?.add(action, stored);
        respond({ ID: id, DiskPath: stored.path });
      },
    };
  }

  #name(action: string): string {
    return this.#parts.prefix === "" ? action : hash("sha256", `${this.#parts.prefix}\0${action}`);
  }
}

function after<T>(ms: number, value?: T): Promise<T | undefined> {
  return new Promise((done) => setTimeout(() => done(value), ms).unref());
}
