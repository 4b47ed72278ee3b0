import type { Core } from "../core/core.ts";

/** Entries removed in one transaction: small, so that requests never wait long behind it. */
const BATCH = 100;

/**
 * Removes the entries of a cache that was deleted. Returns whether nothing of it is left; uploads nobody goes on with
 * expire by themselves. Ends early when the signal says so.
 */
export async function purge(core: Core, cache: string, signal: AbortSignal): Promise<boolean> {
  const { database, catalog } = core;
  // What is held first: without it nothing holds the rest.
  for (const [held, trusted] of [[true, false], [true, true], [false, false], [false, true]] as const) {
    while (!signal.aborted) {
      const entries = await database.scan("evictionCandidates", { cache, trusted, held, before: Number.MAX_SAFE_INTEGER, limit: BATCH });
      if (entries.length === 0) break;
      const audit = { at: Date.now(), actor: "server", action: "purge", cache, keyspace: "", scope: "", key: "", size: 0, result: "cache deleted", address: "" };
      await catalog.removeIds(entries.map((entry) => entry.id), audit);
    }
  }
  const usage = await database.read("usage", { cache });
  return usage.every((row) => row.entries === 0);
}
