import { setTimeout } from "node:timers/promises";
import postgres from "postgres";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { conformance } from "../../server/database/conformance.ts";
import { expectSound, inline, named, newCache, put, read, type Subject } from "../../server/database/conformance/subject.ts";
import { DatabaseUnavailable, type Database } from "../../server/database/database.ts";
import { openPostgres } from "../../server/database/postgres.ts";
import { startPostgres, type Postgres } from "../fixtures/postgres.ts";

let server: Postgres;
beforeAll(async () => {
  server = await startPostgres();
});
afterAll(() => server.stop());

/** An empty database on the same server. */
async function emptyDatabase(name: string): Promise<string> {
  const sql = postgres(server.url, { max: 1 });
  await sql.unsafe(`CREATE DATABASE ${name}`);
  await sql.end();
  const url = new URL(server.url);
  url.pathname = `/${name}`;
  return url.href;
}

/** Two processes' worth of connections, and one that looks behind them. */
async function twoReplicas(url: string): Promise<Subject> {
  const [database, other] = await Promise.all([openPostgres({ url, maxConnections: 8 }), openPostgres({ url, maxConnections: 8 })]);
  const looking = postgres(url, { max: 1, onnotice: () => {} });
  return {
    database,
    replicas: [database, other],
    query: async (sql) => [...(await looking.unsafe(sql))],
    stop: async () => {
      await Promise.all([database.close(), other.close(), looking.end()]);
    },
  };
}

conformance("PostgreSQL", async () => twoReplicas(await emptyDatabase("conformance")));

