import type { FastifyRequest } from "fastify";
import type { Core } from "../core/core.ts";
import { errors } from "../core/errors.ts";
import type { AuditRecord } from "../database/operations/audit.ts";
import type { Auth } from "../http/auth.ts";
import type { Identity } from "../identity/identity.ts";
import type { Credential } from "../identity/credential.ts";
import type { ManagedCaches } from "./caches.ts";

/** What the admin API works with. */
export interface AdminContext {
  readonly core: Core;
  readonly auth: Auth;
  readonly identity: Identity;
  readonly caches: ManagedCaches;
  /** Of this server. */
  readonly version: string;
}

/**
 * The administrator behind a request. Administration is of the whole server, so a key that is good for some caches only
 * has no part in it, and it has one address: `/c/{cache}` before it leads nowhere.
 * @throws noRoute, unauthorized, forbiddenAdmin
 */
export function administrator(auth: Auth, request: FastifyRequest): Credential {
  if (request.stow.cacheName !== undefined) throw errors.noRoute();
  const credential = auth.admin(request);
  if (!credential.caches.includes("*")) throw errors.forbiddenAdmin();
  return credential;
}

/** An audit record of what this request changes. */
export function recordOf(request: FastifyRequest, action: string, of: Partial<Pick<AuditRecord, "cache" | "keyspace" | "scope" | "key">> = {}): AuditRecord {
  const { actor, address } = request.stow;
  return { at: Date.now(), actor, action, cache: "", keyspace: "", scope: "", key: "", size: 0, result: "ok", address, ...of };
}
