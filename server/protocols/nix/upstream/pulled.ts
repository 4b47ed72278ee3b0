import { hash } from "node:crypto";
import { LRUCache } from "lru-cache";
import type { Core } from "../../../core/core.ts";
import type { Entry, Keyspace } from "../../../core/entry.ts";
import type { Grant } from "../../../core/grant.ts";
import type { Slot } from "../../../core/recent.ts";
import type { PathRecord } from "../narinfos.ts";

/** Narinfos from upstreams, as we serve them, by the hash in the store path; their metadata is a PulledRecord. */
export const PULLED: Keyspace = { name: "nix-pulled", maxKeyLength: 32, overwrite: true };
/** Where NARs of upstreams come from, by the name under which we publish them (hex); the metadata is an Origin. */
export const ORIGINS: Keyspace = { name: "nix-origin", maxKeyLength: 64, overwrite: true };

/** The scope of what upstreams say. No credential can be given it, and every reader of the cache is shown it. */
const SCOPE = "*upstream";
/** Origins in RAM, for those that find no room in the cache. */
const MOST_ORIGINS = 20_000;
const DAY_MS = 86_400_000;

export interface PulledRecord extends PathRecord {
  /** The name of the upstream. */
  readonly upstream: string;
}

/** All that is needed to fetch a NAR again when it was evicted. */
export interface Origin {
  readonly upstream: string;
  /** As the upstream's narinfo says it. */
  readonly url: string;
  /** The hash in the store path. */
  readonly path: string;
  readonly narHash: string;
  /** SHA-256 of the file, hex, and its bytes, as far as known. */
  readonly digest?: string | undefined;
  readonly size?: number | undefined;
}

export interface Kept {
  readonly entry: Entry;
  readonly record: PulledRecord;
  readonly slot: Slot;
}

/** The name of a NAR's file whose hash its upstream does not say: no SHA-256 of any file is like it. */
export function opaqueName(upstream: string, path: string, narHash: string): string {
  return hash("sha256", `a NAR of ${upstream}: ${path} ${narHash}`);
}

/** What one cache remembers of its upstreams' paths, for as long as it has room. */
export class Pulled {
  readonly #core: Core;
  /** Reads what was kept. */
  readonly reader: Grant;
  readonly #origins = new LRUCache<string, Origin>({ max: MOST_ORIGINS });
  readonly #onError: (error: unknown) => void;

  constructor(core: Core, cache: string, onError: (error: unknown) => void) {
    this.#core = core;
    this.reader = { cache, read: [SCOPE], write: null, trusted: false, admin: false, actor: "upstream" };
    this.#onError = onError;
  }

  /** @param trusted whether what comes counts as asked for by a trusted scope: an untrusted one's wishes must not evict others' */
  writer(trusted: boolean): Grant & { readonly write: string } {
    return { ...this.reader, write: SCOPE, trusted };
  }

  /** @throws readFailure */
  async path(path: string): Promise<Kept | undefined> {
    const { entry, slot } = await this.#core.catalog.get(this.reader, PULLED, path);
    if (!entry) return undefined;
    const record = JSON.parse(entry.metadata!) as PulledRecord;
    // Who reads a path may ask for its NAR as long as it remembers the path, whatever has been evicted until then.
    if (entry.accessed < Date.now() - DAY_MS) {
      const origin = await this.#core.catalog.get(this.reader, ORIGINS, record.nar);
      if (origin.entry) this.#core.catalog.touch(origin.entry, this.reader);
    }
    return { entry, record, slot };
  }

  /** Undefined when there was no room. */
  async keepPath(path: string, text: string, record: PulledRecord, trusted: boolean): Promise<Entry | undefined> {
    return this.keep(PULLED, path, Buffer.from(text), record, trusted);
  }

  /** @throws readFailure */
  async origin(name: string): Promise<Origin | undefined> {
    const known = this.#origins.get(name);
    if (known) return known;
    const { entry } = await this.#core.catalog.get(this.reader, ORIGINS, name);
    if (!entry) return undefined;
    const origin = JSON.parse(entry.metadata!) as Origin;
    this.#origins.set(name, origin);
    return origin;
  }

  async keepOrigin(name: string, origin: Origin, trusted: boolean): Promise<void> {
    this.#origins.set(name, origin);
    await this.keep(ORIGINS, name, Buffer.alloc(0), origin, trusted);
  }

  /** What turned out to be wrong, or gone. */
  async forget(name: string, path: string): Promise<void> {
    this.#origins.delete(name);
    const writer = this.writer(true);
    const audit = { at: Date.now(), actor: "upstream", action: "delete", cache: writer.cache, keyspace: PULLED.name, scope: SCOPE, key: path, size: 0, result: "gone", address: "" };
    const pulled = await this.#core.catalog.get(writer, PULLED, path);
    // Its upstream may have built the path anew since, under another name.
    if (pulled.entry && (JSON.parse(pulled.entry.metadata!) as PulledRecord).nar === name) await this.#core.catalog.remove(writer, PULLED, path, "", audit);
    await this.#core.catalog.remove(writer, ORIGINS, name, "", { ...audit, keyspace: ORIGINS.name, key: name });
  }

  /** Undefined when there was no room. */
  async keep(keyspace: Keyspace, key: string, body: Buffer, record: object, trusted: boolean): Promise<Entry | undefined> {
    try {
      const { entry } = await this.#core.bodies.put(this.writer(trusted), keyspace, key, body, { metadata: JSON.stringify(record), overwrite: true, needs: [] });
      return entry;
    } catch (error) {
      this.#onError(error);
      return undefined;
    }
  }
}
