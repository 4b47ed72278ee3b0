import type { Database } from "../database/database.ts";
import type { AuditRecord } from "../database/operations/audit.ts";
import type { Cache, Caches } from "./caches.ts";
import type { Catalog } from "./catalog.ts";
import type { Entry } from "./entry.ts";
import type { Journal } from "./journal.ts";
import type { Need, Quota } from "./quota.ts";

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
  readonly water: () => WaterMarks;
  readonly onEvict: (entry: Entry, reason: EvictionReason) => void;
  /** Bytes to free in each storage that is below its floor, beside what is unused already. */
  readonly diskPressure: () => Promise<Map<string, number>>;
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
    parts.quota.makeRoom = (cache, need) => this.evict(cache, need);
  }

  /** One pass over everything; the maintenance loop calls it. */
  async pass(): Promise<void> {
    await this.#expired();
    for (const cache of this.#parts.caches.list()) await this.evict(cache);
    await this.#disk();
  }

  /**
   * Brings one cache below its limits, and further down if a need says so. One run at a time for each cache; calls without a
   * need share the one under way.
   */
  evict(cache: Cache, need?: Need): Promise<void> {
    const before = this.#running.get(cache.name);
    if (before && !need) return before;
    const run = (before ?? Promise.resolve())
      .catch(() => {})
      .then(() => this.#evict(cache, need))
      .finally(() => {
        if (this.#running.get(cache.name) === run) this.#running.delete(cache.name);
      });
    this.#running.set(cache.name, run);
    return run;
  }

  async #evict(cache: Cache, need: Need | undefined): Promise<void> {
    const { quota, journal } = this.#parts;
    const water = this.#parts.water();
    // The order of eviction rests on access times, which are mostly in RAM.
    await journal.flush();
    const now = Date.now();
    await this.#idle(cache, false, now - Math.min(cache.untrustedIdle, cache.retention));
    await this.#idle(cache, true, now - cache.retention);

    const share = cache.quota * cache.untrustedShare;
    const excess = (used: number, limit: number, wanted: number) => Math.max(used > limit * water.high ? used - limit * water.low : 0, used + wanted - limit);
    const used = await quota.usage(cache.name, true);
    await this.#free(cache, false, excess(used.untrusted, share, need?.trusted === false ? need.size : -Infinity), "untrusted_share");

    const { trusted, untrusted } = await quota.usage(cache.name, true);
    const over = excess(trusted + untrusted, cache.quota, need?.size ?? -Infinity);
    const freed = await this.#free(cache, false, over, "quota");
    // Trusted entries go only for what trusted writers have written, or want to write, too much.
    const tooMuch = excess(trusted, cache.quota, need?.trusted ? need.size : -Infinity);
    if (await this.#free(cache, true, Math.min(over - freed, tooMuch), "quota")) await quota.usage(cache.name, true);
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

  /** Storages are below their floors: the oldest of all caches go, untrusted first, as far as their bytes lie there. */
  async #disk(): Promise<void> {
    const pressed = await this.#parts.diskPressure();
    const wanted = () => [...pressed.values()].some((bytes) => bytes > 0);
    for (const trusted of [false, true]) {
      if (!wanted()) return;
      let chosen: Entry[] = [];
      for await (const entry of this.#oldest(trusted)) {
        if (!(await this.#relieves(entry, pressed))) continue;
        chosen.push(entry);
        if (chosen.length === BATCH || !wanted()) {
          await this.#remove(chosen, "disk");
          chosen = [];
        }
        if (!wanted()) break;
      }
      await this.#remove(chosen, "disk");
    }
  }

  /** Takes what removing an entry frees off the pressure; false when that is nothing. */
  async #relieves(entry: Entry, pressed: Map<string, number>): Promise<boolean> {
    const parts = entry.blob || entry.size === 0 ? [entry.blob] : await this.#parts.database.scan("entryParts", { entry: entry.id });
    let any = false;
    for (const part of parts) {
      const left = part?.store ? (pressed.get(part.store) ?? 0) : 0;
      if (left <= 0) continue;
      pressed.set(part!.store!, left - part!.size);
      any = true;
    }
    return any;
  }

  /** The entries of a class in all caches, least recently used first. */
  async *#oldest(trusted: boolean): AsyncGenerator<Entry> {
    const queues = this.#parts.caches.list().map((cache) => ({ cache: cache.name, entries: [] as Entry[], after: undefined as Entry | undefined, done: false }));
    for (;;) {
      for (const queue of queues) {
        if (queue.done || queue.entries.length > 0) continue;
        queue.entries = await this.#parts.database.scan("evictionCandidates", { cache: queue.cache, trusted, before: Number.MAX_SAFE_INTEGER, limit: BATCH, after: queue.after });
        queue.after = queue.entries.at(-1);
        queue.done = queue.entries.length === 0;
      }
      const next = queues.filter((queue) => !queue.done).toSorted((a, b) => a.entries[0]!.accessed - b.entries[0]!.accessed)[0];
      if (!next) return;
      yield next.entries.shift()!;
    }
  }

  async #remove(entries: readonly Entry[], reason: EvictionReason): Promise<void> {
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
