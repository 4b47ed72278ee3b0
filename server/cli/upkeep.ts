import type { Command } from "commander";
import type { FsckView, GcPlanView, GcView } from "../admin/maintenance.ts";
import type { Io } from "./io.ts";
import { finished } from "./job.ts";
import { connect, printJson, remote, type RemoteOptions } from "./remote.ts";
import { table } from "./table.ts";
import { sizeWords } from "./words.ts";

/** Node's own limit for the head of an answer is five minutes. */
const GC_MS = 290_000;

/** `stowhouse gc` and `stowhouse fsck`: what the server does by itself, now. */
export function registerUpkeepCommands(program: Command, io: Io): void {
  remote(program, "gc", "Evict and delete what is due, now.").option("-n, --dry-run", "only say what would go, and why").action(async (options: RemoteOptions & { dryRun?: boolean }) => {
    if (options.dryRun) {
      const plan = await connect(options, io).get<GcPlanView>("/gc");
      return options.json ? printJson(io, plan) : void io.stdout.write(planWords(plan));
    }
    const done = await connect(options, io).post<GcView>("/gc", {}, GC_MS);
    if (options.json) return printJson(io, done);
    io.stdout.write(`${done.evicted} entries evicted (${sizeWords(done.evictedBytes)}), ${done.uploads} stale uploads ended, ${done.collected} unused blobs deleted.\n`);
  });

  remote(program, "fsck", "Make index and storages agree; the server works on meanwhile.")
    .option("--verify", "read every body and compare its hash")
    .option("-n, --dry-run", "only say what is wrong")
    .action(async (options: RemoteOptions & { verify?: boolean; dryRun?: boolean }) => {
      const { verify = false, dryRun = false } = options;
      const client = connect(options, io);
      const done = await finished(client, "/fsck", await client.post<FsckView>("/fsck", { verify, dryRun }), ({ report }) => `${report?.blobs ?? 0} blobs`, io);
      if (options.json) return printJson(io, done);
      io.stdout.write(wordsOf(done));
    });
}

/** Why an entry goes. */
const REASONS = { expired: "its time is over", idle: "not used for so long", untrusted_share: "above the share of untrusted scopes", quota: "above the quota", disk: "the disk is too full" };

function planWords({ entries, bytes, cut, sums }: GcPlanView): string {
  const total = `${cut ? "More than " : ""}${entries} entries (${sizeWords(bytes)}) would be evicted.\n`;
  if (entries === 0) return total;
  const rows = sums.map((sum) => [sum.cache, sum.keyspace, String(sum.entries), sizeWords(sum.bytes), REASONS[sum.reason]]);
  return table(["CACHE", "KEYSPACE", "ENTRIES", "SIZE", "WHY"], rows).text + total;
}

function wordsOf({ report, dryRun, verify }: FsckView): string {
  const { blobs = 0, missing = 0, corrupt = 0, orphans = 0, swept = 0, unreadable = 0 } = report ?? {};
  const entries = dryRun ? "their entries stay in this dry run" : "their entries were removed";
  const files = dryRun ? "left in this dry run" : "deleted";
  return [
    `${blobs} blobs looked at${verify ? ", every byte read" : ""}.`,
    `${missing} missing, ${corrupt} corrupt${missing + corrupt > 0 ? `: ${entries}` : ""}.`,
    ...(unreadable > 0 ? [`${unreadable} could not be read just now; they were left alone.`] : []),
    `${orphans} files nothing knows and ${swept} left-overs of unfinished writes${orphans + swept > 0 ? `: ${files}` : ""}.`,
    "",
  ].join("\n");
}
