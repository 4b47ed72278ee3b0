import type {} from "@fastify/swagger";
import type { FastifyInstance } from "fastify";
import Type from "typebox";
import type { Caches } from "../core/caches.ts";
import type { Journal } from "../core/journal.ts";
import type { Identity, Session } from "../identity/identity.ts";
import type { Auth } from "./auth.ts";
import type { RequestContext } from "./context.ts";

const Lifetime = Type.Optional(Type.Integer({ minimum: 1, maximum: 21_600, description: "Seconds the token shall be good for; the server's own limit may give less." }));
const Token = Type.String({ minLength: 1, maxLength: 16_384 });
const SessionAnswer = Type.Object({
  token: Type.String({ description: "The session token." }),
  expires_at: Type.String({ description: "When it ends, ISO 8601." }),
  cache: Type.String(),
  read: Type.Array(Type.String()),
  write: Type.Unsafe<string | null>({ type: "string", nullable: true }),
});

/** `/v1/auth/*`: turns credentials into session tokens, and says what a credential may do. */
export function registerAuthRoutes(app: FastifyInstance, parts: { identity: Identity; auth: Auth; caches: Caches; journal: Journal }): void {
  const { identity, auth, caches, journal } = parts;
  const answer = (session: Session) => ({
    token: session.token,
    expires_at: new Date(session.expires).toISOString(),
    cache: session.cache,
    read: session.read,
    write: session.write,
  });
  /** A refused exchange is recorded like every other refusal (audit.ts). */
  const exchanged = async (ctx: RequestContext, exchange: Promise<Session>) => {
    const session = await exchange;
    ctx.actor = `session:${session.id}`;
    journal.audit({ at: Date.now(), actor: ctx.actor, action: ctx.config.op, cache: session.cache, keyspace: "", scope: session.write ?? "", key: "", size: 0, result: "ok", address: ctx.address });
    return answer(session);
  };

  app.post<{ Body: { id_token: string; lifetime?: number } }>(
    "/v1/auth/github",
    {
      config: { op: "auth.github", auth: "none" },
      schema: {
        summary: "Exchanges a GitHub OIDC token for a session token, by the server's rules",
        body: Type.Object({ id_token: Token, lifetime: Lifetime }),
        response: { 200: SessionAnswer },
      },
    },
    (request) => exchanged(request.stow, identity.exchangeGithub(request.body.id_token, request.body.lifetime)),
  );

  app.post<{ Body: { token: string; lifetime?: number } }>(
    "/v1/auth/github-runtime",
    {
      config: { op: "auth.github-runtime", auth: "none" },
      schema: {
        summary: "Exchanges an ACTIONS_RUNTIME_TOKEN for a session token, where the server allows it",
        body: Type.Object({ token: Token, lifetime: Lifetime }),
        response: { 200: SessionAnswer },
      },
    },
    (request) => exchanged(request.stow, identity.exchangeRuntime(request.body.token, request.body.lifetime)),
  );

  app.post<{ Body: { read?: string[]; write?: boolean; lifetime?: number } | undefined }>(
    "/v1/auth/session",
    {
      config: { op: "auth.session" },
      schema: {
        summary: "Turns a credential into a shorter-lived session token with the same or fewer rights",
        body: Type.Object({
          read: Type.Optional(Type.Array(Type.String({ maxLength: 600 }), { maxItems: 64, description: "Only these of the scopes it reads." })),
          write: Type.Optional(Type.Boolean({ description: "false gives up writing." })),
          lifetime: Lifetime,
        }),
        response: { 200: SessionAnswer },
      },
    },
    (request) => {
      const cache = caches.require(auth.grant(request).cache);
      return exchanged(request.stow, identity.narrow(request.stow.credential!, cache, request.body ?? {}));
    },
  );

  app.get(
    "/v1/auth/whoami",
    {
      config: { op: "auth.whoami" },
      schema: {
        summary: "Says what the request's credential may do",
        response: {
          200: Type.Object({
            actor: Type.String(), kind: Type.String(), permission: Type.String(), caches: Type.Array(Type.String()), cache: Type.String(),
            read: Type.Array(Type.String()), write: Type.Unsafe<string | null>({ type: "string", nullable: true }), trusted: Type.Boolean(),
            expires_at: Type.Unsafe<string | null>({ type: "string", nullable: true }),
          }),
        },
      },
    },
    (request) => {
      const grant = auth.grant(request);
      const { actor, kind, permission, caches: names, expires } = request.stow.credential!;
      const expires_at = expires === null ? null : new Date(expires).toISOString();
      return Promise.resolve({ actor, kind, permission, caches: names, cache: grant.cache, read: grant.read, write: grant.write, trusted: grant.trusted, expires_at });
    },
  );
}
