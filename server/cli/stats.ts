import type { Command } from "commander";
import type { StatsView } from "../admin/stats.ts";
import type { CacheFigures, Figures } from "../admin/statistics.ts";
import type { Io } from "./io.ts";
import { connect, printJson, remote, whole, type RemoteOptions } from "./remote.ts";
import { table } from "./table.ts";
import { millisecondWords, rateWords, sizeWords, spanWords } from "./words.ts";

const COLUMNS = ["CACHE", "KEYSPACE", "ENTRIES", "SIZE", "MEAN AGE", "HIT RATE", "UPLOADS OK", "DOWNLOADS OK", "AVERAGE", "P95"];

/** `stowhouse stats`: what the caches hold, and how they did. */
export function registerStatsCommand(program: Command, io: Io): void {
  remote(program, "stats", "Show hit rates, transfers and sizes of each cache and keyspace.")
    .option("--days <n>", "days whose requests count (1 to 90)", whole(1, 90), 30)
    .option("--cache <name>", "only this cache")
    .action(async (options: RemoteOptions & { days: number; cache?: string }) => {
      const { days, cache } = options;
      const stats = await connect(options, io).get<StatsView>("/stats", { days, cache });
      if (options.json) return printJson(io, stats);
      const rows = stats.caches.flatMap((one) => [
        row(one.cache, "(all)", one, ofQuota(one)),
        ...one.keyspaces.map((keyspace) => row("", keyspace.keyspace, keyspace, sizeWords(keyspace.bytes))),
      ]);
      io.stdout.write(table(COLUMNS, rows).text);
      io.stdout.write(`\nHits, uploads and downloads of the last ${days === 1 ? "day" : `${days} days`} (since ${stats.since.slice(0, 10)}, UTC).\n`);
    });
}

function ofQuota({ bytes, pendingBytes, quota }: CacheFigures): string {
  const size = sizeWords(bytes + pendingBytes);
  return quota === null ? `${size} (not configured)` : `${size} of ${sizeWords(quota)}`;
}

function row(cache: string, keyspace: string, of: Figures, size: string): string[] {
  const attempts = ({ ok, failed, successRate }: Figures["uploads"]) => rateWords(successRate, ok + failed);
  return [
    cache, keyspace, String(of.entries), size,
    of.meanAgeSeconds === null ? "-" : spanWords(of.meanAgeSeconds * 1000),
    rateWords(of.hitRate, of.hits + of.misses), attempts(of.uploads), attempts(of.downloads), millisecondWords(of.downloads.averageMs), millisecondWords(of.downloads.p95Ms),
  ];
}
