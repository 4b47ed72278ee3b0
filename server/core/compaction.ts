import { ARCHIVES } from "./archives.ts";
import type { Database } from "../database/database.ts";
import { chunksOf, type Bodies } from "./bodies.ts";
import type { Caches } from "./caches.ts";
import type { Catalog } from "./catalog.ts";
import type { Entry } from "./entry.ts";

/** Bodies below this are served by us anyway, bytes. */
const MIN_SIZE = 1024 * 1024;
/** Younger entries are left alone: what is read at all is mostly read soon after it was written, ms. */
const MIN_AGE_MS = 60_000;
const BATCH = 20;

/**
 * Joins the parts of large bodies into one object, where the storage can hand out URLs: only one object can be redirected
 * to. Archives stay as they are: they share their parts. Reads go on from the parts until the entry points at the joined blob,
 * and for the grace after that.
 */
export class Compaction {
  readonly #database: Database;
  readonly #bodies: Bodies;
  readonly #caches: Caches;
  readonly #catalog: Catalog;
  readonly #redirects: (cache: string) => boolean;

  /** @param redirects whether a cache's storages hand out URLs */
  constructor(parts: { database: Database; bodies: Bodies; caches: Caches; catalog: Catalog; redirects: (cache: string) => boolean }) {
    this.#database = parts.database;
    this.#bodies = parts.bodies;
    this.#caches = parts.caches;
    this.#catalog = parts.catalog;
    this.#redirects = parts.redirects;
  }

  /** Joins a few bodies of each cache that wants it. Returns how many. */
  async pass(minAge = MIN_AGE_MS): Promise<number> {
    let joined = 0;
    for (const cache of this.#caches.list()) {
      if (!this.#redirects(cache.name)) continue;
      const entries = await this.#database.scan("partedEntries", { cache: cache.name, except: ARCHIVES.name, minSize: MIN_SIZE, before: Date.now() - minAge, limit: BATCH });
      for (const entry of entries) if (await this.#join(entry)) joined++;
    }
    return joined;
  }

  async #join(entry: Entry): Promise<boolean> {
    const cache = this.#caches.require(entry.cache);
    const body = await this.#bodies.open(entry);
    try {
      const blob = await this.#bodies.ingest(cache, entry.trusted, chunksOf(body), { size: entry.size, digest: entry.digest ?? undefined, limit: entry.size, counted: false });
      const { joined, unused } = await this.#database.write("joinParts", { id: entry.id, blob, now: Date.now() });
      await this.#bodies.removeFiles(unused);
      this.#catalog.forget(entry);
      return joined;
    } finally {
      await body.close();
    }
  }
}
