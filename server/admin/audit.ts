import type { FastifyInstance } from "fastify";
import Type, { type Static } from "typebox";
import type { AdminContext } from "./context.ts";
import { operation } from "./operation.ts";
import { CacheName, iso, Limit, nullable, strict, Time } from "./schema.ts";

const text = Type.String();
const RecordAnswer = Type.Object({
  id: Type.Integer(),
  at: Time,
  actor: text,
  action: text,
  cache: text,
  keyspace: text,
  scope: text,
  key: text,
  size: Type.Integer({ description: "Bytes." }),
  result: text,
  address: text,
});
export type AuditView = Static<typeof RecordAnswer>;

const Query = strict({
  cache: Type.Optional(CacheName),
  actor: Type.Optional(Type.String({ maxLength: 300, description: "key:<id>, session:<id>, anonymous or server." })),
  action: Type.Optional(Type.String({ maxLength: 100 })),
  since: Type.Optional(Time),
  before: Type.Optional(Type.Integer({ minimum: 1, description: "`next` of the previous answer." })),
  limit: Limit,
});

/** `/v1/admin/audit`: who did what, the last written first; what rides in no entry's transaction is written a few seconds late. */
export function registerAudit(app: FastifyInstance, { core }: AdminContext): void {
  app.get<{ Querystring: Static<typeof Query> & { limit: number } }>(
    "/audit",
    operation("audit.list", "Lists the audit log, the last written first", {
      querystring: Query,
      response: { 200: Type.Object({ records: Type.Array(RecordAnswer), next: nullable(Type.Integer()) }) },
    }),
    async (request) => {
      const { since, limit, ...filter } = request.query;
      await core.journal.flush();
      const records = await core.database.scan("queryAudit", { ...filter, limit, ...(since === undefined ? {} : { since: Date.parse(since) }) });
      return { records: records.map((record) => ({ ...record, at: iso(record.at) })), next: records.length < limit ? null : records.at(-1)!.id };
    },
  );
}
