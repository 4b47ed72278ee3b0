import { all, first, flag, step, type Row, type Steps } from "../step.ts";

/** An API key as stored: the key itself is known to its holder alone, we keep SHA-256 of it. Times in ms. */
export interface KeyRecord {
  readonly id: string;
  readonly hash: string;
  readonly name: string;
  readonly permission: "read" | "write" | "admin";
  /** Caches it is good for, the first is the default; `*` stands for all. */
  readonly caches: readonly string[];
  /** The scope it writes (and reads first); null: the cache's default scope. */
  readonly scope: string | null;
  /** Scopes it reads; null: its own scope only. */
  readonly reads: readonly string[] | null;
  /** Whether what it writes is trusted when room has to be made. */
  readonly trusted: boolean;
  /** A read key that may stand in a workflow file for everyone to see. */
  readonly public: boolean;
  readonly created: number;
  readonly expires: number | null;
  readonly used: number | null;
  readonly revoked: number | null;
  /** What it may do in a workspace of Cachix Deploy. */
  readonly deploy?: DeployRight | undefined;
}

export interface DeployRight {
  readonly workspace: string;
  /** Be an agent, or tell agents what to activate and see what came of it. */
  readonly may: "agent" | "activate";
  /** The one agent it may be. Default: any of the workspace. */
  readonly agent?: string;
}

function keyOf(row: Row): KeyRecord {
  return {
    ...(row as unknown as KeyRecord),
    caches: JSON.parse(row["caches"] as string),
    reads: row["reads"] === null ? null : JSON.parse(row["reads"] as string),
    trusted: row["trusted"] === 1,
    public: row["public"] === 1,
    deploy: row["deploy"] === null ? undefined : JSON.parse(row["deploy"] as string),
  };
}

/** False when a key with this id or hash exists. */
export function* createKey(k: KeyRecord): Steps<boolean> {
  const row = yield* first(
    "INSERT INTO keys (id, hash, name, permission, caches, scope, reads, trusted, public, created, expires, used, revoked, deploy) " +
      "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, NULL, NULL, ?12) ON CONFLICT DO NOTHING RETURNING id",
    k.id, k.hash, k.name, k.permission, JSON.stringify(k.caches), k.scope, k.reads === null ? null : JSON.stringify(k.reads),
    flag(k.trusted), flag(k.public), k.created, k.expires, k.deploy === undefined ? null : JSON.stringify(k.deploy),
  );
  return row !== undefined;
}

export function* keyByHash(args: { hash: string }): Steps<KeyRecord | undefined> {
  const row = yield* first("SELECT * FROM keys WHERE hash = ?1", args.hash);
  return row && keyOf(row);
}

export function* keyById(args: { id: string }): Steps<KeyRecord | undefined> {
  const row = yield* first("SELECT * FROM keys WHERE id = ?1", args.id);
  return row && keyOf(row);
}

/** In order of creation, at most 500 after the given id. */
export function* listKeys(args: { after?: string; limit: number }): Steps<KeyRecord[]> {
  return (yield* all("SELECT * FROM keys WHERE id > ?1 ORDER BY id LIMIT ?2", args.after ?? "", Math.min(args.limit, 500))).map(keyOf);
}

/** Undefined when there is no such key. Revoking twice keeps the first time. */
export function* revokeKey(args: { id: string; now: number }): Steps<KeyRecord | undefined> {
  yield step("UPDATE keys SET revoked = ?2 WHERE id = ?1 AND revoked IS NULL", args.id, args.now);
  return yield* keyById({ id: args.id });
}

/** Ends a key at a time (rotation with overlap). */
export function* expireKey(args: { id: string; expires: number }): Steps<KeyRecord | undefined> {
  yield step("UPDATE keys SET expires = ?2 WHERE id = ?1 AND (expires IS NULL OR expires > ?2)", args.id, args.expires);
  return yield* keyById({ id: args.id });
}

export function* touchKeys(args: { uses: { id: string; at: number }[] }): Steps<void> {
  // In order, as in everything that locks several rows.
  const uses = args.uses.toSorted((a, b) => (a.id < b.id ? -1 : 1));
  if (uses.length > 0) yield uses.map((use) => step("UPDATE keys SET used = ?2 WHERE id = ?1 AND (used IS NULL OR used < ?2)", use.id, use.at));
}

/** Revokes all session tokens of a run, or one by its jti, until the last of them has expired anyway. */
export function* revokeSessions(args: { kind: "run" | "session"; value: string; until: number }): Steps<void> {
  yield step(
    "INSERT INTO revocations (kind, value, until) VALUES (?1, ?2, ?3) ON CONFLICT (kind, value) DO UPDATE SET until = excluded.until",
    args.kind, args.value, args.until,
  );
}

export function* isRevoked(args: { run: string | null; session: string }): Steps<boolean> {
  const row = yield* first(
    "SELECT kind FROM revocations WHERE (kind = 'run' AND value = ?1) OR (kind = 'session' AND value = ?2) LIMIT 1",
    args.run ?? "", args.session,
  );
  return row !== undefined;
}

export function* pruneRevocations(args: { now: number }): Steps<void> {
  yield step("DELETE FROM revocations WHERE until < ?1", args.now);
}
