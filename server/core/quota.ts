import type { Database } from "../database/database.ts";
import type { Cache } from "./caches.ts";
import { errors, writeFailure } from "./errors.ts";

/** How far above its limit a cache may be while eviction catches up. */
const OVERSHOOT = 1.25;
const MAX_AGE_MS = 500;

export interface Usage {
  trusted: number;
  untrusted: number;
}

/** Room in caches: soft limits that wake the evictor, and hard ones beyond which writes are refused. */
export class Quota {
  readonly #database: Database;
  readonly #known = new Map<string, Usage & { at: number }>();
  /** Makes room now; set by the evictor. */
  makeRoom: (cache: Cache) => Promise<void> = async () => {};

  constructor(database: Database) {
    this.#database = database;
  }

  /** Bytes a cache holds, by trust; at most half a second old, own writes included. */
  async usage(cache: string, fresh = false): Promise<Usage> {
    let known = this.#known.get(cache);
    if (!known || fresh || Date.now() - known.at > MAX_AGE_MS) {
      known = { trusted: 0, untrusted: 0, at: Date.now() };
      for (const row of await this.#database.read("usage", { cache })) known[row.trusted ? "trusted" : "untrusted"] += row.bytes;
      this.#known.set(cache, known);
    }
    return known;
  }

  /** Counts bytes just written, until the next reading of the database. */
  add(cache: string, trusted: boolean, bytes: number): void {
    const known = this.#known.get(cache);
    if (known) known[trusted ? "trusted" : "untrusted"] += bytes;
  }

  /**
   * Makes sure that `size` more bytes may be written.
   * @throws overQuota when even eviction can't make the room: a write by an untrusted scope never costs a trusted entry
   */
  async assertRoom(cache: Cache, trusted: boolean, size: number): Promise<void> {
    try {
      if (fits(cache, await this.usage(cache.name), trusted, size) === "now") return;
      void this.makeRoom(cache);
      if (fits(cache, await this.usage(cache.name), trusted, size) === "soon") return;
      await this.makeRoom(cache);
      if (fits(cache, await this.usage(cache.name, true), trusted, size) !== "never") return;
    } catch (error) {
      throw writeFailure(error);
    }
    throw errors.overQuota();
  }
}

/** `now`: below the soft limits. `soon`: above them, eviction will see to it. `never`: above what may be exceeded. */
export function fits(cache: Cache, usage: Usage, trusted: boolean, size: number): "now" | "soon" | "never" {
  const total = usage.trusted + usage.untrusted + size;
  if (trusted) {
    if (size > cache.quota || total > cache.quota * OVERSHOOT) return "never";
    return total <= cache.quota ? "now" : "soon";
  }
  const share = cache.quota * cache.untrustedShare;
  // Eviction can take every other untrusted entry, but no trusted one: those and this one must fit.
  if (size > share || usage.trusted + size > cache.quota || usage.untrusted + size > share * OVERSHOOT) return "never";
  return usage.untrusted + size <= share && total <= cache.quota ? "now" : "soon";
}
