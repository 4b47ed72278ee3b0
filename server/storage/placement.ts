import { errors } from "../core/errors.ts";
import type { BlobStore, BlobWriter } from "./store.ts";

/** Which storage takes a new blob: the first with room, each in turn, by shares, or the one with most room. */
export type Strategy = "in-order" | "round-robin" | "split" | "least-used";

/** How a cache spreads its blobs over storages. */
export interface Spread {
  /** Names of storages, in order. */
  readonly storages: readonly string[];
  readonly placement: Strategy;
  /** Weights for `split`; a storage without one only stands in for others. */
  readonly shares?: Readonly<Record<string, number>> | undefined;
}

/** What is known of a storage when a blob needs a place. */
export interface Candidate {
  readonly name: string;
  readonly weight: number;
  /** Part that is in use, 0 to 1; 0 for a storage without an end. */
  readonly used: number;
  readonly full: boolean;
  /** Failed a short while ago. */
  readonly failing: boolean;
}

/** What each storage is owed by turns; see `choose`. */
export type Credits = ReadonlyMap<string, number>;

/**
 * The storages to try, best first: healthy ones by strategy, then failing ones as the last resort; full ones never.
 * Turns go by credits: each healthy storage earns its weight, the richest is chosen and pays for all. So shares hold over
 * any few blobs, and a storage that comes back after a failure gets its share and no more.
 */
export function choose(strategy: Strategy, candidates: readonly Candidate[], credits: Credits): { order: string[]; credits: Credits } {
  const healthy = candidates.filter((one) => !one.full && !one.failing);
  const failing = candidates.filter((one) => !one.full && one.failing);
  const order = strategy === "least-used" ? healthy.toSorted((a, b) => a.used - b.used) : healthy;
  const tried = [...order, ...failing].map((one) => one.name);
  if (strategy === "in-order" || strategy === "least-used") return { order: tried, credits };

  const weightOf = (one: Candidate) => (strategy === "split" ? one.weight : 1);
  const total = healthy.reduce((sum, one) => sum + weightOf(one), 0);
  if (total === 0) return { order: tried, credits };
  const next = new Map(credits);
  let richest: string | undefined;
  for (const one of healthy.filter((candidate) => weightOf(candidate) > 0)) {
    const credit = (next.get(one.name) ?? 0) + weightOf(one);
    next.set(one.name, credit);
    if (richest === undefined || credit > next.get(richest)!) richest = one.name;
  }
  next.set(richest!, next.get(richest!)! - total);
  return { order: [richest!, ...tried.filter((name) => name !== richest)], credits: next };
}

export interface PlacementOptions {
  /** A storage with fewer bytes free takes no new blob, so that the index beside it can still be written. Default 64 MiB, at most 2 % of it. */
  readonly floor?: number;
  /** Milliseconds for which a storage that failed is the last resort. Default 30,000. */
  readonly coolDown?: number;
}

/** Milliseconds for which a storage's capacity is believed. */
const CAPACITY_AGE = 1_000;

interface Health {
  failedAt: number;
  askedAt: number;
  capacity: Promise<{ total: number; free: number } | undefined>;
}

/** The storages of a server: by name for reading, by each cache's strategy for new blobs. */
export class StoragePlacement {
  readonly #stores: ReadonlyMap<string, BlobStore>;
  readonly #spreadOf: (cache: string) => Spread;
  readonly #floor: number;
  readonly #coolDown: number;
  readonly #health = new Map<string, Health>();
  readonly #credits = new Map<string, Credits>();

  constructor(stores: ReadonlyMap<string, BlobStore>, spreadOf: (cache: string) => Spread, options: PlacementOptions = {}) {
    this.#stores = stores;
    this.#spreadOf = spreadOf;
    this.#floor = options.floor ?? 64 * 1024 * 1024;
    this.#coolDown = options.coolDown ?? 30_000;
  }

  /** @throws for a storage that is no longer configured: its blobs are out of reach, not missing */
  store(name: string): BlobStore {
    const store = this.#stores.get(name);
    if (!store) throw new Error(`storage ${name} is not configured`);
    return store;
  }

  /** Starts a blob of a cache. @throws diskFull when all its storages are full; else what the last one failed with */
  async create(cache: string): Promise<{ store: string; writer: BlobWriter }> {
    const spread = this.#spreadOf(cache);
    const candidates = await Promise.all(spread.storages.map((name) => this.#look(name, spread.shares?.[name] ?? 0)));
    const { order, credits } = choose(spread.placement, candidates, this.#credits.get(cache) ?? new Map());
    this.#credits.set(cache, credits);
    let failure: unknown = errors.diskFull();
    for (const name of order) {
      try {
        return { store: name, writer: this.#watch(name, await this.store(name).create(cache)) };
      } catch (error) {
        this.#failed(name);
        failure = error;
      }
    }
    throw failure;
  }

  /** Whether a storage failed a short while ago, and new blobs therefore go round it. */
  failing(name: string): boolean {
    return performance.now() - this.#healthOf(name).failedAt < this.#coolDown;
  }

  async #look(name: string, weight: number): Promise<Candidate> {
    const health = this.#healthOf(name);
    const now = performance.now();
    if (now - health.askedAt > CAPACITY_AGE) {
      health.askedAt = now;
      health.capacity = this.store(name).capacity();
    }
    const capacity = await health.capacity.catch(() => void this.#failed(name));
    const failing = this.failing(name);
    if (!capacity) return { name, weight, used: 0, full: false, failing };
    const floor = Math.min(this.#floor, capacity.total * 0.02);
    return { name, weight, used: 1 - capacity.free / capacity.total, full: capacity.free < floor, failing };
  }

  #healthOf(name: string): Health {
    let health = this.#health.get(name);
    if (!health) {
      health = { failedAt: -Infinity, askedAt: -Infinity, capacity: Promise.resolve(undefined) };
      this.#health.set(name, health);
    }
    return health;
  }

  #failed(name: string): void {
    const health = this.#healthOf(name);
    health.failedAt = performance.now();
    health.askedAt = -Infinity;
  }

  /** The same writer; its failures and its success count for the storage. */
  #watch(name: string, writer: BlobWriter): BlobWriter {
    const failed = (error: unknown) => {
      this.#failed(name);
      throw error;
    };
    return {
      write: (chunk) => writer.write(chunk)?.catch(failed),
      commit: async (digest) => {
        const blob = await writer.commit(digest).catch(failed);
        this.#healthOf(name).failedAt = -Infinity;
        return blob;
      },
      abort: () => writer.abort(),
    };
  }
}
