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

/** Bytes that are wanted now, and by whom. */
export interface Need {
  readonly trusted: boolean;
  readonly size: number;
}

/** Room kept for a body while it arrives. */
export interface Room {
  /** Makes it `size` bytes in all. @throws overQuota */
  grow(size: number): Promise<void>;
  /** Gives it back; the bytes are counted as stored ones from then on, or not at all. */
  release(): void;
}

/** Room in caches: soft limits that wake the evictor, and hard ones beyond which writes are refused. */
export class Quota {
  readonly #database: Database;
  readonly #known = new Map<string, Usage & { at: number }>();
  /** Bytes on their way in. */
  readonly #held = new Map<string, Usage>();
  /** Makes room now; set by the evictor. */
  makeRoom: (cache: Cache, need: Need) => Promise<void> = async () => {};

  constructor(database: Database) {
    this.#database = database;
  }

  /** Bytes a cache holds and is about to hold, by trust; at most half a second old, own writes included. */
  async usage(cache: string, fresh = false): Promise<Usage> {
    return this.#withHeld(cache, await this.#stored(cache, fresh));
  }

  async #stored(cache: string, fresh = false): Promise<Usage> {
    let known = this.#known.get(cache);
    if (!known || fresh || Date.now() - known.at > MAX_AGE_MS) {
      known = { trusted: 0, untrusted: 0, at: Date.now() };
      for (const row of await this.#database.read("usage", { cache })) known[row.trusted ? "trusted" : "untrusted"] += row.bytes;
      this.#known.set(cache, known);
    }
    return known;
  }

  #withHeld(cache: string, stored: Usage): Usage {
    const held = this.#held.get(cache);
    return { trusted: stored.trusted + (held?.trusted ?? 0), untrusted: stored.untrusted + (held?.untrusted ?? 0) };
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
    await this.#admit(cache, { trusted, size }, () => size);
  }

  /** Makes sure of the room and keeps it, so that bodies that arrive at once can't all take the same. @throws overQuota */
  async reserve(cache: Cache, trusted: boolean, size: number): Promise<Room> {
    let held = this.#held.get(cache.name);
    if (!held) this.#held.set(cache.name, (held = { trusted: 0, untrusted: 0 }));
    const [of, whose] = [held, trusted ? "trusted" : "untrusted"] as const;
    let mine = 0;
    const grow = async (to: number) => {
      const more = to - mine;
      await this.#admit(cache, { trusted, size: Math.max(more, 0) }, () => {
        of[whose] += more;
        mine = to;
        return 0;
      });
    };
    await grow(size);
    return {
      grow,
      release: () => {
        of[whose] -= mine;
        mine = 0;
      },
    };
  }

  /** @param take called in the very moment that the room is found; returns what it has not counted yet */
  async #admit(cache: Cache, need: Need, take: () => number): Promise<void> {
    try {
      if (need.size > largest(cache, need.trusted)) throw errors.overQuota();
      const stored = await this.#stored(cache.name);
      const fit = fits(cache, this.#withHeld(cache.name, stored), need);
      if (fit !== "never") {
        const size = take();
        // Nobody waits for it; when it fails, the next pass of the evictor says so.
        if (fit === "soon") this.makeRoom(cache, { ...need, size }).catch(() => {});
        return;
      }
      await this.makeRoom(cache, need);
      const now = await this.#stored(cache.name, true);
      if (fits(cache, this.#withHeld(cache.name, now), need) === "never") throw errors.overQuota();
      take();
    } catch (error) {
      throw writeFailure(error);
    }
  }
}

/** Bytes that fit when all that may be evicted for them is. */
function largest(cache: Cache, trusted: boolean): number {
  return trusted ? cache.quota : cache.quota * cache.untrustedShare;
}

/** `now`: below the soft limits. `soon`: above them, eviction will see to it. `never`: above what may be exceeded. */
export function fits(cache: Cache, usage: Usage, { trusted, size }: Need): "now" | "soon" | "never" {
  const total = usage.trusted + usage.untrusted + size;
  if (size > largest(cache, trusted)) return "never";
  if (trusted) {
    // What untrusted scopes have under way can't be evicted, and must not keep trusted ones from writing.
    if (usage.trusted + size > cache.quota * OVERSHOOT) return "never";
    return total <= cache.quota ? "now" : "soon";
  }
  const share = cache.quota * cache.untrustedShare;
  // Eviction can take every other untrusted entry, but no trusted one: those and this one must fit.
  if (usage.trusted + size > cache.quota || usage.untrusted + size > share * OVERSHOOT) return "never";
  return usage.untrusted + size <= share && total <= cache.quota ? "now" : "soon";
}
