import { all, first, step, type Steps } from "../step.ts";

export interface UsageRow {
  readonly cache: string;
  /** A keyspace, or `uploads` for parts that wait for their commit. */
  readonly keyspace: string;
  readonly trusted: boolean;
  readonly entries: number;
  readonly bytes: number;
}

/** What each cache holds, by keyspace and trust. */
export function* usage(args: { cache?: string }): Steps<UsageRow[]> {
  const rows = yield* all(
    "SELECT cache, keyspace, trusted, CAST(sum(entries) AS BIGINT) AS entries, CAST(sum(bytes) AS BIGINT) AS bytes FROM usage " +
      "WHERE cache = ?1 OR ?1 = '' GROUP BY cache, keyspace, trusted",
    args.cache ?? "",
  );
  return rows.map((row) => ({ ...(row as unknown as UsageRow), trusted: row["trusted"] === 1 }));
}

export interface StatRow {
  readonly cache: string;
  readonly keyspace: string;
  readonly name: string;
  readonly value: number;
}

/** Adds to the counters of a day (days since the epoch). */
export function* addStats(args: { day: number; rows: StatRow[] }): Steps<void> {
  if (args.rows.length === 0) return;
  // In order: two replicas that count the same things can't lock each other out.
  const name = (row: StatRow) => `${row.cache}\n${row.keyspace}\n${row.name}`;
  yield args.rows.toSorted((a, b) => (name(a) < name(b) ? -1 : 1)).map((row) =>
    step(
      "INSERT INTO stats (day, cache, keyspace, name, value) VALUES (?1, ?2, ?3, ?4, ?5) " +
        "ON CONFLICT (day, cache, keyspace, name) DO UPDATE SET value = stats.value + excluded.value",
      args.day, row.cache, row.keyspace, row.name, Math.round(row.value),
    ),
  );
}

/** Sums of the counters since a day. */
export function* readStats(args: { since: number; cache?: string }): Steps<StatRow[]> {
  const rows = yield* all(
    "SELECT cache, keyspace, name, CAST(sum(value) AS BIGINT) AS value FROM stats WHERE day >= ?1 AND (cache = ?2 OR ?2 = '') GROUP BY cache, keyspace, name",
    args.since, args.cache ?? "",
  );
  return rows as unknown as StatRow[];
}

export function* pruneStats(args: { before: number }): Steps<void> {
  yield step("DELETE FROM stats WHERE day < ?1", args.before);
}

export interface CacheRow {
  readonly name: string;
  /** Null marks a cache that was deleted, but whose entries are not all gone yet. */
  readonly settings: unknown;
  readonly created: number;
  readonly updated: number;
}

/** Caches made through the admin API (those of the configuration file are not here). */
export function* listCaches(): Steps<CacheRow[]> {
  const rows = yield* all("SELECT * FROM caches ORDER BY name");
  return rows.map((row) => ({ ...(row as unknown as CacheRow), settings: JSON.parse(row["settings"] as string) }));
}

export function* putCache(args: { name: string; settings: unknown; now: number }): Steps<void> {
  yield step(
    "INSERT INTO caches (name, settings, created, updated) VALUES (?1, ?2, ?3, ?3) ON CONFLICT (name) DO UPDATE SET settings = excluded.settings, updated = excluded.updated",
    args.name, JSON.stringify(args.settings), args.now,
  );
}

/** Forgets a cache that is marked as deleted. False when it is not, because somebody has made it anew. */
export function* removeCache(args: { name: string }): Steps<boolean> {
  return (yield* first("DELETE FROM caches WHERE name = ?1 AND settings = 'null' RETURNING name", args.name)) !== undefined;
}

/** Takes or renews a lease; false while another holder's is alive. Only one process at a time does background work. */
export function* acquireLease(args: { name: string; holder: string; now: number; ttl: number }): Steps<boolean> {
  const row = yield* first(
    "INSERT INTO leases (name, holder, until) VALUES (?1, ?2, ?3) ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until " +
      "WHERE leases.until < ?4 OR leases.holder = excluded.holder RETURNING holder",
    args.name, args.holder, args.now + args.ttl, args.now,
  );
  return row !== undefined;
}

export function* releaseLease(args: { name: string; holder: string }): Steps<void> {
  yield step("DELETE FROM leases WHERE name = ?1 AND holder = ?2", args.name, args.holder);
}
