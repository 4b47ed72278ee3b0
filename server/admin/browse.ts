import type { Core } from "../core/core.ts";
import type { Entry } from "../core/entry.ts";
import { errors } from "../core/errors.ts";
import type { Name } from "../database/operations/browse.ts";
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

/** Names read in one step. */
const STEP = 2_000;
/** Entries read in one step. */
const USE_STEP = 500;
/** Entries looked at for one page: a filter that hardly anything fits gives short pages, never slow ones. */
const MAX_LOOKED_AT = { name: 100_000, use: 20_000 };

/** What the order of a page goes by. */
type Place = Name & { readonly keyspace: string; readonly accessed?: number };
type Cursor = readonly ["name", keyspace: string, scope: string, version: string, key: string] | readonly ["use", accessed: number, id: number];

/** A page of a cache's entries, by name or the last used first. @throws badRequest for a cursor that is none, or of another order */
export async function browse(core: Core, filter: Filter, how: { recent: boolean; limit: number; cursor?: string | undefined }): Promise<Page> {
  const order = how.recent ? "use" : "name";
  const cursor = how.cursor === undefined ? undefined : parseCursor(how.cursor, order);
  const steps = how.recent ? byUse(core, filter, cursor) : byName(core, filter, cursor);
  const ids: number[] = [];
  let lookedAt = 0;
  for await (const step of steps) {
    for (const place of step) {
      if (fits(place, filter)) ids.push(place.id);
      if (ids.length === how.limit) return { entries: await fetch(core, ids), next: cursorAt(place, how.recent) };
    }
    lookedAt += step.length;
    if (lookedAt >= MAX_LOOKED_AT[order]) return { entries: await fetch(core, ids), next: cursorAt(step.at(-1)!, how.recent) };
  }
  return { entries: await fetch(core, ids), next: null };
}

/** The entries in this order; those that are gone meanwhile are left out. */
async function fetch(core: Core, ids: readonly number[]): Promise<Entry[]> {
  const entries = new Map((await core.database.scan("entriesById", { ids })).map((entry) => [entry.id, entry]));
  return ids.flatMap((id) => entries.get(id) ?? []);
}

async function* byName(core: Core, filter: Filter, cursor: Cursor | undefined): AsyncGenerator<Place[]> {
  const { cache, scope = "" } = filter;
  const start = cursor?.[0] === "name" ? { keyspace: cursor[1], scope: cursor[2], version: cursor[3], key: cursor[4] } : undefined;
  for (const keyspace of await keyspacesOf(core, filter)) {
    if (start && keyspace < start.keyspace) continue;
    // No key is empty, so this comes before the first of a scope.
    let after: Omit<Name, "id"> = start?.keyspace === keyspace ? start : { scope, version: "", key: "" };
    for (;;) {
      const names = await core.database.scan("namesAfter", { cache, keyspace, after, limit: STEP });
      const last = names.at(-1);
      if (last) yield names.map((name) => ({ ...name, keyspace }));
      if (!last || names.length < STEP || (scope !== "" && last.scope !== scope)) break;
      after = last;
    }
  }
}

async function* byUse(core: Core, filter: Filter, cursor: Cursor | undefined): AsyncGenerator<Place[]> {
  // Access times are mostly in RAM.
  await core.journal.flush();
  let before = cursor?.[0] === "use" ? { accessed: cursor[1], id: cursor[2] } : undefined;
  for (;;) {
    const entries = await core.database.scan("entriesByUse", { cache: filter.cache, before, limit: USE_STEP });
    if (entries.length > 0) yield entries;
    if (entries.length < USE_STEP) return;
    before = entries.at(-1)!;
  }
}

async function keyspacesOf(core: Core, filter: Filter): Promise<string[]> {
  if (filter.keyspace !== undefined) return [filter.keyspace];
  const usage = await core.database.read("usage", { cache: filter.cache });
  return [...new Set(usage.filter((row) => row.entries > 0 && row.keyspace !== PENDING).map((row) => row.keyspace))].sort();
}

function fits(place: Place, { keyspace, scope, key, prefix }: Filter): boolean {
  if (keyspace !== undefined && place.keyspace !== keyspace) return false;
  if (scope !== undefined && place.scope !== scope) return false;
  if (key !== undefined && place.key !== key) return false;
  return prefix === undefined || place.key.startsWith(prefix);
}

function cursorAt(place: Place, recent: boolean): string {
  const cursor: Cursor = recent ? ["use", place.accessed!, place.id] : ["name", place.keyspace, place.scope, place.version, place.key];
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
