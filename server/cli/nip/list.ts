import { Servers, type Server } from "../../../action/client/servers.ts";
import type { Io } from "../io.ts";
import { printable, table } from "../table.ts";
import { agoWords, sizeWords } from "../words.ts";
import { LocalDirectory } from "./local.ts";
import { listPage } from "./remote.ts";
import { settingsFor } from "./session.ts";
import type { ClientOptions } from "./settings.ts";

export interface ListOptions extends ClientOptions {
  readonly format: "simple" | "table" | "json";
  /** The last modified first. */
  readonly recent?: boolean;
  readonly limit?: number;
}

/** Names read of one server, and how long that may take, ms; past either it is not known what the server holds. */
const MAX_NAMES = 20_000;
const PATIENCE = 5_000;

/** `stowhouse ls --local`: the artifacts of nip's local directory, and which of them the servers hold. */
export async function listLocal(options: ListOptions, io: Io): Promise<void> {
  const settings = settingsFor(options, io);
  const found = await new LocalDirectory(settings.directory).list();
  if (options.recent) found.sort((a, b) => b.modified - a.modified);
  const artifacts = found.slice(0, options.limit);
  if (options.format === "simple") return void io.stdout.write(artifacts.map(({ key }) => `${printable(key)}\n`).join(""));
  const remote = await remoteNames(new Servers(settings.enabled ? settings.servers : []), io);
  const rows = artifacts.map(({ key, size, modified }) => ({ key, size, modified: new Date(modified).toISOString(), remote: remote?.has(key) ?? null }));
  if (options.format === "json") return void io.stdout.write(`${JSON.stringify(rows, null, 2)}\n`);
  const now = Date.now();
  io.stdout.write(table(["KEY", "SIZE", "MODIFIED", "REMOTE"], rows.map(({ key, size, modified, remote: there }) => [key, sizeWords(size), agoWords(modified, now), there === null ? "?" : there ? "yes" : "no"])).text);
}

/** The names the first server that answers holds; undefined when none says. */
async function remoteNames(servers: Servers, io: Io): Promise<Set<string> | undefined> {
  const signal = AbortSignal.timeout(PATIENCE);
  const found = await servers.first((server) => namesOf(server, signal), ({ server, message }) => io.stderr.write(`${server.url}: ${message}\n`));
  return found?.value;
}

async function namesOf(server: Server, signal: AbortSignal): Promise<Set<string> | undefined> {
  const names = new Set<string>();
  for (let before: string | undefined; ; ) {
    const page = await listPage(server, before, signal);
    for (const { key } of page?.artifacts ?? []) names.add(key);
    if (!page || names.size > MAX_NAMES) return undefined;
    if (page.next === null) return names;
    before = page.next;
  }
}
