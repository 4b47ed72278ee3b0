import type { Age } from "../core/ages.ts";
import type { Cache } from "../core/caches.ts";
import type { StatRow, UsageRow } from "../database/operations/admin.ts";
import { PENDING } from "../database/operations/uploads.ts";
import { DOWNLOAD_BUCKETS_MS } from "../http/accounting.ts";
import { quantileOf } from "./histogram.ts";

/** What a cache or one of its keyspaces has done and holds. Rates are 0 to 1; null: nothing to tell it from. */
export interface Figures {
  readonly entries: number;
  readonly bytes: number;
  readonly meanAgeSeconds: number | null;
  readonly hits: number;
  readonly misses: number;
  readonly hitRate: number | null;
  readonly uploads: Attempts;
  readonly downloads: Attempts & { readonly bytes: number; readonly averageMs: number | null; readonly p95Ms: number | null };
}

interface Attempts {
  readonly ok: number;
  readonly failed: number;
  readonly successRate: number | null;
}

export interface CacheFigures extends Figures {
  readonly cache: string;
  /** Null for a cache that is not configured any more. */
  readonly quota: number | null;
  readonly trustedBytes: number;
  readonly untrustedBytes: number;
  /** Bytes of uploads that wait for their commit; they count against the quota. */
  readonly pendingBytes: number;
  readonly keyspaces: readonly (Figures & { readonly keyspace: string })[];
}

export interface Rows {
  readonly usage: readonly UsageRow[];
  readonly stats: readonly StatRow[];
  readonly ages: readonly Age[];
}

/** Figures of all caches: those that exist, and those that hold something still. */
export function summarize(caches: readonly Cache[], rows: Rows): CacheFigures[] {
  const quotas = new Map(caches.map((cache) => [cache.name, cache.quota]));
  const holding = rows.usage.filter((row) => row.entries > 0).map((row) => row.cache);
  const names = [...new Set([...quotas.keys(), ...holding])].sort();
  return names.map((cache) => summarizeCache(cache, quotas.get(cache) ?? null, pick(rows, (row) => row.cache === cache)));
}

function summarizeCache(cache: string, quota: number | null, rows: Rows): CacheFigures {
  const stored = rows.usage.filter((row) => row.keyspace !== PENDING);
  const held = stored.filter((row) => row.entries > 0);
  const names = [...new Set([...held, ...rows.stats].map((row) => row.keyspace))].sort();
  const bytes = (list: readonly UsageRow[]) => list.reduce((sum, row) => sum + row.bytes, 0);
  return {
    cache, quota,
    ...figures({ ...rows, usage: stored }),
    trustedBytes: bytes(stored.filter((row) => row.trusted)),
    untrustedBytes: bytes(stored.filter((row) => !row.trusted)),
    pendingBytes: bytes(rows.usage.filter((row) => row.keyspace === PENDING)),
    keyspaces: names.map((keyspace) => ({ keyspace, ...figures(pick({ ...rows, usage: stored }, (row) => row.keyspace === keyspace)) })),
  };
}

function pick({ usage, stats, ages }: Rows, which: (row: { cache: string; keyspace: string }) => boolean): Rows {
  return { usage: usage.filter(which), stats: stats.filter(which), ages: ages.filter(which) };
}

function figures({ usage, stats, ages }: Rows): Figures {
  const counts = new Map<string, number>();
  for (const { name, value } of stats) counts.set(name, (counts.get(name) ?? 0) + value);
  const count = (name: string) => counts.get(name) ?? 0;
  const aged = ages.reduce((sum, row) => sum + row.entries, 0);
  const [hits, misses] = [count("hit"), count("miss")];
  const downloads = attempts(count("download_ok"), count("download_failed"));
  const buckets = [...DOWNLOAD_BUCKETS_MS, "inf"].map((bound) => count(`download_le_${bound}`));
  return {
    entries: usage.reduce((sum, row) => sum + row.entries, 0),
    bytes: usage.reduce((sum, row) => sum + row.bytes, 0),
    meanAgeSeconds: ratio(ages.reduce((sum, row) => sum + row.mean * row.entries, 0) / 1000, aged),
    hits, misses,
    hitRate: ratio(hits, hits + misses),
    uploads: attempts(count("upload_ok"), count("upload_failed")),
    downloads: { ...downloads, bytes: count("download_bytes"), averageMs: ratio(count("download_ms"), downloads.ok), p95Ms: quantileOf(DOWNLOAD_BUCKETS_MS, buckets, 0.95) ?? null },
  };
}

function attempts(ok: number, failed: number): Attempts {
  return { ok, failed, successRate: ratio(ok, ok + failed) };
}

function ratio(part: number, whole: number): number | null {
  return whole === 0 ? null : part / whole;
}
