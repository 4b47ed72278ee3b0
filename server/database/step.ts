/**
 * An operation is a generator of SQL steps. SQLite steps through it synchronously in its worker thread, PostgreSQL awaits
 * each step; the text is the common subset of both, with `?1`, `?2` … as parameters.
 */
export type Value = string | number | null | Uint8Array;
export type Row = Record<string, string | number | null | Uint8Array>;
export interface Step {
  readonly sql: string;
  readonly values: readonly Value[];
}
/** Yields one step, or several that run in their order without waiting for each other's rows; gets the rows of the (last) step back. */
export type Steps<R> = Generator<Step | Step[], R, Row[]>;
/** @param slot spreads hot counters over several rows where many connections write (PostgreSQL); 0 on SQLite */
export type Operation<A, R> = (args: A, slot: number) => Steps<R>;

/** @throws for a value that is missing: PostgreSQL's driver would then give every later query of its connection another one's rows */
export function step(sql: string, ...values: Value[]): Step {
  if (values.includes(undefined as never)) throw new TypeError(`value ${values.indexOf(undefined as never) + 1} is missing for: ${sql}`);
  return { sql, values };
}

export function* all(sql: string, ...values: Value[]): Steps<Row[]> {
  return yield step(sql, ...values);
}

export function* first(sql: string, ...values: Value[]): Steps<Row | undefined> {
  const rows = yield step(sql, ...values);
  return rows[0];
}

/** Another connection has come in between (never on SQLite): the transaction is undone and run again from its start, with no lock held. */
export class Conflict extends Error {
  readonly code = "40001";
}

export const flag = (value: boolean): number => (value ? 1 : 0);
