import { createReadStream, rmSync } from "node:fs";
import { Readable } from "node:stream";
import type { Connection } from "../client/archive.ts";
import { pool } from "../client/archive/options.ts";
import { ExchangeError } from "../client/patience.ts";
import type { Env } from "../toolkit.ts";
import { builtSince, storeDir, type StorePath } from "./built.ts";
import { Cache, Denied } from "./cache.ts";
import { narInfo, pack } from "./pack.ts";

export interface PushRequest {
  readonly env: Env;
  /** By priority: the next is tried where one is away. */
  readonly connections: readonly Connection[];
  /** Since when the job builds, ms. */
  readonly since: number;
  /** Where packed paths wait; the job's own. */
  readonly directory: string;
  readonly deadlineMs: number;
}

/** What became of what the job built. */
export interface Pushed {
  readonly status: "pushed" | "denied" | "unavailable";
  readonly paths: number;
  /** What the cache had already, and what it did not take. */
  readonly present: number;
  readonly failed: number;
  /** Of NARs: over the network, and unpacked. */
  readonly moved: number;
  readonly total: number;
  readonly ms: number;
  readonly reason?: string | undefined;
}

/** A server that failed this fast may be followed by the next, ms. */
const SPARE = 2_500;
const AT_ONCE = 4;
/** Paths whose NARs are all there before the first narinfo is: what is cut off by the deadline is of use up to there. */
const BATCH = 64;

/**
 * Pushes what the job built. Not by `nix copy`, which refuses a path whose references the cache does not have, be they on
 * cache.nixos.org ten times (its addToStore). Never rejects.
 */
export async function pushBuilt({ env, connections, since, directory, deadlineMs }: PushRequest): Promise<Pushed> {
  const began = performance.now();
  const none: Tally = { paths: 0, present: 0, failed: 0, moved: 0, total: 0 };
  let tally = none;
  const ended = (status: Pushed["status"], reason?: string): Pushed => ({ ...tally, status, reason, ms: performance.now() - began });
  const signal = AbortSignal.timeout(deadlineMs);
  try {
    const built = await builtSince(env, since, { signal, patience: deadlineMs });
    let problem: Error | undefined;
    for (const connection of built.length === 0 ? [] : connections) {
      try {
        await pushAll(new Cache(connection, signal), built, { env, directory, signal }, (tally = { ...none }));
        return ended("pushed", problem?.message);
      } catch (error) {
        problem = error as Error;
        // The next one is not asked when this one took its time: a job may lose little.
        if (error instanceof Denied || performance.now() - began > SPARE) break;
      }
    }
    if (problem) return ended(problem instanceof Denied ? "denied" : "unavailable", problem.message);
    return ended("pushed");
  } catch (error) {
    return ended("unavailable", signal.aborted ? "it took longer than allowed" : (error as Error).message);
  }
}

type Tally = { -readonly [name in "paths" | "present" | "failed" | "moved" | "total"]: Pushed[name] };

interface Work {
  readonly env: Env;
  readonly directory: string;
  readonly signal: AbortSignal;
}

const endsAll = (error: unknown) => error instanceof ExchangeError || error instanceof Denied;

/** @throws ExchangeError when the server is away, Denied */
async function pushAll(cache: Cache, built: readonly StorePath[], work: Work, tally: Tally): Promise<void> {
  await cache.greet();
  const lost = new Set<string>();
  for (let at = 0; at < built.length; at += BATCH) {
    const narinfos = new Map<string, string>();
    await pool(built.slice(at, at + BATCH), AT_ONCE, async (path) => {
      if (await cache.has(path)) return void tally.present++;
      try {
        const nar = await pack(path, work);
        const chunks = createReadStream(nar.file).on("error", () => {});
        try {
          await cache.put(`nar/${nar.hash}.nar.zst`, nar.size, chunks);
        } finally {
          chunks.destroy();
          rmSync(nar.file, { force: true });
        }
        narinfos.set(path.name, narInfo(path, nar, storeDir(work.env)));
        tally.moved += nar.size;
        tally.total += nar.narSize;
      } catch (error) {
        if (endsAll(error) || work.signal.aborted) throw error;
        lost.add(path.name);
      }
    });
    for (const path of built.slice(at, at + BATCH)) {
      const text = narinfos.get(path.name);
      // Whoever is promised a path is promised what it needs.
      if (path.references.some((name) => name !== path.name && lost.has(name))) lost.add(path.name);
      if (text === undefined || lost.has(path.name)) continue;
      const bytes = Buffer.from(text);
      const taken = await cache.put(`${path.name.slice(0, 32)}.narinfo`, bytes.length, Readable.from([bytes])).then(() => true, (error: unknown) => {
        if (endsAll(error)) throw error;
        return false;
      });
      if (taken) tally.paths++;
      else lost.add(path.name);
    }
  }
  tally.failed += lost.size;
}
