import type { Command } from "commander";
import type { AuditView } from "../admin/audit.ts";
import type { AdminClient } from "./admin-client.ts";
import type { Io } from "./io.ts";
import { JsonList } from "./json-list.ts";
import { connect, remote, span, whole, type RemoteOptions } from "./remote.ts";
import { table } from "./table.ts";
import { sizeWords } from "./words.ts";

interface AuditOptions extends RemoteOptions {
  readonly cache?: string;
  readonly actor?: string;
  readonly action?: string;
  readonly since?: number;
  readonly limit: number;
}

const COLUMNS = ["TIME", "ACTOR", "ACTION", "RESULT", "CACHE", "KEYSPACE", "KEY", "SIZE", "ADDRESS"];
const PAGE = 500;

/** `stowhouse audit`: who did what on a server, the last written first. */
export function registerAuditCommand(program: Command, io: Io): void {
  remote(program, "audit", "Show who did what, the latest first.")
    .option("--cache <name>", "only this cache")
    .option("--actor <actor>", "only this actor: key:<id>, session:<id>, anonymous, server")
    .option("--action <action>", "only this action: put, read, evict, admin.key.create, …")
    .option("--since <duration>", "only the last so long, like 24h", span)
    .option("--limit <n>", "at most so many lines", whole(1, 1_000_000_000), 100)
    .action(async (options: AuditOptions) => {
      const list = new JsonList(io);
      let widths: number[] | undefined;
      for await (const records of pages(connect(options, io), options)) {
        if (options.json) list.add(records);
        else {
          const printed = table(COLUMNS, records.map(rowOf), widths);
          widths = printed.widths;
          io.stdout.write(printed.text);
        }
      }
      if (options.json) list.end();
    });
}

async function* pages(client: AdminClient, options: AuditOptions): AsyncGenerator<AuditView[]> {
  const { cache, actor, action } = options;
  const since = options.since === undefined ? undefined : new Date(Date.now() - options.since).toISOString();
  let before: number | undefined;
  for (let left = options.limit; left > 0; ) {
    const { records, next } = await client.get<{ records: AuditView[]; next: number | null }>("/audit", { cache, actor, action, since, before, limit: Math.min(left, PAGE) });
    yield records;
    if (next === null) return;
    left -= records.length;
    before = next;
  }
}

function rowOf({ at, actor, action, result, cache, keyspace, key, size, address }: AuditView): string[] {
  return [at, actor, action, result, cache, keyspace, key, size > 0 ? sizeWords(size) : "", address];
}
