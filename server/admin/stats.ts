import type { FastifyInstance } from "fastify";
import Type, { type Static } from "typebox";
import { errors } from "../core/errors.ts";
import type { AdminContext } from "./context.ts";
import { operation } from "./operation.ts";
import { CacheName, Count, iso, nullable, strict, Time } from "./schema.ts";
import { summarize, type CacheFigures } from "./statistics.ts";

const DAY_MS = 86_400_000;

const Rate = nullable(Type.Number({ minimum: 0, maximum: 1 }), "0 to 1; null: nothing to tell it from.");
const ATTEMPTS = { ok: Count, failed: Count, successRate: Rate };
const FIGURES = {
  entries: Count,
  bytes: Count,
  meanAgeSeconds: nullable(Type.Number(), "Mean age of the entries, at most a minute late."),
  hits: Count,
  misses: Count,
  hitRate: Rate,
  uploads: Type.Object(ATTEMPTS),
  downloads: Type.Object({ ...ATTEMPTS, bytes: Count, averageMs: nullable(Type.Number()), p95Ms: nullable(Type.Number(), "As near as the buckets tell.") }),
};
const CacheStats = Type.Object({
  cache: CacheName,
  quota: nullable(Count, "Null for a cache that is not configured any more."),
  ...FIGURES,
  trustedBytes: Count,
  untrustedBytes: Count,
  pendingBytes: Type.Integer({ minimum: 0, description: "Bytes of uploads that wait for their commit; they count against the quota." }),
  keyspaces: Type.Array(Type.Object({ keyspace: Type.String(), ...FIGURES })),
});
export interface StatsView {
  readonly version: string;
  readonly days: number;
  readonly since: string;
  readonly caches: readonly CacheFigures[];
}

const Query = strict({
  days: Type.Optional(Type.Integer({ minimum: 1, maximum: 90, default: 30, description: "Days whose requests count, today included (UTC)." })),
  cache: Type.Optional(CacheName),
  ages: Type.Optional(Type.Boolean({ default: true, description: "Whether the mean ages are told, for which every entry is read once a minute at most." })),
});

/** `/v1/admin/stats`: what the caches hold now, and how they did in the last days. */
export function registerStats(app: FastifyInstance, { core, version }: AdminContext): void {
  app.get<{ Querystring: Static<typeof Query> & { days: number; ages: boolean } }>(
    "/stats",
    operation("stats", "Figures of each cache and keyspace", {
      querystring: Query,
      response: { 200: Type.Object({ version: Type.String({ description: "The server's." }), days: Type.Integer(), since: Time, caches: Type.Array(CacheStats) }) },
    }),
    async (request): Promise<StatsView> => {
      const { days, cache, ages } = request.query;
      // The latest counts are in RAM.
      await core.journal.flush();
      const since = Math.floor(Date.now() / DAY_MS) - days + 1;
      const of = cache === undefined ? {} : { cache };
      const [usage, stats, read] = await Promise.all([core.database.read("usage", of), core.database.scan("readStats", { since, ...of }), ages ? core.ages.read() : []]);
      const caches = core.caches.list().filter((one) => cache === undefined || one.name === cache);
      const figures = summarize(caches, { usage, stats, ages: read });
      if (cache !== undefined && figures.length === 0) throw errors.noCache();
      return { version, days, since: iso(since * DAY_MS), caches: figures };
    },
  );
}
