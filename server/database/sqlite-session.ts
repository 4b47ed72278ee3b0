import { DatabaseSync, type StatementSync } from "node:sqlite";
import { start, type OperationName } from "./operations.ts";
import type { Row, Step } from "./step.ts";

/** Statements kept prepared; the texts are few (queries with filters have some variants). */
const MAX_STATEMENTS = 256;

/** One connection with its prepared statements, stepping through operations synchronously. */
export class SqliteSession {
  readonly db: DatabaseSync;
  readonly #statements = new Map<string, StatementSync>();

  constructor(path: string, readOnly: boolean) {
    this.db = new DatabaseSync(path, { readOnly, timeout: 5_000 });
  }

  #prepare(sql: string): StatementSync {
    let statement = this.#statements.get(sql);
    if (!statement) {
      if (this.#statements.size >= MAX_STATEMENTS) this.#statements.clear();
      statement = this.db.prepare(sql);
      this.#statements.set(sql, statement);
    }
    return statement;
  }

  #step(step: Step): Row[] {
    return this.#prepare(step.sql).all(...(step.values as (string | number | null | Uint8Array)[])) as Row[];
  }

  run(name: OperationName, args: unknown): unknown {
    const steps = start(name, args, 0);
    let next = steps.next();
    while (!next.done) {
      let rows: Row[] = [];
      if (Array.isArray(next.value)) for (const step of next.value) rows = this.#step(step);
      else rows = this.#step(next.value);
      next = steps.next(rows);
    }
    return next.value;
  }
}
