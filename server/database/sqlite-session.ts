import { DatabaseSync, type StatementSync } from "node:sqlite";
import { pendingMigrations } from "./migrations/index.ts";
import { start, type OperationName } from "./operations.ts";
import type { Row, Step } from "./step.ts";

const DIALECT = { $ID: "INTEGER PRIMARY KEY AUTOINCREMENT", $SEQ: "INTEGER PRIMARY KEY", $INT: "INTEGER", $TEXT: "TEXT", $BYTES: "BLOB" };

/** Statements kept prepared; the texts are few (queries with filters have some variants). */
const MAX_STATEMENTS = 256;

/** One connection with its prepared statements, stepping through operations synchronously. */
export class SqliteSession {
  readonly db: DatabaseSync;
  readonly #statements = new Map<string, StatementSync>();

  constructor(path: string, readOnly: boolean) {
    this.db = new DatabaseSync(path, { readOnly, timeout: 5_000 });
  }

  /** Brings the tables up to date. */
  migrate(): void {
    // The version is read inside the transaction: another process may be migrating at this moment.
    this.db.exec("BEGIN IMMEDIATE");
    const version = (this.db.prepare("PRAGMA user_version").get() as { user_version: number }).user_version;
    for (const migration of pendingMigrations(version, DIALECT)) {
      for (const statement of migration.statements) this.db.exec(statement);
      this.db.exec(`PRAGMA user_version = ${migration.version}`);
    }
    this.db.exec("COMMIT");
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
