import { mkdtemp, readFile, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { expect, test } from "vitest";
import { bytesOf, Random, seedOf } from "../fixtures/random.ts";
import { startStowhouse } from "../fixtures/stowhouse.ts";
import { NipClient } from "../fixtures/wire-clients.ts";
import { postgresS3, powerCut, settle, sqliteFiles, type Place } from "./places.ts";
import { runRounds } from "./rounds.ts";

/** The short form; `npm run soak` runs the long one. */
const rounds = Number(process.env["STOWHOUSE_CRASH_ROUNDS"] ?? 6);
const seed = seedOf("crash suite", 8_420);

async function survives(make: () => Promise<Place>, count: number): Promise<void> {
  const place = await make();
  try {
    const outcome = await runRounds({ rounds: count, seed, server: place.server, cut: place.cut, report: (line) => console.log(`${place.name}, ${line}`) });
    expect([...outcome.problems, ...(await settle(place, outcome.last))]).toEqual([]);
    // A suite in which nothing was stored, or nothing under way, would prove nothing.
    expect(outcome.acknowledged).toBeGreaterThan(2 * count);
    expect(outcome.inDoubt).toBeGreaterThan(count);
  } finally {
    await place.close();
    await rm(place.home, { recursive: true, force: true });
  }
}

test("SQLite + files: kill -9 under uploads loses and falsifies nothing that was acknowledged", () => survives(sqliteFiles, rounds));

test("PostgreSQL + S3: kill -9 under uploads loses and falsifies nothing that was acknowledged", () => survives(postgresS3, Math.ceil(rounds / 2)));

test("a first start killed at any moment is made up for by the next", async () => {
  const random = new Random(seed);
  const home = await mkdtemp(path.join(os.tmpdir(), "stowhouse-first-"));
  // No keys of the configuration: the first start has to make some.
  const start = (name: string, lifetime?: number) =>
    startStowhouse({ data: path.join(home, name), ...(lifetime !== undefined && { lifetime }), env: { STOWHOUSE_ADMIN_KEY: "", STOWHOUSE_WRITE_KEY: "", STOWHOUSE_READ_KEY: "" } });
  const usual = await start("usual");
  await usual.stop();
  for (let round = 1; round <= Math.ceil(rounds / 2); round++) {
    // Somewhere between the first file and the first answer.
    await start(`data-${round}`, usual.readyMs * (0.5 + 0.5 * random.next())).then((server) => server.kill(), () => {});
    const server = await start(`data-${round}`);
    const keys = await readFile(path.join(home, `data-${round}`, "keys.env"), "utf8");
    const key = /^STOWHOUSE_WRITE_KEY=(.+)$/m.exec(keys)![1]!;
    expect((await new NipClient({ url: server.url, key }).put("first", bytesOf("first", 100_000), {})).status).toBe(201);
    await server.stop();
  }
  await rm(home, { recursive: true, force: true });
});

test("SQLite + files: a power cut under uploads loses and falsifies nothing that was acknowledged", () => survives(powerCut, Math.ceil(rounds / 3)));
