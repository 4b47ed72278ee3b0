import { parentPort, workerData } from "node:worker_threads";
import { pendingMigrations } from "./migrations/index.ts";
import { SqliteSession } from "./sqlite-session.ts";
import type { OperationName } from "./operations.ts";

/** Messages from the main thread: a batch of writes that share one transaction, or one long read. */
export type Request = { readonly batch: readonly { id: number; name: OperationName; args: unknown }[] } | { readonly scan: { id: number; name: OperationName; args: unknown } } | "close";
export type Reply = { id: number; value: unknown } | { id: number; error: { message: string; code?: string | undefined; errcode?: number | undefined } };

const DIALECT = { $ID: "INTEGER PRIMARY KEY AUTOINCREMENT", $INT: "INTEGER", $TEXT: "TEXT", $BYTES: "BLOB" };

const session = new SqliteSession((workerData as { path: string }).path, false);
const { db } = session;
// FULL: with NORMAL a power cut takes back every commit since the last checkpoint.
db.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 4000; PRAGMA journal_size_limit = 67108864; PRAGMA cache_size = -32768");
migrate();
parentPort!.postMessage([]);

function migrate(): void {
  const version = (db.prepare("PRAGMA user_version").get() as { user_version: number }).user_version;
  for (const migration of pendingMigrations(version, DIALECT)) {
    db.exec("BEGIN IMMEDIATE");
    for (const statement of migration.statements) db.exec(statement);
    db.exec(`PRAGMA user_version = ${migration.version}`);
    db.exec("COMMIT");
  }
}

function failure(id: number, error: unknown): Reply {
  const { message, code, errcode } = error as { message: string; code?: string; errcode?: number };
  return { id, error: { message, code, errcode } };
}

/** Runs a batch in one transaction: an operation that fails is undone alone, a commit that fails fails them all. */
function runBatch(batch: readonly { id: number; name: OperationName; args: unknown }[]): Reply[] {
  const replies: Reply[] = [];
  try {
    db.exec("BEGIN IMMEDIATE");
    for (const { id, name, args } of batch) {
      db.exec("SAVEPOINT one");
      try {
        replies.push({ id, value: session.run(name, args) });
        db.exec("RELEASE one");
      } catch (error) {
        // After a full disk or an I/O error SQLite itself may have ended the whole transaction.
        if (!db.isTransaction) throw error;
        db.exec("ROLLBACK TO one; RELEASE one");
        replies.push(failure(id, error));
      }
    }
    db.exec("COMMIT");
    return replies;
  } catch (error) {
    if (db.isTransaction) db.exec("ROLLBACK");
    return batch.map(({ id }) => failure(id, error));
  }
}

parentPort!.on("message", (request: Request) => {
  if (request === "close") {
    db.close();
    parentPort!.close();
  } else if ("batch" in request) {
    parentPort!.postMessage(runBatch(request.batch));
  } else {
    const { id, name, args } = request.scan;
    try {
      parentPort!.postMessage([{ id, value: session.run(name, args) }]);
    } catch (error) {
      parentPort!.postMessage([failure(id, error)]);
    }
  }
});
