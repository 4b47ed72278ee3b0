import type { Database } from "../database/database.ts";
import type { AuditRecord } from "../database/operations/audit.ts";
import type { Cache, Caches } from "./caches.ts";
import type { Catalog } from "./catalog.ts";
import type { Entry } from "./entry.ts";
import { evictable } from "./evictable.ts";
import { EvictionPlan, type EvictionReason, type Taker } from "./eviction-plan.ts";
import type { Journal } from "./journal.ts";
import type { Need, Quota } from "./quota.ts";

/** Entries removed in one transaction: small, so that requests never wait long behind it. */
const BATCH = 100;

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
  /** Bytes to free in each storage that is below its floor, beside what is unused already; a dry run deletes nothing for it. */
  readonly diskPressure: (dryRun: boolean) => Promise<Map<string, number>>;
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
    await this.#expired(this.#remover);
    for (const cache of this.#parts.caches.list()) await this.evict(cache);
    await this.#disk(this.#remover);
  }

  /** What a pass would remove now. */
  async plan(): Promise<EvictionPlan> {
    const plan = new EvictionPlan();
    await this.#expired(plan);
    for (const cache of this.#parts.caches.list()) await this.#evict(cache, undefined, plan);
    await this.#disk(plan);
    return plan;
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
      .then(() => this.#evict(cache, need, this.#remover))
      .finally(() => {
        if (this.#running.get(cache.name) === run) this.#running.delete(cache.name);
      });
    this.#running.set(cache.name, run);
    return run;
  }

  async #evict(cache: Cache, need: Need | undefined, taker: Taker): Promise<void> {
    const { quota, journal } = this.#parts;
    const water = this.#parts.water();
    const usage = async () => taker.left(cache.name, await quota.usage(cache.name, true));
    // The order of eviction rests on access times, which are mostly in RAM.
    await journal.flush();
    const now = Date.now();
    await this.#idle(cache, false, now - Math.min(cache.untrustedIdle, cache.retention), taker);
    await this.#idle(cache, true, now - cache.retention, taker);

    const share = cache.quota * cache.untrustedShare;
    const excess = (used: number, limit: number, wanted: number) => Math.max(used > limit * water.high ? used - limit * water.low : 0, used + wanted - limit);
    const used = await usage();
    await this.#free(cache, false, excess(used.untrusted, share, need?.trusted === false ? need.size : -Infinity), "untrusted_share", taker);

    const { trusted, untrusted } = await usage();
    const over = excess(trusted + untrusted, cache.quota, need?.size ?? -Infinity);
    const freed = await this.#free(cache, false, over, "quota", taker);
    // Trusted entries go only for what trusted writers have written, or want to write, too much.
    const tooMuch = excess(trusted, cache.quota, need?.trusted ? need.size : -Infinity);
    if (await this.#free(cache, true, Math.min(over - freed, tooMuch), "quota", taker)) await quota.usage(cache.name, true);
  }

  async #expired(taker: Taker): Promise<void> {
    for (let after: Entry | undefined; !taker.full; ) {
      const entries = await this.#parts.database.scan("expiredEntries", { now: Date.now(), after });
      if (entries.length === 0) return;
      await taker.take(entries, "expired");
      after = entries.at(-1);
    }
  }

  async #idle(cache: Cache, trusted: boolean, before: number, taker: Taker): Promise<void> {
    let chosen: Entry[] = [];
    for await (const entries of evictable(this.#parts.database, { cache: cache.name, trusted, before })) {
      if (taker.full) return;
      chosen.push(...entries);
      if (chosen.length >= BATCH) await taker.take(chosen.splice(0), "idle");
    }
    await taker.take(chosen, "idle");
  }

  /** Takes the least recently used entries of one class until `bytes` are freed; returns how many were. */
  async #free(cache: Cache, trusted: boolean, bytes: number, reason: EvictionReason, taker: Taker): Promise<number> {
    let freed = 0;
    // Others may have begun to need what was chosen: then it stays, and others go.
    for (let before = -1; freed < bytes && freed > before && !taker.full; ) {
      before = freed;
      let chosen: Entry[] = [];
      let size = 0;
      for await (const entries of evictable(this.#parts.database, { cache: cache.name, trusted })) {
        chosen.push(...entries);
        size += bytesOf(entries);
        const enough = freed + size >= bytes;
        if (!enough && chosen.length < BATCH) continue;
        freed += await taker.take(chosen, reason);
        [chosen, size] = [[], 0];
        if (enough || taker.full) break;
      }
      freed += await taker.take(chosen, reason);
    }
    return freed;
  }

  /** Storages are below their floors: the oldest of all caches go, untrusted first, as far as their bytes lie there. */
  async #disk(taker: Taker): Promise<void> {
    const pressed = await this.#parts.diskPressure(taker.dryRun);
    const wanted = () => [...pressed.values()].some((bytes) => bytes > 0);
    for (const trusted of [false, true]) {
      if (!wanted()) return;
      let chosen: Entry[] = [];
      for await (const entries of this.#oldest(trusted)) {
        let any = false;
        for (const entry of entries) any = (await this.#relieves(entry, pressed)) || any;
        if (!any) continue;
        chosen.push(...entries);
        if (chosen.length >= BATCH || !wanted()) await taker.take(chosen.splice(0), "disk");
        if (!wanted() || taker.full) break;
      }
      await taker.take(chosen, "disk");
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

  /** The entries of a class in all caches, least recently used first, each with what goes with it. */
  async *#oldest(trusted: boolean): AsyncGenerator<readonly Entry[]> {
    const queues = this.#parts.caches.list().map((cache) => ({ steps: evictable(this.#parts.database, { cache: cache.name, trusted }), next: undefined as readonly Entry[] | undefined, done: false }));
    for (;;) {
      for (const queue of queues) {
        if (queue.done || queue.next) continue;
        const { value, done = false } = await queue.steps.next();
        Object.assign(queue, { next: value, done });
      }
      const first = queues.filter((queue) => queue.next).toSorted((a, b) => a.next![0]!.accessed - b.next![0]!.accessed)[0];
      if (!first) return;
      yield first.next!;
      first.next = undefined;
    }
  }

  readonly #remover: Taker = {
    dryRun: false,
    full: false,
    take: (entries, reason) => this.#remove(entries, reason),
    left: (_, usage) => usage,
  };

  async #remove(entries: readonly Entry[], reason: EvictionReason): Promise<number> {
    let bytes = 0;
    for (const [cache, group] of Map.groupBy(entries, (entry) => entry.cache)) {
      const audit: AuditRecord = { at: Date.now(), actor: "server", action: "evict", cache, keyspace: "", scope: "", key: "", size: 0, result: reason, address: "" };
      const gone = await this.#parts.catalog.removeIds(group.map((entry) => entry.id), audit, reason !== "expired");
      bytes += bytesOf(gone);
      for (const entry of gone) this.#parts.onEvict(entry, reason);
      this.removed.entries += gone.length;
    }
    this.removed.bytes += bytes;
    return bytes;
  }
}

function bytesOf(entries: readonly Entry[]): number {
  return entries.reduce((sum, entry) => sum + entry.size, 0);
}
