import { errors } from "../core/errors.ts";
import { assertNamedScope, isCacheName, isScope, type Scope } from "../core/scope.ts";
import type { DeployRight, KeyRecord } from "../database/operations/keys.ts";

/** What an administrator says of a new key. */
export interface KeyOptions {
  /** For people: what the key is for. */
  readonly name: string;
  readonly permission: KeyRecord["permission"];
  /** The first is the default, `*` stands for all. Default: `default`, for an admin key all. */
  readonly caches?: readonly string[] | undefined;
  /** The scope it writes. Default: the cache's default scope. */
  readonly scope?: Scope | null | undefined;
  /** Exactly the scopes it reads, in this order. Default: the one it writes. */
  readonly reads?: readonly Scope[] | null | undefined;
  /** Whether what it writes is trusted when room has to be made. Default: yes for keys that write. */
  readonly trusted?: boolean | undefined;
  /** A read key that may stand in a workflow for everyone to see: it reads the default scope only. */
  readonly public?: boolean | undefined;
  /** Milliseconds since the epoch; null: no end. */
  readonly expires?: number | null | undefined;
  /** What it may do in a workspace of Cachix Deploy, beside the rest. */
  readonly deploy?: DeployRight | undefined;
}

export type KeyRights = Omit<KeyRecord, "id" | "hash" | "created" | "used" | "revoked">;

const MAX_LIST = 100;
const NAME = /^[^\u0000-\u001f\u007f]{1,200}$/;

/** Checks the options and fills in the defaults. @throws badRequest */
export function keyRights(options: KeyOptions, now: number): KeyRights {
  const { name, permission, scope = null, reads = null, expires = null } = options;
  const isPublic = options.public ?? false;
  const caches = options.caches ?? [permission === "admin" ? "*" : "default"];
  if (!NAME.test(name)) throw errors.badRequest("a key's name has 1 to 200 printable characters");
  if (!["read", "write", "admin"].includes(permission)) throw errors.badRequest("a key's permission is read, write or admin");
  if (caches.length === 0 || caches.length > MAX_LIST) throw errors.badRequest(`a key is good for 1 to ${MAX_LIST} caches`);
  for (const cache of caches) if (cache !== "*" && !isCacheName(cache)) throw errors.badRequest(`"${cache}" is not a cache's name`);
  if (scope !== null) assertNamedScope(scope);
  if (reads !== null && reads.length > MAX_LIST) throw errors.badRequest(`a key reads at most ${MAX_LIST} scopes`);
  for (const read of reads ?? []) if (!isScope(read)) throw errors.badRequest(`"${read}" is not a scope`);
  if (isPublic && (permission !== "read" || scope !== null || reads !== null)) {
    throw errors.badRequest("a public key reads the default scope only: it has the permission read and neither scope nor reads");
  }
  if (expires !== null && !(Number.isSafeInteger(expires) && expires > now)) throw errors.badRequest("a key's expiry lies in the future");
  if (options.deploy) assertDeployRight(options.deploy, options);
  const trusted = permission !== "read" && (options.trusted ?? true);
  return { name, permission, caches: [...caches], scope, reads: reads && [...reads], trusted, public: isPublic, expires, ...(options.deploy && { deploy: options.deploy }) };
}

/** Agents are called like this. */
export const AGENT_NAME = /^[0-9A-Za-z][0-9A-Za-z._-]{0,99}$/;

/** @throws badRequest */
function assertDeployRight({ workspace, may, agent }: DeployRight, options: KeyOptions): void {
  if (!isCacheName(workspace)) throw errors.badRequest(`"${workspace}" is not a workspace's name`);
  if (may !== "agent" && may !== "activate") throw errors.badRequest("in a workspace a key may be an agent or activate");
  if (agent !== undefined && (may !== "agent" || !AGENT_NAME.test(agent))) throw errors.badRequest(`"${agent}" is not the name of an agent that a key could be`);
  // An agent's key lies on every machine, and a public one in every workflow.
  if (options.permission === "admin" || (may === "agent" && options.permission !== "read") || options.public) {
    throw errors.badRequest("an agent's key only reads; a key that activates reads or writes; neither is public");
  }
}
