import type { Entry } from "./entry.ts";
import type { Scope } from "./scope.ts";

/**
 * What is known of one name (cache, keyspace, version, key) in each scope that was asked for: an entry, or null for a
 * certain miss. Dropped as a whole (`live` = false) by every local write of that name, so whoever holds a slot can tell
 * at once whether an answer made from it still stands.
 */
export interface Slot {
  live: boolean;
  readonly scopes: Map<Scope, Entry | null>;
}

/** Scopes known of one name: every pull request is one, and all of them ask for the hottest names. */
const MAX_SCOPES = 256;

export function slotName(cache: string, keyspace: string, key: string, version: string): string {
  return `${cache}\n${keyspace}\n${version}\n${key}`;
}

/** The RAM copy of recently used names, bounded in number; least recently used names go first. */
export class RecentEntries {
  readonly #slots = new Map<string, Slot>();
  readonly #max: number;
  /** Entries and misses in all slots. */
  #rows = 0;

  /** @param max entries and misses kept; 0 keeps none (a database that others write to can't be kept in RAM) */
  constructor(max: number) {
    this.#max = max;
  }

  slot(name: string): Slot {
    let slot = this.#slots.get(name);
    if (slot) {
      // Re-inserting moves it to the young end; only every so often, because a hot name is young anyway.
      if (this.#rows > this.#max >> 1) {
        this.#slots.delete(name);
        this.#slots.set(name, slot);
      }
      return slot;
    }
    slot = { live: this.#max > 0, scopes: new Map() };
    if (this.#max === 0) return slot;
    if (this.#slots.size >= this.#max) this.#dropOldest();
    this.#slots.set(name, slot);
    return slot;
  }

  /** Writes down what a scope has under a slot's name. */
  remember(slot: Slot, scope: Scope, entry: Entry | null): void {
    if (!slot.live) return void slot.scopes.set(scope, entry);
    if (!slot.scopes.has(scope)) {
      if (slot.scopes.size >= MAX_SCOPES) {
        this.#rows -= slot.scopes.size;
        slot.scopes.clear();
      }
      this.#rows++;
    }
    slot.scopes.set(scope, entry);
    while (this.#rows > this.#max && this.#slots.size > 1) this.#dropOldest();
  }

  forget(name: string): void {
    const slot = this.#slots.get(name);
    if (!slot) return;
    slot.live = false;
    this.#rows -= slot.scopes.size;
    this.#slots.delete(name);
  }

  clear(): void {
    for (const slot of this.#slots.values()) slot.live = false;
    this.#slots.clear();
    this.#rows = 0;
  }

  #dropOldest(): void {
    this.forget(this.#slots.keys().next().value!);
  }
}
