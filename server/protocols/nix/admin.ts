import type { FastifyRequest, FastifySchema, RouteShorthandOptions } from "fastify";
import { errors } from "../../core/errors.ts";
import type { AuditRecord } from "../../database/operations/audit.ts";
import { compileSchema } from "../../http/compile-schema.ts";
import { refuse } from "../../http/errors.ts";
import { serverRefusals } from "../../http/server.ts";
import type { ProtocolContext } from "../protocol.ts";

/**
 * The options of a route below /v1/admin/nix: for administrators of the whole server, with the admin API's own refusals and a
 * place in its document, whatever Nix's clients get.
 */
export function administered({ auth, log }: Pick<ProtocolContext, "auth" | "log">, name: string, schema: FastifySchema & { summary: string }): RouteShorthandOptions {
  return {
    config: { op: `admin.nix.${name}`, kind: "other" },
    schema: { ...schema, operationId: `admin.nix.${name}` } as FastifySchema,
    validatorCompiler: compileSchema as never,
    errorHandler: (error, request, reply) => refuse(request, reply, error, serverRefusals, log),
    onRequest: (request, _reply, done) => {
      try {
        if (request.stow.cacheName !== undefined) throw errors.noRoute();
        if (!auth.admin(request).caches.includes("*")) throw errors.forbiddenAdmin();
        done();
      } catch (error) {
        done(error as Error);
      }
    },
  };
}

/** What an administrator did, for the audit log. */
export function administration(request: FastifyRequest, action: string, of: Partial<Pick<AuditRecord, "cache" | "keyspace" | "scope" | "key" | "result">> = {}): AuditRecord {
  const { actor, address } = request.stow;
  return { at: Date.now(), actor, action, cache: "", keyspace: "", scope: "", key: "", size: 0, result: "ok", address, ...of };
}
