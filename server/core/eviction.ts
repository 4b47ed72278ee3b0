import type { Database } from "../database/database.ts";
import type { AuditRecord } from "../database/operations/audit.ts";
import type { Cache, Caches } from "./caches.ts";
import type { Catalog } from "./catalog.ts";
import type { Entry } from "./entry.ts";
import type { Journal } from "./journal.ts";
import type { Quota } from "./quota.ts";

/** Entries removed in one transaction: small, so that requests never wait long behind it. */
const BATCH = 100;
export type EvictionReason = "expired" | "idle" | "untrusted_share" | "quota" | "disk";

/** Parts of a limit: above `high` eviction begins, and it goes on down to `low`, so that it does not run at every write. */
export interface WaterMarks {
  readonly high: number;
  readonly low: number;
}

export interface EvictorParts {
  readonly database: Database;
  readonly catalog: Catalog;
  readonly caches: Caches;
  readonly quota: Quota;
  readonly journal: Journal;
  readonly water: WaterMarks;
  readonly onEvict: (entry: Entry, reason: EvictionReason) => void;
  /** Bytes to free so that every storage is above its floor, after what is unused already was deleted; 0 when all is well. */
  readonly diskPressure: () => Promise<number>;
}

/**
 * Makes room, in the order of design §4: expired first, then what was idle too long, then untrusted entries above their
 * share, then (quota, disk) untrusted ones by last use, and trusted ones only when no untrusted is left.
 */
export class Evictor {
  readonly #parts: EvictorParts;
  readonly #running = new Map<string, Promise<void>>();
  /** All it has removed since the start. */
  readonly removed = { entries: 0, bytes: 0 };

  constructor(parts: EvictorParts) {
    this.#parts = parts;
    parts.quota.makeRoom = (cache) => this.evict(cache);
  }

  /** One pass over everything; the maintenance loop calls it. */
  async pass(): Promise<void> {
    await this.#expired();
    for (const cache of this.#parts.caches.list()) await this.evict(cache);
    await this.#disk();
  }

  /** Brings one cache below its limits; calls for the same cache share one run. */
  evict(cache: Cache): Promise<void> {
    let run = this.#running.get(cache.name);
    if (!run) {
      run = this.#evict(cache).finally(() => this.#running.delete(cache.name));
      this.#running.set(cache.name, run);
    }
    return run;
  }

  async #evict(cache: Cache): Promise<void> {
    // The order of eviction rests on access times, which are mostly in RAM.
    await this.#parts.journal.flush();
    const now = Date.now();
    await this.#idle(cache, false, now - Math.min(cache.untrustedIdle, cache.retention));
    await this.#idle(cache, true, now - cache.retention);

    const { high, low } = this.#parts.water;
    let usage = await this.#parts.quota.usage(cache.name, true);
    const share = cache.quota * cache.untrustedShare;
    if (usage.untrusted > share * high) await this.#free(cache, false, usage.untrusted - share * low, "untrusted_share");
    usage = await this.#parts.quota.usage(cache.name, true);
    if (usage.trusted + usage.untrusted > cache.quota * high) {
      const over = usage.trusted + usage.untrusted - cache.quota * low;
      const freed = await this.#free(cache, false, over, "quota");
      // Trusted entries go only for what trusted writers have written too much.
      const trusted = (await this.#parts.quota.usage(cache.name, true)).trusted;
      if (trusted > cache.quota * high) await this.#free(cache, true, Math.min(over - freed, trusted - cache.quota * low), "quota");
    }
    await this.#parts.quota.usage(cache.name, true);
  }

  async #expired(): Promise<void> {
    for (;;) {
      const entries = await this.#parts.database.scan("expiredEntries", { now: Date.now() });
      if (entries.length === 0) return;
      await this.#remove(entries, "expired");
    }
  }

  async #idle(cache: Cache, trusted: boolean, before: number): Promise<void> {
    for (;;) {
      const entries = await this.#parts.database.scan("evictionCandidates", { cache: cache.name, trusted, before, limit: BATCH });
      if (entries.length === 0) return;
      await this.#remove(entries, "idle");
    }
  }

  /** Removes the least recently used entries of one class until `bytes` are freed; returns how many were. */
  async #free(cache: Cache, trusted: boolean, bytes: number, reason: EvictionReason): Promise<number> {
    let freed = 0;
    while (freed < bytes) {
      const candidates = await this.#parts.database.scan("evictionCandidates", { cache: cache.name, trusted, before: Number.MAX_SAFE_INTEGER, limit: BATCH });
      const chosen: Entry[] = [];
      for (const entry of candidates) {
        if (freed >= bytes) break;
        freed += entry.size;
        chosen.push(entry);
      }
      if (chosen.length === 0) break;
      await this.#remove(chosen, reason);
    }
    return freed;
  }

  /** The disk is below its floor: the oldest of all caches go, untrusted first. */
  async #disk(): Promise<void> {
    const { database, caches } = this.#parts;
    let bytes = await this.#parts.diskPressure();
    for (const trusted of [false, true]) {
      while (bytes > 0) {
        const candidates: Entry[] = [];
        for (const cache of caches.list()) {
          candidates.push(...(await database.scan("evictionCandidates", { cache: cache.name, trusted, before: Number.MAX_SAFE_INTEGER, limit: BATCH })));
        }
        const chosen: Entry[] = [];
        for (const entry of candidates.toSorted((a, b) => a.accessed - b.accessed).slice(0, BATCH)) {
          if (bytes <= 0) break;
          bytes -= entry.size;
          chosen.push(entry);
        }
        if (chosen.length === 0) break;
        await this.#remove(chosen, "disk");
      }
    }
  }

  async #remove(entries: Entry[], reason: EvictionReason): Promise<void> {
    for (const [cache, group] of Map.groupBy(entries, (entry) => entry.cache)) {
      const audit: AuditRecord = { at: Date.now(), actor: "server", action: "evict", cache, keyspace: "", scope: "", key: "", size: 0, result: reason, address: "" };
      const gone = await this.#parts.catalog.removeIds(group.map((entry) => entry.id), audit);
      for (const entry of gone) {
        this.removed.entries++;
        this.removed.bytes += entry.size;
        this.#parts.onEvict(entry, reason);
      }
    }
  }
}