describe("the PostgreSQL driver", () => {
  const open = async (url: string): Promise<Database> => {
    const database = await openPostgres({ url, maxConnections: 4 });
    onTestFinished(() => database.close());
    return database;
  };
  const count = async (url: string, sql: string) => {
    const looking = postgres(url, { max: 1 });
    const rows = await looking.unsafe(sql);
    await looking.end();
    return [...rows] as Record<string, unknown>[];
  };

  test("many processes that migrate an empty database at once: it is done once, and all of them work", async () => {
    const url = await emptyDatabase("migrated");
    const databases = await Promise.all(Array.from({ length: 6 }, () => open(url)));
    const cache = newCache();
    await Promise.all(databases.map((one, i) => put(one, named(cache, `k${i}`), inline(`${i}`))));
    expect(await databases[0]!.read("listEntries", { cache, limit: 10 })).toHaveLength(6);
    const versions = (await count(url, "SELECT version FROM schema_version ORDER BY version")).map((row) => Number(row["version"]));
    expect(versions).toEqual(versions.map((_, i) => i + 1));
  });

  test("tables of a newer server are refused: this one doesn't know what they mean", async () => {
    const url = await emptyDatabase("newer");
    await open(url);
    await count(url, "INSERT INTO schema_version (version) VALUES (1000)");
    await expect(open(url)).rejects.toThrow("newer Stowhouse");
  });

  test("a second open finds everything, and has nothing to migrate", async () => {
    const url = await emptyDatabase("again");
    const name = named(newCache());
    const first = await open(url);
    await put(first, name, inline("kept"));
    const before = await count(url, "SELECT count(*)::int AS n FROM schema_version");
    const second = await open(url);
    expect((await read(second, name))!.size).toBe(4);
    expect(await count(url, "SELECT count(*)::int AS n FROM schema_version")).toEqual(before);
  });

  test("an operation that fails in the middle is undone, others at the same time are not", async () => {
    const db = await open(await emptyDatabase("undone"));
    const cache = newCache();
    // Fails after the entry's row was written: the text of its audit line can't be kept.
    const broken = db.write("putEntry", {
      ...named(cache, "broken"), metadata: null, trusted: true, expires: null, now: 1, overwrite: false, blob: inline("broken"),
      audit: { at: 1, actor: "zero \u0000 byte", action: "put", cache, keyspace: "gha", scope: "", key: "", size: 0, result: "ok", address: "" },
    });
    const results = await Promise.allSettled([put(db, named(cache, "a"), inline("a")), broken, put(db, named(cache, "b"), inline("b"))]);
    expect(results.map((one) => one.status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
    expect((results[1] as PromiseRejectedResult).reason).toBeInstanceOf(DatabaseUnavailable);
    expect((await db.read("listEntries", { cache, limit: 10 })).map((entry) => entry.key).toSorted()).toEqual(["a", "b"]);
    expect(await db.scan("listBlobs", { after: 0, limit: 10 })).toHaveLength(2);
  });

  test("more calls at once than it has connections wait for one another", async () => {
    const db = await open(await emptyDatabase("busy"));
    const cache = newCache();
    await Promise.all(Array.from({ length: 200 }, (_, i) => put(db, named(cache, `k${i}`), inline(`${i % 10}`))));
    const found = await Promise.all(Array.from({ length: 200 }, (_, i) => read(db, named(cache, `k${i}`))));
    expect(found.every((entry) => entry !== undefined)).toBe(true);
  });

  test("a server that is not there is told as such, within seconds", async () => {
    const began = performance.now();
    await expect(openPostgres({ url: "postgres://nobody@127.0.0.1:1/none", maxConnections: 2 })).rejects.toBeInstanceOf(DatabaseUnavailable);
    await expect(openPostgres({ url: `${server.url}_unknown`, maxConnections: 2 })).rejects.toThrow(/does not exist/);
    expect(performance.now() - began).toBeLessThan(10_000);
  });

  test("later calls than the closing are refused", async () => {
    const db = await openPostgres({ url: await emptyDatabase("closed"), maxConnections: 2 });
    await db.close();
    await expect(db.ping()).rejects.toBeInstanceOf(DatabaseUnavailable);
    await expect(put(db, named("c"), inline("x"))).rejects.toBeInstanceOf(DatabaseUnavailable);
  });
});

// Last, because it takes the server away from everybody.
describe("when PostgreSQL restarts", () => {
  test.each(["fast", "immediate"] as const)("(%s) calls fail clearly, work again within seconds of its return, and nothing that was acknowledged is lost", async (ending) => {
    const subject = await twoReplicas(await emptyDatabase(`restart_${ending}`));
    onTestFinished(() => subject.stop());
    const [db] = [subject.database];
    const cache = newCache();
    const acknowledged: string[] = [];
    const errors: unknown[] = [];
    let working = true;
    // Clients that never pause, through both processes.
    const clients = Array.from({ length: 6 }, async (_, client) => {
      for (let i = 0; working; i++) {
        const key = `k${client}-${i}`;
        await put(subject.replicas[client % 2]!, named(cache, key), inline(key)).then(
          () => acknowledged.push(key),
          (error: unknown) => errors.push(error),
        );
        await setTimeout(5);
      }
    });
    await setTimeout(300);
    expect(errors).toEqual([]);
    const before = acknowledged.length;
    expect(before).toBeGreaterThan(10);

    await server.end(ending);
    const refused = performance.now();
    await expect(db.ping()).rejects.toBeInstanceOf(DatabaseUnavailable);
    await expect(read(db, named(cache, acknowledged[0]!))).rejects.toBeInstanceOf(DatabaseUnavailable);
    // Nobody waits long for a server that is not there.
    expect(performance.now() - refused).toBeLessThan(8_000);
    await server.start();
    const back = performance.now();
    const known = acknowledged.length;
    while (acknowledged.length < known + 20 && performance.now() - back < 15_000) await setTimeout(50);
    expect(performance.now() - back).toBeLessThan(10_000);
    await db.ping();
    working = false;
    await Promise.all(clients);

    expect(errors.length).toBeGreaterThan(0);
    for (const error of errors) expect(error).toBeInstanceOf(DatabaseUnavailable);
    // Not even an immediate end, with its recovery, may lose what was acknowledged.
    const kept = new Set((await subject.query(`SELECT key FROM entries WHERE cache = '${cache}'`)).map((row) => row["key"]));
    expect(acknowledged.filter((key) => !kept.has(key))).toEqual([]);
    await expectSound(subject);
  });
});
