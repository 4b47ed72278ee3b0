import { expect, test } from "vitest";
import type { Cache } from "../core/caches.ts";
import { summarize } from "./statistics.ts";

const cache = { name: "default", quota: 1000 } as Cache;
const usage = (keyspace: string, entries: number, bytes: number, more: { cache?: string; trusted?: boolean } = {}) => ({ cache: "default", keyspace, trusted: true, entries, bytes, ...more });
const stat = (keyspace: string, name: string, value: number) => ({ cache: "default", keyspace, name, value });
const age = (keyspace: string, entries: number, mean: number) => ({ cache: "default", keyspace, entries, mean });
const none = { usage: [], stats: [], ages: [] };

test("an empty cache has no rates, rather than bad ones", () => {
  const [figures] = summarize([cache], none);
  expect(figures).toMatchObject({ cache: "default", quota: 1000, entries: 0, bytes: 0, hitRate: null, meanAgeSeconds: null, uploads: { successRate: null }, downloads: { successRate: null, averageMs: null, p95Ms: null }, keyspaces: [] });
});

test("a cache's figures are those of its keyspaces together", () => {
  const [figures] = summarize([cache], {
    usage: [usage("gha", 2, 300), usage("gha", 1, 50, { trusted: false }), usage("nip", 4, 10)],
    stats: [
      stat("gha", "hit", 3), stat("gha", "miss", 1), stat("nip", "hit", 5), stat("nip", "miss", 1),
      stat("gha", "upload_ok", 9), stat("gha", "upload_failed", 1),
      stat("gha", "download_ok", 4), stat("gha", "download_ms", 60), stat("gha", "download_bytes", 4096), stat("gha", "download_le_10", 2), stat("gha", "download_le_25", 2), stat("nip", "download_failed", 1),
    ],
    ages: [age("gha", 3, 4_000), age("nip", 1, 8_000)],
  });
  expect(figures).toMatchObject({
    entries: 7, bytes: 360, trustedBytes: 310, untrustedBytes: 50, meanAgeSeconds: 5, hits: 8, misses: 2, hitRate: 0.8,
    uploads: { ok: 9, failed: 1, successRate: 0.9 },
    downloads: { ok: 4, failed: 1, successRate: 0.8, bytes: 4096, averageMs: 15 },
  });
  expect(figures!.downloads.p95Ms).toBeCloseTo(23.5);
  expect(figures!.keyspaces).toMatchObject([
    { keyspace: "gha", entries: 3, bytes: 350, hitRate: 0.75, meanAgeSeconds: 4, downloads: { failed: 0, successRate: 1 } },
    { keyspace: "nip", entries: 4, bytes: 10, meanAgeSeconds: 8, downloads: { ok: 0, failed: 1, successRate: 0, averageMs: null } },
  ]);
});

test("parts that wait for their commit are told apart from entries", () => {
  const [figures] = summarize([cache], { ...none, usage: [usage("gha", 1, 10), usage("uploads", 3, 500)] });
  expect(figures).toMatchObject({ entries: 1, bytes: 10, trustedBytes: 10, pendingBytes: 500 });
  expect(figures!.keyspaces.map((one) => one.keyspace)).toEqual(["gha"]);
});

test("a cache that was taken out of the configuration is told as long as it holds something", () => {
  const left = summarize([cache], { ...none, usage: [usage("gha", 1, 10, { cache: "old" }), usage("gha", 0, 0, { cache: "gone" })] });
  expect(left.map(({ cache: name, quota }) => [name, quota])).toEqual([["default", 1000], ["old", null]]);
});
