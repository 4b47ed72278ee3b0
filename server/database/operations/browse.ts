import type { Entry } from "../../core/entry.ts";
import { all, flag, type Steps } from "../step.ts";
import { BULK_COLUMNS, entryOf } from "./entries.ts";

/** Each of these reads one short stretch of an index, so that going through a large cache never holds up its writers. */

/** An entry, as far as an index knows it. */
export interface Name {
  readonly id: number;
  readonly scope: string;
  readonly version: string;
  readonly key: string;
}

export interface NameQuery {
  readonly cache: string;
  readonly keyspace: string;
  /** Only names after this one. */
  readonly after: Omit<Name, "id">;
  readonly limit: number;
}

/** Names of one keyspace by scope, version and key, at most 2000. */
export function* namesAfter(q: NameQuery): Steps<Name[]> {
  const rows = yield* all(
    "SELECT id, scope, version, key FROM entries WHERE cache = ?1 AND keyspace = ?2 AND (scope, version, key) > (?3, ?4, ?5) ORDER BY scope, version, key LIMIT ?6",
    q.cache, q.keyspace, q.after.scope, q.after.version, q.after.key, Math.min(q.limit, 2000),
  );
  return rows as unknown as Name[];
}

/** Those of these entries (at most 500) that are there, in no order; without their metadata and the place of their bodies. */
export function* entriesById(args: { ids: readonly number[] }): Steps<Entry[]> {
  if (args.ids.length === 0) return [];
  // One statement for all lengths: an id named twice changes nothing.
  const ids = Array.from({ length: 500 }, (_, index) => args.ids[index] ?? args.ids[0]!);
  return (yield* all(`SELECT ${BULK_COLUMNS} FROM entries WHERE id IN (${ids.map((_, index) => `?${index + 1}`).join(", ")})`, ...ids)).map(entryOf);
}

export interface UseQuery {
  readonly cache: string;
  /** Only entries used before this one (the last of the previous page). */
  readonly before?: { readonly accessed: number; readonly id: number } | undefined;
  readonly limit: number;
}

/** Entries of a cache, the last used first, at most 500; without their metadata and the place of their bodies. */
export function* entriesByUse(q: UseQuery): Steps<Entry[]> {
  const { accessed, id } = q.before ?? { accessed: Number.MAX_SAFE_INTEGER, id: Number.MAX_SAFE_INTEGER };
  const limit = Math.min(q.limit, 500);
  const found: Entry[] = [];
  // The index has the trusted and the untrusted apart.
  for (const trusted of [true, false]) {
    const rows = yield* all(
      `SELECT ${BULK_COLUMNS} FROM entries WHERE cache = ?1 AND trusted = ?2 AND accessed <= ?3 AND (accessed < ?3 OR id < ?4) ORDER BY accessed DESC, id DESC LIMIT ?5`,
      q.cache, flag(trusted), accessed, id, limit,
    );
    found.push(...rows.map(entryOf));
  }
  return found.sort((a, b) => b.accessed - a.accessed || b.id - a.id).slice(0, limit);
}

export interface AgeRow {
  readonly cache: string;
  readonly keyspace: string;
  readonly entries: number;
  /** Sum of the entries' ages, ms. */
  readonly age: number;
  /** The largest id seen: the next page begins after it. */
  readonly last: number;
}

/** Ages of the next entries in order of their ids (at most 2000), summed up by cache and keyspace. No rows: the end. */
export function* agesPage(args: { after: number; now: number; limit: number }): Steps<AgeRow[]> {
  const rows = yield* all(
    "SELECT cache, keyspace, count(*) AS entries, CAST(sum(CAST(?2 AS BIGINT) - created) AS BIGINT) AS age, max(id) AS last FROM " +
      "(SELECT id, cache, keyspace, created FROM entries WHERE id > ?1 ORDER BY id LIMIT ?3) AS page GROUP BY cache, keyspace",
    args.after, args.now, Math.min(args.limit, 2000),
  );
  return rows as unknown as AgeRow[];
}
