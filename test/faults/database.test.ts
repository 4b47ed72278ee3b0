import { mkdtemp, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { setTimeout } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startPostgres, type Postgres } from "../fixtures/postgres.ts";
import { startStowhouse, type Stowhouse } from "../fixtures/stowhouse.ts";
import { startToxiproxy, type Proxy, type Toxiproxy } from "../fixtures/toxiproxy.ts";
import { endures } from "./endure.ts";
import { lost, startTraffic, type Traffic } from "./traffic.ts";

/** Longest a client waits for the answer that the database is away, ms; on a loaded machine. */
const BOUND = 20_000;
/** Longest until everything works again after the database does, ms. */
const RECOVERY = 20_000;

let home: string;
let database: Postgres;
let toxiproxy: Toxiproxy;
let proxy: Proxy;
let server: Stowhouse;
let traffic: Traffic;

beforeAll(async () => {
  home = await mkdtemp(path.join(os.tmpdir(), "stowhouse-faults-"));
  [database, toxiproxy] = await Promise.all([startPostgres(), startToxiproxy()]);
  proxy = await toxiproxy.proxy(`127.0.0.1:${database.port}`);
  server = await startStowhouse({ data: path.join(home, "data"), config: { log: { access: false }, database: { type: "postgres", url: database.url.replace(`:${database.port}/`, `:${proxy.port}/`) } } });
  traffic = startTraffic(server);
  await traffic.recovered(RECOVERY);
});

afterAll(async () => {
  await traffic?.stop();
  await server?.kill();
  await toxiproxy?.stop();
  await database?.stop();
  await rm(home, { recursive: true, force: true });
});

const trial = () => ({ server, traffic, bound: BOUND, recovery: RECOVERY });

test("PostgreSQL restarts under load", async () => {
  await endures("restart", trial(), async () => {
    for (const ending of ["fast", "immediate", "fast"] as const) {
      await database.restart(ending);
      await setTimeout(300);
    }
  });
});

test("PostgreSQL is away for a while: readiness says so, and clients learn it at once", async () => {
  await endures("away", trial(), async () => {
    await database.end("immediate");
    await setTimeout(1_500);
    expect(await fetch(`${server.url}/readyz`).then((answer) => answer.status)).toBe(503);
    expect(await fetch(`${server.url}/livez`).then((answer) => answer.status)).toBe(200);
    await database.start();
  });
});

test("PostgreSQL hangs: the connection stays and nothing comes", async () => {
  await endures("hang", trial(), async () => {
    const toxic = await proxy.addToxic({ type: "timeout", attributes: { timeout: 0 } });
    await setTimeout(7_000);
    await proxy.removeToxic(toxic);
  });
});

test("connections to PostgreSQL are reset", async () => {
  await endures("reset", trial(), async () => {
    const toxic = await proxy.addToxic({ type: "reset_peer", attributes: { timeout: 30 } });
    await setTimeout(2_000);
    await proxy.removeToxic(toxic);
  });
});

test("PostgreSQL is slow: 100 ms more each way cost time and nothing else", async () => {
  await endures("latency", trial(), async () => {
    const toxic = await proxy.addToxic({ type: "latency", attributes: { latency: 100, jitter: 50 } });
    await setTimeout(3_000);
    await proxy.removeToxic(toxic);
  });
});

test("after all that, everything acknowledged is there", async () => {
  await traffic.stop();
  expect(traffic.ledger.count().acknowledged).toBeGreaterThan(50);
  expect(await lost(server, traffic.ledger)).toEqual([]);
  await server.stop();
});
