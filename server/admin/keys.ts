import type { FastifyInstance } from "fastify";
import Type, { type Static } from "typebox";
import { errors } from "../core/errors.ts";
import type { KeyInfo } from "../identity/keys.ts";
import { recordOf, type AdminContext } from "./context.ts";
import { operation } from "./operation.ts";
import { iso, Limit, nullable, Scope, strict, Time } from "./schema.ts";

const Permission = Type.Unsafe<"read" | "write" | "admin">({ type: "string", enum: ["read", "write", "admin"] });
const Caches = Type.Array(Type.String({ pattern: "^(\\*|[a-z0-9][a-z0-9-]{0,62})$" }), { minItems: 1, maxItems: 100, description: "The first is the default; * stands for all." });
const KeyId = Type.Object({ id: Type.String({ minLength: 1, maxLength: 80 }) });

const Deploy = strict({
  workspace: Type.String({ pattern: "^[a-z0-9][a-z0-9-]{0,62}$" }),
  may: Type.Unsafe<"agent" | "activate">({ type: "string", enum: ["agent", "activate"], description: "Be an agent, or tell agents what to activate." }),
  agent: Type.Optional(Type.String({ minLength: 1, maxLength: 100, description: "The one agent it may be. Default: any of the workspace." })),
});

const KeyAnswer = Type.Object({
  id: Type.String(),
  name: Type.String(),
  permission: Permission,
  caches: Caches,
  scope: nullable(Scope, "What it writes; null: the cache's default scope."),
  reads: nullable(Type.Array(Scope), "What it reads; null: what it writes."),
  trusted: Type.Boolean(),
  public: Type.Boolean(),
  created: nullable(Time, "Null for a key of the configuration."),
  expires: nullable(Time),
  used: nullable(Time, "Last use, a few seconds late."),
  revoked: nullable(Time),
  deploy: Type.Optional(Deploy),
});
export type KeyView = Static<typeof KeyAnswer>;
export type NewKeyView = Static<typeof NewKey>;
const NewKey = Type.Object({ key: Type.String({ description: "The key itself. It is shown this once." }), info: KeyAnswer });

const CreateBody = strict({
  name: Type.String({ minLength: 1, maxLength: 200, description: "For people: what the key is for." }),
  permission: Permission,
  caches: Type.Optional(Caches),
  scope: Type.Optional(Scope),
  reads: Type.Optional(Type.Array(Scope, { maxItems: 100, description: "Exactly the scopes it reads, in this order. Default: the one it writes." })),
  trusted: Type.Optional(Type.Boolean({ description: "Whether what it writes is trusted when room has to be made. Default: yes." })),
  public: Type.Optional(Type.Boolean({ description: "A read key that may stand in a workflow for everyone to see." })),
  expires: Type.Optional(Time),
  deploy: Type.Optional(Deploy),
});
const RotateBody = strict({
  overlap: Type.Optional(Type.Integer({ minimum: 0, maximum: 2_592_000, description: "Seconds for which the old key works on. Default: a day." })),
});
const ListQuery = strict({ after: Type.Optional(Type.String({ maxLength: 80, description: "`next` of the previous answer." })), limit: Limit });

function answerOf(info: KeyInfo): KeyView {
  const time = (ms: number | null) => (ms === null ? null : iso(ms));
  const { id, name, permission, caches, scope, reads, trusted } = info;
  return {
    id, name, permission, caches: [...caches], scope, reads: reads && [...reads], trusted, public: info.public,
    created: info.created === 0 ? null : iso(info.created), expires: time(info.expires), used: time(info.used), revoked: time(info.revoked),
    ...(info.deploy && { deploy: info.deploy }),
  };
}

