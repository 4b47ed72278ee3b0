import type { FastifyInstance } from "fastify";
import Type, { type Static } from "typebox";
import type { Core } from "../core/core.ts";
import type { Entry } from "../core/entry.ts";
import { errors } from "../core/errors.ts";
import { browse, type Filter } from "./browse.ts";
import { recordOf, type AdminContext } from "./context.ts";
import { operation } from "./operation.ts";
import { CacheName, Count, iso, Limit, nullable, Scope, strict, Time } from "./schema.ts";

/** Entries one DELETE removes; its `next` says where to go on. */
const MAX_REMOVED = 5_000;
const STEP = 500;

const EntryAnswer = Type.Object({
  id: Type.Integer(),
  cache: CacheName,
  keyspace: Type.String(),
  scope: Scope,
  key: Type.String(),
  version: Type.String(),
  size: Count,
  digest: nullable(Type.String(), "SHA-256 of the body, where it is known."),
  trusted: Type.Boolean(),
  created: Time,
  used: Time,
  expires: nullable(Time),
});

export type EntryView = Static<typeof EntryAnswer>;

const FILTER = {
  cache: Type.Optional(Type.String({ pattern: "^[a-z0-9][a-z0-9-]{0,62}$", default: "default" })),
  keyspace: Type.Optional(Type.String({ minLength: 1, maxLength: 100 })),
  scope: Type.Optional(Scope),
  key: Type.Optional(Type.String({ minLength: 1, maxLength: 4096, description: "Exactly this key." })),
  prefix: Type.Optional(Type.String({ minLength: 1, maxLength: 4096, description: "Keys that start so." })),
};
const Cursor = Type.Optional(Type.String({ maxLength: 8192, description: "`next` of the previous answer." }));
const ListQuery = strict({ ...FILTER, recent: Type.Optional(Type.Boolean({ description: "The last used first; otherwise by name." })), cursor: Cursor, limit: Limit });
const RemoveQuery = strict({
  ...FILTER,
  all: Type.Optional(Type.Boolean({ description: "Needed where nothing but the cache is named." })),
  dryRun: Type.Optional(Type.Boolean({ description: "Only count." })),
  cursor: Cursor,
});
const Id = Type.Object({ id: Type.Integer({ minimum: 1 }) });

function answerOf(entry: Entry): EntryView {
  const { id, cache, keyspace, scope, key, version, size, digest, trusted } = entry;
  return { id, cache, keyspace, scope, key, version, size, digest, trusted, created: iso(entry.created), used: iso(entry.accessed), expires: entry.expires === null ? null : iso(entry.expires) };
}

/** A cache that was taken out of the configuration may still hold entries. @throws noCache */
async function assertCache(core: Core, cache: string): Promise<void> {
  if (core.caches.get(cache)) return;
  if (!(await core.database.read("usage", { cache })).some((row) => row.entries > 0)) throw errors.noCache();
}

/** `/v1/admin/entries`: what is stored, whoever wrote it. */
export function registerEntries(app: FastifyInstance, { core }: AdminContext): void {
  app.get<{ Querystring: Static<typeof ListQuery> & { cache: string; limit: number } }>(
    "/entries",
    operation("entries.list", "Lists entries of a cache; an answer may be short and still have a next", {
      querystring: ListQuery,
      response: { 200: Type.Object({ entries: Type.Array(EntryAnswer), next: nullable(Type.String()) }) },
    }),
    async (request) => {
      const { recent = false, limit, cursor, ...filter } = request.query;
      await assertCache(core, filter.cache);
      const { entries, next } = await browse(core, filter, { recent, limit, cursor });
      return { entries: entries.map(answerOf), next };
    },
  );

  app.delete<{ Querystring: Static<typeof RemoveQuery> & { cache: string } }>(
    "/entries",
    operation("entries.remove", "Removes the entries that fit; asked again with `next` until that is null", {
      querystring: RemoveQuery,
      response: { 200: Type.Object({ entries: Count, bytes: Count, next: nullable(Type.String()) }) },
    }),
    async (request) => {
      const { all = false, dryRun = false, cursor, ...filter } = request.query;
      if (!all && [filter.keyspace, filter.scope, filter.key, filter.prefix].every((value) => value === undefined)) {
        throw errors.badRequest("name a keyspace, a scope, a key or a prefix, or say all=true");
      }
      await assertCache(core, filter.cache);
      const { cache, keyspace = "", scope = "" } = filter;
      return remove(core, filter, cursor, (ids) => (dryRun ? undefined : core.catalog.removeIds(ids, recordOf(request, "admin.entry.remove", { cache, keyspace, scope }))));
    },
  );

  app.delete<{ Params: Static<typeof Id> }>(
    "/entries/:id",
    operation("entries.removeOne", "Removes an entry", { params: Id, response: { 200: EntryAnswer } }),
    async (request) => {
      const entry = await core.database.read("entryById", { id: request.params.id });
      if (!entry) throw errors.notFound();
      const { cache, keyspace, scope, key } = entry;
      const gone = await core.catalog.removeIds([entry.id], recordOf(request, "admin.entry.remove", { cache, keyspace, scope, key }));
      if (gone.length === 0) throw errors.notFound();
      return answerOf(entry);
    },
  );
}

/** @param take removes entries by id and returns those that were there; undefined for a dry run */
async function remove(core: Core, filter: Filter, from: string | undefined, take: (ids: number[]) => Promise<Entry[]> | undefined) {
  let [entries, bytes, cursor] = [0, 0, from];
  for (let step = 0; step < MAX_REMOVED / STEP; step++) {
    const page = await browse(core, filter, { recent: false, limit: STEP, cursor });
    const gone = page.entries.length === 0 ? [] : ((await take(page.entries.map((entry) => entry.id))) ?? page.entries);
    entries += gone.length;
    bytes += gone.reduce((sum, entry) => sum + entry.size, 0);
    if (page.next === null) return { entries, bytes, next: null };
    cursor = page.next;
  }
  return { entries, bytes, next: cursor! };
}
