import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import type { Worker } from "node:worker_threads";
import { afterEach, describe, expect, test } from "vitest";
import { conformance } from "./conformance.ts";
import { inline, named, newCache, put, read } from "./conformance/subject.ts";
import { DatabaseUnavailable, type Database } from "./database.ts";
import { openSqlite } from "./sqlite.ts";

async function temporaryFile(): Promise<{ path: string; remove: () => Promise<void> }> {
  const folder = await mkdtemp(join(tmpdir(), "stowhouse-sqlite-"));
  return { path: join(folder, "sub", "index.db"), remove: () => rm(folder, { recursive: true, force: true }) };
}

conformance("SQLite", async () => {
  const file = await temporaryFile();
  const database = await openSqlite({ path: file.path, window: 0 });
  const other = await openSqlite({ path: file.path, window: 0 });
  const looking = new DatabaseSync(file.path, { readOnly: true });
  return {
    database,
    replicas: [database, other],
    query: async (sql) => looking.prepare(sql).all() as Record<string, unknown>[],
    stop: async () => {
      looking.close();
      await database.close();
      await other.close();
      await file.remove();
    },
  };
});

describe("the SQLite driver", () => {
  const undo: (() => Promise<void>)[] = [];
  afterEach(async () => {
    for (const one of undo.splice(0).toReversed()) await one();
  });

  /** @returns the database and the threads it has started so far, oldest first */
  async function open(window = 2): Promise<{ db: Database; workers: Worker[]; path: string }> {
    const file = await temporaryFile();
    const workers: Worker[] = [];
    const note = (worker: Worker) => void workers.push(worker);
    process.on("worker", note);
    const db = await openSqlite({ path: file.path, window });
    undo.push(file.remove, async () => void process.off("worker", note), () => db.close());
    return { db, workers, path: file.path };
  }

  test("a second open finds everything, and has nothing to migrate", async () => {
    const { db, path } = await open();
    const name = named(newCache());
    await put(db, name, inline("kept"));
    await db.close();
    const again = await openSqlite({ path });
    undo.push(() => again.close());
    expect((await read(again, name))!.size).toBe(4);
    expect((await put(again, named(name.cache, "more"), inline("x"))).status).toBe("created");
  });

  test("many that open an empty file at once: it is migrated once, and all of them work", async () => {
    const file = await temporaryFile();
    const all = await Promise.all(Array.from({ length: 4 }, () => openSqlite({ path: file.path, window: 0 })));
    undo.push(file.remove, ...all.map((one) => () => one.close()));
    const cache = newCache();
    await Promise.all(all.map((one, i) => put(one, named(cache, `k${i}`), inline(`${i}`))));
    expect(await all[0]!.read("listEntries", { cache, limit: 9 })).toHaveLength(4);
  });

  test("tables of a newer server are refused untouched: this one doesn't know what they mean", async () => {
    const { db, path } = await open();
    await db.close();
    const newer = new DatabaseSync(path);
    newer.exec("PRAGMA user_version = 1000");
    await expect(openSqlite({ path })).rejects.toThrow("newer Stowhouse");
    expect(newer.prepare("PRAGMA user_version").get()).toEqual({ user_version: 1000 });
    newer.close();
  });

  test("an operation that fails is undone alone; the others of its commit survive", async () => {
    const { db } = await open(20);
    const cache = newCache();
    // All four share a commit. The broken one fails after it has written some rows.
    const broken = { ...inline("broken"), bytes: {} as Uint8Array };
    const results = await Promise.allSettled([put(db, named(cache, "a"), inline("a")), put(db, named(cache, "b"), broken), put(db, named(cache, "c"), inline("c")), put(db, named(cache, "a"), inline("late"))]);
    expect(results.map((one) => one.status)).toEqual(["fulfilled", "rejected", "fulfilled", "fulfilled"]);
    expect((results[1] as PromiseRejectedResult).reason).toBeInstanceOf(DatabaseUnavailable);
    expect((results[3] as PromiseFulfilledResult<{ status: string }>).value.status).toBe("exists");
    expect(((await db.read("listEntries", { cache, limit: 9 }))).map((entry) => entry.key)).toEqual(["c", "a"]);
    expect((await db.scan("listBlobs", { after: 0, limit: 9 })).length).toBe(2);
  });

  test("when its thread dies, all who wait are told so, and the next call works", async () => {
    const { db, workers } = await open(0);
    const cache = newCache();
    await put(db, named(cache, "before"), inline("x"));
    const dying = workers[0]!.terminate();
    const waiting = await Promise.allSettled([put(db, named(cache, "lost"), inline("x")), db.scan("listBlobs", { after: 0, limit: 1 }), put(db, named(cache, "lost too"), inline("x"))]);
    await dying;
    for (const one of waiting) {
      expect(one.status).toBe("rejected");
      expect((one as PromiseRejectedResult).reason).toBeInstanceOf(DatabaseUnavailable);
    }
    expect((await put(db, named(cache, "after"), inline("x"))).status).toBe("created");
    expect((await db.read("listEntries", { cache, limit: 9 })).map((entry) => entry.key)).toEqual(["after", "before"]);
    expect(workers).toHaveLength(2);
  });

  test("what was refused because the thread died is not done later by its successor", async () => {
    const { db, workers } = await open(30);
    const cache = newCache();
    const refused = put(db, named(cache, "refused"), inline("x")).catch((error: unknown) => error);
    await workers[0]!.terminate();
    expect(await refused).toBeInstanceOf(DatabaseUnavailable);
    await put(db, named(cache, "after"), inline("x"));
    await new Promise((resolve) => setTimeout(resolve, 60));
    expect((await db.read("listEntries", { cache, limit: 9 })).map((entry) => entry.key)).toEqual(["after"]);
  });

  test("closing writes down what waits, twice is once, and later calls are refused", async () => {
    const { db, path } = await open(1_000);
    const name = named(newCache());
    const waiting = put(db, name, inline("x"));
    await db.close();
    await db.close();
    expect((await waiting).status).toBe("created");
    await expect(put(db, name, inline("y"))).rejects.toBeInstanceOf(DatabaseUnavailable);
    const looking = new DatabaseSync(path, { readOnly: true });
    expect(looking.prepare("SELECT count(*) AS n FROM entries").get()).toEqual({ n: 1 });
    looking.close();
  });

  test("a file that is no database is refused with its path", async () => {
    const folder = await mkdtemp(join(tmpdir(), "stowhouse-sqlite-"));
    undo.push(() => rm(folder, { recursive: true, force: true }));
    await expect(openSqlite({ path: folder })).rejects.toThrow(folder);
    await expect(openSqlite({ path: folder })).rejects.toBeInstanceOf(DatabaseUnavailable);
  });
});
