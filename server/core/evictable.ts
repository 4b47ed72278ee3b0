import type { Database } from "../database/database.ts";
import type { Candidate } from "../database/operations/entries.ts";
import type { Entry } from "./entry.ts";

const PAGE = 100;
/** What was used so little later than the one that needed it was used with it: a client reads all narinfos of a closure, then their NARs. */
const TOGETHER_MS = 60 * 60_000;

export interface EvictionClass {
  readonly cache: string;
  readonly trusted: boolean;
  /** Only what was not used since, ms. */
  readonly before?: number;
}

/**
 * The entries of one class in the order in which they may go: the least recently used of those nobody needs, and what only it
 * needed right after it, unless that was used since. So what is needed never goes before what needs it. Each step is one entry
 * with what goes with it at once: it is of no use without.
 */
export async function* evictable(database: Database, { cache, trusted, before = Number.MAX_SAFE_INTEGER }: EvictionClass): AsyncGenerator<readonly Entry[]> {
  /** How many of those that need an entry have been handed out, by its id. */
  const released = new Map<number, number>();
  const freedBy = async ({ id, accessed }: Candidate): Promise<Candidate[]> => {
    const needed = await database.scan("neededEntries", { entry: id });
    return needed.filter((one) => {
      const count = (released.get(one.id) ?? 0) + 1;
      if (count < one.refs) released.set(one.id, count);
      else released.delete(one.id);
      return count >= one.refs && one.trusted === trusted && one.accessed < before && one.accessed <= accessed + TOGETHER_MS;
    });
  };
  for (let after: Candidate | undefined; ; ) {
    const page = await database.scan("evictionCandidates", { cache, trusted, before, limit: PAGE, after });
    if (page.length === 0) return;
    after = page.at(-1);
    for (const root of page) {
      const next = [root];
      for (let entry = next.shift(); entry; entry = next.shift()) {
        const freed = entry.needing ? await freedBy(entry) : [];
        yield [entry, ...freed.filter((one) => !one.needing)];
        next.unshift(...freed.filter((one) => one.needing));
      }
    }
  }
}
