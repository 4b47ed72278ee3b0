import type { Core } from "../core/core.ts";
import type { Entry } from "../core/entry.ts";
import { errors } from "../core/errors.ts";
import { PENDING } from "../database/operations/uploads.ts";

export interface Filter {
  readonly cache: string;
  readonly keyspace?: string | undefined;
  readonly scope?: string | undefined;
  /** Exactly this key. */
  readonly key?: string | undefined;
  /** Keys that start so. */
  readonly prefix?: string | undefined;
}

export interface Page {
  readonly entries: Entry[];
  /** Where the next page begins; null: this was the last. */
  readonly next: string | null;
}

/** Entries read in one step. */
const STEP = 500;
/** Entries looked at for one page: a filter that hardly anything fits gives short pages, never slow ones. */
const MAX_LOOKED_AT = 50_000;

type Cursor = readonly ["name", keyspace: string, key: string, version: string, scope: string] | readonly ["use", accessed: number, id: number];

/** A page of a cache's entries, by name or the last used first. @throws badRequest for a cursor that is none, or of another order */
export async function browse(core: Core, filter: Filter, how: { recent: boolean; limit: number; cursor?: string | undefined }): Promise<Page> {
  const cursor = how.cursor === undefined ? undefined : parseCursor(how.cursor, how.recent ? "use" : "name");
  const steps = how.recent ? byUse(core, filter, cursor) : byName(core, filter, cursor);
  const entries: Entry[] = [];
  let lookedAt = 0;
  for await (const step of steps) {
    for (const entry of step) {
      if (fits(entry, filter)) entries.push(entry);
      if (entries.length === how.limit) return { entries, next: cursorAt(entry, how.recent) };
    }
    lookedAt += step.length;
    if (lookedAt >= MAX_LOOKED_AT) return { entries, next: cursorAt(step.at(-1)!, how.recent) };
  }
  return { entries, next: null };
}

async function* byName(core: Core, filter: Filter, cursor: Cursor | undefined): AsyncGenerator<Entry[]> {
  const { cache, key, prefix } = filter;
  const from = key ?? prefix ?? "";
  // No key holds control characters, and nothing in UTF-8 sorts after U+10FFFF.
  const below = key !== undefined ? `${key}\u0001` : prefix ? `${prefix}\u{10FFFF}` : undefined;
  const start = cursor?.[0] === "name" ? cursor : undefined;
  for (const keyspace of await keyspacesOf(core, filter)) {
    if (start && keyspace < start[1]) continue;
    let after = start && keyspace === start[1] ? { key: start[2], version: start[3], scope: start[4] } : undefined;
    for (;;) {
      const entries = await core.database.scan("entriesByName", { cache, keyspace, from, below, after, limit: STEP });
      if (entries.length > 0) yield entries;
      if (entries.length < STEP) break;
      after = entries.at(-1)!;
    }
  }
}

async function* byUse(core: Core, filter: Filter, cursor: Cursor | undefined): AsyncGenerator<Entry[]> {
  // Access times are mostly in RAM.
  await core.journal.flush();
  let before = cursor?.[0] === "use" ? { accessed: cursor[1], id: cursor[2] } : undefined;
  for (;;) {
    const entries = await core.database.scan("entriesByUse", { cache: filter.cache, before, limit: STEP });
    if (entries.length > 0) yield entries;
    if (entries.length < STEP) return;
    before = entries.at(-1)!;
  }
}

async function keyspacesOf(core: Core, filter: Filter): Promise<string[]> {
  if (filter.keyspace !== undefined) return [filter.keyspace];
  const usage = await core.database.read("usage", { cache: filter.cache });
  return [...new Set(usage.filter((row) => row.entries > 0 && row.keyspace !== PENDING).map((row) => row.keyspace))].sort();
}

function fits(entry: Entry, { keyspace, scope, key, prefix }: Filter): boolean {
  if (keyspace !== undefined && entry.keyspace !== keyspace) return false;
  if (scope !== undefined && entry.scope !== scope) return false;
  if (key !== undefined && entry.key !== key) return false;
  return prefix === undefined || entry.key.startsWith(prefix);
}

function cursorAt(entry: Entry, recent: boolean): string {
  const cursor: Cursor = recent ? ["use", entry.accessed, entry.id] : ["name", entry.keyspace, entry.key, entry.version, entry.scope];
  return Buffer.from(JSON.stringify(cursor)).toString("base64url");
}

function parseCursor(text: string, order: Cursor[0]): Cursor {
  let cursor: unknown;
  try {
    cursor = JSON.parse(Buffer.from(text, "base64url").toString());
  } catch {
    // Refused below.
  }
  const [kind, ...rest] = Array.isArray(cursor) ? (cursor as unknown[]) : [];
  const wanted = kind === "use" ? ["number", "number"] : ["string", "string", "string", "string"];
  if (kind === order && rest.length === wanted.length && rest.every((value, index) => typeof value === wanted[index])) return cursor as Cursor;
  throw errors.badRequest("the cursor is not the `next` of an answer to the same question");
}
