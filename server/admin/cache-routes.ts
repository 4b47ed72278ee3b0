import type { FastifyInstance } from "fastify";
import Type, { type Static } from "typebox";
import type { Cache } from "../core/caches.ts";
import { errors } from "../core/errors.ts";
import type { CacheRow } from "../database/operations/admin.ts";
import { recordOf, type AdminContext } from "./context.ts";
import { operation } from "./operation.ts";
import { CacheName, Count, iso, nullable, Scope, Time } from "./schema.ts";

const Params = Type.Object({ name: CacheName });
const Settings = Type.Object({}, { additionalProperties: true });

const CacheAnswer = Type.Object({
  name: CacheName,
  source: Type.Unsafe<"configuration" | "api">({ type: "string", enum: ["configuration", "api"] }),
  state: Type.Unsafe<"ready" | "removing" | "unfit">({
    type: "string",
    enum: ["ready", "removing", "unfit"],
    description: "removing: deleted, its entries are going. unfit: its settings contradict the configuration; it can't be used until it is changed.",
  }),
  settings: nullable(Settings, "What was declared, for a cache made here."),
  effective: nullable(
    Type.Object({
      quota: Count,
      retentionSeconds: Type.Number(),
      untrustedShare: Type.Number({ description: "0 to 1." }),
      untrustedIdleSeconds: Type.Number(),
      defaultScope: Scope,
      anonymousRead: Type.Boolean(),
      entrySize: Count,
    }),
    "What holds, in bytes and seconds.",
  ),
  created: nullable(Time),
  updated: nullable(Time),
});

function effectOf(cache: Cache): NonNullable<Static<typeof CacheAnswer>["effective"]> {
  const { quota, retention, untrustedShare, untrustedIdle, defaultScope, anonymousRead, entrySize } = cache;
  return { quota, retentionSeconds: retention / 1000, untrustedShare, untrustedIdleSeconds: untrustedIdle / 1000, defaultScope, anonymousRead, entrySize };
}

/** `/v1/admin/caches`: those of the configuration can be looked at, others be made, changed and deleted. */
export function registerCaches(app: FastifyInstance, { core, caches }: AdminContext): void {
  const { schema } = caches.declarations;
  const isConfigured = (name: string) => caches.declarations.configured.has(name);

  const managed = (row: CacheRow): Static<typeof CacheAnswer> => {
    const cache = row.settings === null ? undefined : core.caches.get(row.name);
    const state = row.settings === null ? "removing" : cache ? "ready" : "unfit";
    return { name: row.name, source: "api", state, settings: row.settings as object | null, effective: cache ? effectOf(cache) : null, created: iso(row.created), updated: iso(row.updated) };
  };
  const fixed = (cache: Cache): Static<typeof CacheAnswer> => ({
    name: cache.name, source: "configuration", state: "ready", settings: null, effective: effectOf(cache), created: null, updated: null,
  });
  const view = async (name: string): Promise<Static<typeof CacheAnswer>> => {
    const cache = core.caches.get(name);
    if (cache && isConfigured(name)) return fixed(cache);
    const row = (await caches.rows()).find((one) => one.name === name);
    if (!row) throw errors.noCache();
    return managed(row);
  };

  app.get(
    "/caches",
    operation("caches.list", "Lists all caches", { response: { 200: Type.Object({ caches: Type.Array(CacheAnswer) }) } }),
    async () => {
      const own = core.caches.list().filter((cache) => isConfigured(cache.name));
      return { caches: [...own.map(fixed), ...(await caches.reload()).map(managed)] };
    },
  );

  app.get<{ Params: Static<typeof Params> }>(
    "/caches/:name",
    operation("caches.get", "Shows a cache", { params: Params, response: { 200: CacheAnswer } }),
    (request) => view(request.params.name),
  );

  app.put<{ Params: Static<typeof Params>; Body: unknown }>(
    "/caches/:name",
    {
      ...operation("caches.put", "Makes a cache, or changes its settings to these", { params: Params, body: schema, response: { 200: CacheAnswer, 201: CacheAnswer } }),
      // The configuration's own check knows sizes and durations in words, and says better what is wrong.
      validatorCompiler: ({ httpPart }) => (value: unknown) => ({ value: httpPart === "body" ? (value ?? {}) : value }),
    },
    async (request, reply) => {
      const { name } = request.params;
      const made = await caches.put(name, request.body);
      core.journal.audit(recordOf(request, made ? "admin.cache.create" : "admin.cache.change", { cache: name }));
      return reply.code(made ? 201 : 200).send(await view(name));
    },
  );

  app.delete<{ Params: Static<typeof Params> }>(
    "/caches/:name",
    operation("caches.delete", "Ends a cache at once; its entries are removed in the background", { params: Params, response: { 202: CacheAnswer } }),
    async (request, reply) => {
      const { name } = request.params;
      await caches.delete(name);
      core.journal.audit(recordOf(request, "admin.cache.delete", { cache: name }));
      return reply.code(202).send(await view(name));
    },
  );
}
