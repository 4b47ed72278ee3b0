import { all, step, type Step, type Steps } from "../step.ts";

/** One line of the audit log: who did what to which entry, and how it ended. Times in ms. */
export interface AuditRecord {
  readonly at: number;
  readonly actor: string;
  readonly action: string;
  readonly cache: string;
  readonly keyspace: string;
  readonly scope: string;
  readonly key: string;
  readonly size: number;
  readonly result: string;
  readonly address: string;
}

/** The step that writes a line; put into the transaction of what it records. */
export function auditStep(r: AuditRecord): Step {
  return step(
    "INSERT INTO audit (at, actor, action, cache, keyspace, scope, key, size, result, address) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    r.at, r.actor, r.action, r.cache, r.keyspace, r.scope, r.key, r.size, r.result, r.address,
  );
}

/** Lines that belong to no other transaction (refusals, key uses, reads), in one batch. */
export function* appendAudit(args: { records: AuditRecord[] }): Steps<void> {
  if (args.records.length > 0) yield args.records.map(auditStep);
}

export interface AuditQuery {
  /** Only lines with a smaller id (from the previous page). */
  before?: number;
  cache?: string;
  actor?: string;
  action?: string;
  since?: number;
  limit: number;
}

/** Newest first, at most 500 a page. */
export function* queryAudit(q: AuditQuery): Steps<(AuditRecord & { id: number })[]> {
  const where = ["id < ?1", "at >= ?2"];
  const values: (string | number)[] = [q.before ?? Number.MAX_SAFE_INTEGER, q.since ?? 0];
  for (const [column, value] of [["cache", q.cache], ["actor", q.actor], ["action", q.action]] as const) {
    if (value === undefined) continue;
    values.push(value);
    where.push(`${column} = ?${values.length}`);
  }
  values.push(Math.min(q.limit, 500));
  const rows = yield* all(`SELECT * FROM audit WHERE ${where.join(" AND ")} ORDER BY id DESC LIMIT ?${values.length}`, ...values);
  return rows as unknown as (AuditRecord & { id: number })[];
}

/** Deletes up to 500 lines older than `before`; returns how many, so that the caller repeats. */
export function* pruneAudit(args: { before: number }): Steps<number> {
  const rows = yield* all("DELETE FROM audit WHERE id IN (SELECT id FROM audit ORDER BY id LIMIT 500) AND at < ?1 RETURNING id", args.before);
  return rows.length;
}
