import type { Entry } from "../../core/entry.ts";
import { all, flag, type Steps, type Value } from "../step.ts";
import { entryOf } from "./entries.ts";

/** Each of these reads one short stretch of an index, so that going through a large cache never holds up its writers. */

export interface NameQuery {
  readonly cache: string;
  readonly keyspace: string;
  /** Only keys from this one on. */
  readonly from: string;
  /** Only keys before this one; undefined: no end. */
  readonly below?: string | undefined;
  /** Only names after this one (the last of the previous page). */
  readonly after?: { readonly key: string; readonly version: string; readonly scope: string } | undefined;
  readonly limit: number;
}

/** Entries of one keyspace by key, version and scope, at most 500; without the place of their bodies. */
export function* entriesByName(q: NameQuery): Steps<Entry[]> {
  const { key, version, scope } = q.after ?? { key: "", version: "", scope: "" };
  const values: Value[] = [q.cache, q.keyspace, q.after ? key : q.from, key, version, scope, Math.min(q.limit, 500)];
  if (q.below !== undefined) values.push(q.below);
  const rows = yield* all(
    `SELECT * FROM entries WHERE cache = ?1 AND keyspace = ?2 AND key >= ?3 AND (key, version, scope) > (?4, ?5, ?6)${q.below === undefined ? "" : " AND key < ?8"} ` +
      "ORDER BY key, version, scope LIMIT ?7",
    ...values,
  );
  return rows.map(entryOf);
}

export interface UseQuery {
  readonly cache: string;
  /** Only entries used before this one (the last of the previous page). */
  readonly before?: { readonly accessed: number; readonly id: number } | undefined;
  readonly limit: number;
}

/** Entries of a cache, the last used first, at most 500; without the place of their bodies. */
export function* entriesByUse(q: UseQuery): Steps<Entry[]> {
  const { accessed, id } = q.before ?? { accessed: Number.MAX_SAFE_INTEGER, id: Number.MAX_SAFE_INTEGER };
  const limit = Math.min(q.limit, 500);
  const found: Entry[] = [];
  // The index has the trusted and the untrusted apart.
  for (const trusted of [true, false]) {
    const rows = yield* all(
      "SELECT * FROM entries WHERE cache = ?1 AND trusted = ?2 AND accessed <= ?3 AND (accessed < ?3 OR id < ?4) ORDER BY accessed DESC, id DESC LIMIT ?5",
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
