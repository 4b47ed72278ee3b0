import { rm } from "node:fs/promises";
import { expect, test } from "vitest";
import { seedOf } from "../fixtures/random.ts";
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

test("SQLite + files: a power cut under uploads loses and falsifies nothing that was acknowledged", () => survives(powerCut, Math.ceil(rounds / 3)));
