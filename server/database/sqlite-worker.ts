import { parentPort, workerData } from "node:worker_threads";
import { SqliteSession } from "./sqlite-session.ts";
import type { OperationName } from "./operations.ts";

/** Messages from the main thread: a batch of writes that share one transaction, or one long read. */
type Batch = readonly { id: number; name: OperationName; args: unknown }[];
export type Request = { readonly batch: Batch } | { readonly scan: { id: number; name: OperationName; args: unknown } } | "close";
export type Reply = { id: number; value: unknown } | { id: number; error: { message: string; code?: string | undefined; errcode?: number | undefined } };

const session = new SqliteSession((workerData as { path: string }).path, false);
const { db } = session;
// FULL: with NORMAL a power cut takes back every commit since the last checkpoint.
db.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 4000; PRAGMA journal_size_limit = 67108864; PRAGMA cache_size = -16384");
session.migrate();
parentPort!.postMessage([]);

function failure(id: number, error: unknown): Reply {
  const { message, code, errcode } = error as { message: string; code?: string; errcode?: number };
  return { id, error: { message, code, errcode } };
}

/**
 * Runs a batch in one transaction: an operation that fails is undone alone, a commit that fails fails them all. Failures are
 * rare, so a batch is first tried without savepoints (they cost a tenth), and again with them when one of it failed.
 */
function runBatch(batch: Batch): Reply[] {
  return transaction(batch, () => batch.map(({ id, name, args }) => ({ id, value: session.run(name, args) }))) ?? transaction(batch, () => batch.map(runAlone), true)!;
}

function runAlone({ id, name, args }: Batch[number]): Reply {
  db.exec("SAVEPOINT one");
  try {
    const value = session.run(name, args);
    db.exec("RELEASE one");
    return { id, value };
  } catch (error) {
    // After a full disk or an I/O error SQLite itself may have ended the whole transaction.
    if (!db.isTransaction) throw error;
    db.exec("ROLLBACK TO one; RELEASE one");
    return failure(id, error);
  }
}

/** Undefined when it failed and is worth another try, one by one. */
function transaction(batch: Batch, work: () => Reply[], retried = batch.length === 1): Reply[] | undefined {
  let working = true;
  try {
    db.exec("BEGIN IMMEDIATE");
    const replies = work();
    working = false;
    db.exec("COMMIT");
    return replies;
  } catch (error) {
    if (db.isTransaction) {
      db.exec("ROLLBACK");
      if (working && !retried) return undefined;
    }
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
