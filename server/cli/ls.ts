import type { Command } from "commander";
import type { EntryView } from "../admin/entries.ts";
import type { AdminClient } from "./admin-client.ts";
import type { Io } from "./io.ts";
import { JsonList } from "./json-list.ts";
import { connect, oneOf, remote, whole, type RemoteOptions } from "./remote.ts";
import { printable, table } from "./table.ts";
import { agoWords, sizeWords } from "./words.ts";

export interface LsOptions extends RemoteOptions {
  readonly cache?: string;
  readonly keyspace?: string;
  readonly scope?: string;
  readonly prefix?: string;
  readonly recent?: boolean;
  readonly limit?: number;
  readonly format: "simple" | "table" | "json";
}

const COLUMNS = ["KEYSPACE", "KEY", "SIZE", "CREATED", "USED", "SCOPE"];
const PAGE = 500;
/** Rows of a table, unless told otherwise: more than that nobody reads. */
const TABLE_ROWS = 100;

/** `stowhouse ls`: entries of a server's cache. Returns the command, for client-commands.ts to add `--local`. */
export function registerLsCommand(program: Command, io: Io): Command {
  return remote(program, "ls", "List entries of a cache.")
    .option("--cache <name>", "cache (default: default)")
    .option("--keyspace <name>", "only this keyspace")
    .option("--scope <scope>", "only this scope")
    .option("--prefix <text>", "only keys that start so")
    .option("--recent", "the last used first")
    .option("--limit <n>", `at most so many (default: ${TABLE_ROWS} in a table, else all)`, whole(1, 1_000_000_000))
    .option("--format <format>", "simple (keys only), table or json", oneOf(["simple", "table", "json"]), "table")
    .action((options: LsOptions) => listEntries(options, io));
}

/** What `ls` does, unless told to look at this machine. */
export async function listEntries(options: LsOptions, io: Io): Promise<void> {
  const format = options.json ? "json" : options.format;
  const limit = options.limit ?? (format === "table" ? TABLE_ROWS : Infinity);
  const print = { simple, table: tabular, json }[format](io);
  let left = limit;
  for await (const { entries, next } of pages(connect(options, io), options, limit)) {
    left -= entries.length;
    print.entries(entries);
    if (left <= 0 && next !== null && options.limit === undefined) io.stderr.write(`Only ${TABLE_ROWS} are shown; --limit says how many, --format simple lists all keys.\n`);
  }
  print.end();
}

/** Goes through the pages of a server's answer until it has `limit` entries. */
async function* pages(client: AdminClient, options: LsOptions, limit: number): AsyncGenerator<{ entries: EntryView[]; next: string | null }> {
  const { cache, keyspace, scope, prefix, recent } = options;
  let cursor: string | undefined;
  for (let left = limit; left > 0; ) {
    const page = await client.get<{ entries: EntryView[]; next: string | null }>("/entries", { cache, keyspace, scope, prefix, recent, cursor, limit: Math.min(left, PAGE) });
    yield page;
    if (page.next === null) return;
    left -= page.entries.length;
    cursor = page.next;
  }
}

interface Printer {
  entries(entries: readonly EntryView[]): void;
  end(): void;
}

/** One key a line; to a script exactly as it is. */
function simple(io: Io): Printer {
  const shown = (key: string) => (io.stdout.isTTY ? printable(key) : key);
  return { entries: (entries) => void io.stdout.write(entries.map(({ key }) => `${shown(key)}\n`).join("")), end: () => {} };
}

function tabular(io: Io): Printer {
  let widths: number[] | undefined;
  const entries = (page: readonly EntryView[]) => {
    const now = Date.now();
    const rows = page.map((entry) => [entry.keyspace, entry.key, sizeWords(entry.size), agoWords(entry.created, now), agoWords(entry.used, now), entry.scope]);
    const printed = table(COLUMNS, rows, widths);
    widths = printed.widths;
    io.stdout.write(printed.text);
  };
  return { entries, end: () => {} };
}

function json(io: Io): Printer {
  const list = new JsonList(io);
  return { entries: (entries) => list.add(entries), end: () => list.end() };
}
