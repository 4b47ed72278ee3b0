import { hash } from "node:crypto";
import { Bundle } from "./bundle.ts";
import { base64Of, type Command, type Request, type Response, type Sink } from "./protocol.ts";
import { plainOf, type Fetched, type Remote } from "./remote.ts";
import type { Figures } from "./figures.ts";
import type { DiskStore, Stored, Writer } from "./store.ts";
import type { Uploads } from "./uploads.ts";

/** A look-up goes alone when what it waits for has not come for so long, ms: then the stream is stuck, or far behind. */
const ALONE_MS = 250;

export interface CacheParts {
  readonly store: DiskStore;
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
export class GoCache {
  readonly #parts: CacheParts;
  /** Actions of this build in the order of their first use. */
  readonly used = new Set<string>();

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
    const stored = store.get(this.#name(action));
    if (stored) return { stored, where: "disk" };
    if (!remote.present) return undefined;
    if (!bundle.decided) await Promise.race([bundle.list, after(ALONE_MS)]);
    const look = bundle.look(action);
    if (look.state === "here") return this.#keep(look.fetched, "bundle");
    if (look.state === "coming") return this.#whicheverIsSooner(action, look.arrival);
    const fetched = await remote.get(action);
    return fetched && this.#keep(fetched, "server");
  }

  async #whicheverIsSooner(action: string, arrival: Promise<Fetched | undefined>): Promise<{ stored: Stored; where: "bundle" | "server" } | undefined> {
    const { remote } = this.#parts;
    const late = Symbol("late");
    const first = await Promise.race([arrival, after(ALONE_MS, late)]);
    if (first !== late) return this.#keepOr(first as Fetched | undefined, "bundle", () => remote.get(action));
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

  /** Puts an output on disk that nobody has asked for yet. Never throws. */
  spill(fetched: Fetched): void {
    try {
      this.#store(fetched);
    } catch (error) {
      this.#parts.log("debug", `the bundle: ${(error as Error).message}`);
    }
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
