import type { Entry } from "./entry.ts";
import type { Usage } from "./quota.ts";

export type EvictionReason = "expired" | "idle" | "untrusted_share" | "quota" | "disk";

/** Takes what is to go: by removing it, or by writing it down. */
export interface Taker {
  readonly dryRun: boolean;
  /** Returns the bytes that went. */
  take(entries: readonly Entry[], reason: EvictionReason): Promise<number>;
  /** What a cache holds without what was taken. */
  left(cache: string, usage: Usage): Usage;
  /** Nothing more is wanted. */
  readonly full: boolean;
}

/** Entries a plan names one by one. */
const NAMED = 1_000;
/** Entries a plan goes as far as; it says when it stopped there. */
const MOST = 200_000;

export interface Planned {
  readonly cache: string;
  readonly keyspace: string;
  readonly reason: EvictionReason;
  entries: number;
  bytes: number;
}

/** What a pass would remove: a taker that only writes down. */
export class EvictionPlan implements Taker {
  readonly dryRun = true;
  /** Sums by cache, keyspace and reason. */
  readonly sums = new Map<string, Planned>();
  /** The first ones, in the order in which they would go. */
  readonly first: { readonly entry: Entry; readonly reason: EvictionReason }[] = [];
  readonly #taken = new Set<number>();
  readonly #usage = new Map<string, Usage>();

  get full(): boolean {
    return this.#taken.size >= MOST;
  }

  async take(entries: readonly Entry[], reason: EvictionReason): Promise<number> {
    let bytes = 0;
    for (const entry of entries) {
      // What one rule has taken is still there for the next one to find.
      if (this.#taken.has(entry.id)) continue;
      this.#taken.add(entry.id);
      bytes += entry.size;
      if (this.first.length < NAMED) this.first.push({ entry, reason });
      this.#count(entry, reason);
    }
    return bytes;
  }

  left(cache: string, { trusted, untrusted }: Usage): Usage {
    const taken = this.#usage.get(cache);
    return { trusted: trusted - (taken?.trusted ?? 0), untrusted: untrusted - (taken?.untrusted ?? 0) };
  }

  #count({ cache, keyspace, trusted, size }: Entry, reason: EvictionReason): void {
    const name = `${cache}\n${keyspace}\n${reason}`;
    let sum = this.sums.get(name);
    if (!sum) this.sums.set(name, (sum = { cache, keyspace, reason, entries: 0, bytes: 0 }));
    sum.entries++;
    sum.bytes += size;
    let usage = this.#usage.get(cache);
    if (!usage) this.#usage.set(cache, (usage = { trusted: 0, untrusted: 0 }));
    usage[trusted ? "trusted" : "untrusted"] += size;
  }
}