/** `/v1/admin/keys`: API keys. Those of the configuration are listed, and changed there only. */
export function registerKeys(app: FastifyInstance, { core, identity }: AdminContext): void {
  const { keys } = identity;

  app.post<{ Body: Static<typeof CreateBody> }>(
    "/keys",
    operation("keys.create", "Makes an API key", { body: CreateBody, response: { 201: NewKey } }),
    async (request, reply) => {
      const { expires, ...options } = request.body;
      if (options.permission === "admin" && options.caches !== undefined && !options.caches.includes("*")) {
        throw errors.badRequest("an admin key is good for all caches; leave caches out");
      }
      const { key, info } = await keys.create({ ...options, expires: expires === undefined ? null : Date.parse(expires) });
      core.journal.audit(recordOf(request, "admin.key.create", { key: info.id, cache: info.caches.join(",") }));
      return reply.code(201).send({ key, info: answerOf(info) });
    },
  );

  app.get<{ Querystring: Static<typeof ListQuery> & { limit: number } }>(
    "/keys",
    operation("keys.list", "Lists API keys, oldest first; the first answer holds those of the configuration too", {
      querystring: ListQuery,
      response: { 200: Type.Object({ keys: Type.Array(KeyAnswer), next: nullable(Type.String()) }) },
    }),
    async (request) => {
      const { after, limit } = request.query;
      const list = await keys.list({ after, limit });
      const stored = list.filter((key) => !key.id.startsWith("config-"));
      return { keys: list.map(answerOf), next: stored.length < limit ? null : stored.at(-1)!.id };
    },
  );

  app.get<{ Params: Static<typeof KeyId> }>(
    "/keys/:id",
    operation("keys.get", "Shows an API key", { params: KeyId, response: { 200: KeyAnswer } }),
    async (request) => {
      const record = await keys.byId(request.params.id);
      if (!record) throw errors.notFound();
      return answerOf(record);
    },
  );

  app.post<{ Params: Static<typeof KeyId>; Body: Static<typeof RotateBody> }>(
    "/keys/:id/rotate",
    operation("keys.rotate", "Makes a new key with the same rights; the old one ends after the overlap", { params: KeyId, body: RotateBody, response: { 201: NewKey } }),
    async (request, reply) => {
      const { id } = request.params;
      const { overlap } = request.body;
      const { key, info } = await keys.rotate(id, overlap === undefined ? undefined : overlap * 1000);
      core.journal.audit(recordOf(request, "admin.key.rotate", { key: `${id} -> ${info.id}`, cache: info.caches.join(",") }));
      return reply.code(201).send({ key, info: answerOf(info) });
    },
  );

  app.delete<{ Params: Static<typeof KeyId> }>(
    "/keys/:id",
    operation("keys.revoke", "Ends an API key at once, with all sessions and URLs made from it", { params: KeyId, response: { 200: KeyAnswer } }),
    async (request) => {
      const info = await keys.revoke(request.params.id);
      core.journal.audit(recordOf(request, "admin.key.revoke", { key: info.id, cache: info.caches.join(",") }));
      return answerOf(info);
    },
  );
}

const RevocationBody = strict({
  run: Type.Optional(Type.String({ pattern: "^[0-9]{1,20}$", description: "Id of a GitHub run: ends all its sessions, those to come too." })),
  session: Type.Optional(Type.String({ minLength: 1, maxLength: 200, description: "Id of a session, as the audit log has it." })),
});

/** `/v1/admin/revocations`: ends sessions before their time. */
export function registerRevocations(app: FastifyInstance, { core, identity }: AdminContext): void {
  app.post<{ Body: Static<typeof RevocationBody> }>(
    "/revocations",
    operation("revocations.create", "Ends the sessions of a run, or one session; exactly one of both is named", {
      body: RevocationBody,
      response: { 200: Type.Object({ revoked: Type.String() }) },
    }),
    async (request) => {
      const { run, session } = request.body;
      if ((run === undefined) === (session === undefined)) throw errors.badRequest("name either a run or a session");
      if (run !== undefined) await identity.revokeRun(run);
      else await identity.revokeSession(session!);
      const revoked = run === undefined ? session! : `run ${run}`;
      core.journal.audit(recordOf(request, "admin.session.revoke", { key: revoked }));
      return { revoked };
    },
  );
}
