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

export function slotName(cache: string, keyspace: string, key: string, version: string): string {
  return `${cache}\n${keyspace}\n${version}\n${key}`;
}

/** The RAM copy of recently used names, bounded in number; least recently used names go first. */
export class RecentEntries {
  readonly #slots = new Map<string, Slot>();
  readonly #max: number;

  /** @param max names kept; 0 keeps none (a database that others write to can't be kept in RAM) */
  constructor(max: number) {
    this.#max = max;
  }

  slot(name: string): Slot {
    let slot = this.#slots.get(name);
    if (slot) {
      // Re-inserting moves it to the young end; only every so often, because a hot name is young anyway.
      if (this.#slots.size > this.#max >> 1) {
        this.#slots.delete(name);
        this.#slots.set(name, slot);
      }
      return slot;
    }
    slot = { live: this.#max > 0, scopes: new Map() };
    if (this.#max === 0) return slot;
    if (this.#slots.size >= this.#max) {
      const oldest = this.#slots.entries().next().value!;
      oldest[1].live = false;
      this.#slots.delete(oldest[0]);
    }
    this.#slots.set(name, slot);
    return slot;
  }

  forget(name: string): void {
    const slot = this.#slots.get(name);
    if (!slot) return;
    slot.live = false;
    this.#slots.delete(name);
  }

  clear(): void {
    for (const slot of this.#slots.values()) slot.live = false;
    this.#slots.clear();
  }
}
