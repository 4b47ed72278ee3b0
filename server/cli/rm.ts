import type { Command } from "commander";
import { errors } from "../core/errors.ts";
import type { Io } from "./io.ts";
import { connect, printJson, remote, type RemoteOptions } from "./remote.ts";
import { sizeWords } from "./words.ts";

interface RmOptions extends RemoteOptions {
  readonly cache?: string;
  readonly keyspace?: string;
  readonly scope?: string;
  readonly prefix?: string;
  readonly all?: boolean;
  readonly dryRun?: boolean;
}

interface Removed {
  readonly entries: number;
  readonly bytes: number;
}

/** `stowhouse rm`: removes entries from a server's cache. */
export function registerRmCommand(program: Command, io: Io): void {
  remote(program, "rm", "Remove entries by key, or all that fit the options.")
    .argument("[keys...]", "keys; every version of them in every scope and keyspace goes, unless an option says less")
    .option("--cache <name>", "cache (default: default)")
    .option("--keyspace <name>", "only in this keyspace")
    .option("--scope <scope>", "only in this scope")
    .option("--prefix <text>", "keys that start so")
    .option("--all", "everything in the cache")
    .option("-n, --dry-run", "only say what would go")
    .action(async (keys: string[], options: RmOptions) => {
      const { keyspace, scope, prefix, all, dryRun } = options;
      if (keys.length > 0 && (all || prefix !== undefined)) throw errors.badRequest("name keys, or --prefix, or --all");
      if (keys.length === 0 && !all && [keyspace, scope, prefix].every((value) => value === undefined)) {
        throw errors.badRequest("name keys, or say which entries: --keyspace, --scope, --prefix or --all");
      }
      const total = { entries: 0, bytes: 0 };
      for (const key of keys.length > 0 ? keys : [undefined]) {
        const { entries, bytes } = await remove(options, io, key);
        total.entries += entries;
        total.bytes += bytes;
      }
      if (options.json) return printJson(io, { ...total, dryRun: dryRun ?? false });
      const what = `${total.entries} ${total.entries === 1 ? "entry" : "entries"} (${sizeWords(total.bytes)})`;
      io.stdout.write(dryRun ? `${what} would be removed.\n` : `${what} removed.\n`);
    });
}

/** Asks until the server has been through everything: it removes a few thousand at a time. */
async function remove(options: RmOptions, io: Io, key: string | undefined): Promise<Removed> {
  const { cache, keyspace, scope, prefix, all, dryRun } = options;
  const client = connect(options, io);
  let [entries, bytes] = [0, 0];
  for (let cursor: string | undefined; ; ) {
    const page = await client.delete<Removed & { next: string | null }>("/entries", { cache, keyspace, scope, prefix, key, all, dryRun, cursor });
    entries += page.entries;
    bytes += page.bytes;
    if (page.next === null) return { entries, bytes };
    cursor = page.next;
    if (io.stderr.isTTY) io.stderr.write(`${entries} so far…\n`);
  }
}
