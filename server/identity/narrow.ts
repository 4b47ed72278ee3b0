import { errors } from "../core/errors.ts";
import type { Scope } from "../core/scope.ts";
import type { CacheView, Credential, SessionRights } from "./credential.ts";
import { newSessionId } from "./session-id.ts";
import { MAX_LIFETIME } from "./tokens.ts";

/** How long sessions live, seconds. */
export interface Lifetimes {
  /** Unless the holder asks for another. */
  readonly default: number;
  /** Who asks for more gets this. */
  readonly max: number;
}

export const LIFETIMES: Lifetimes = { default: 60 * 60, max: MAX_LIFETIME };

/** What a holder wants less of. Asking for more is no error: the answer says what was given. */
export interface NarrowRequest {
  /** Only these of the scopes it reads. Default: all. */
  readonly read?: readonly Scope[] | undefined;
  /** False gives up writing. Default: as before. */
  readonly write?: boolean | undefined;
  /** Seconds; see Lifetimes. */
  readonly lifetime?: number | undefined;
}

/**
 * A session with rights in one cache that are a subset of the credential's there, and never those of an administrator.
 * @throws noCache when the credential has no rights in this cache, badRequest for an impossible lifetime
 */
export function narrow(credential: Credential, cache: CacheView, request: NarrowRequest, lifetimes: Lifetimes = LIFETIMES): SessionRights {
  const grant = credential.grant(cache);
  if (!grant) throw errors.noCache();
  const { read: wanted } = request;
  const read = wanted ? grant.read.filter((scope) => wanted.includes(scope)) : grant.read;
  const write = request.write === false ? null : grant.write;
  const expires = sessionEnd(lifetimes, request.lifetime, credential.expires);
  return { id: sessionIdFor(credential), cache: cache.name, read, write, trusted: grant.trusted && write !== null, public: credential.public, expires };
}

/** When a session made now ends, ms. @throws badRequest */
export function sessionEnd(lifetimes: Lifetimes, lifetime: number = lifetimes.default, parent: number | null = null): number {
  if (!(lifetime >= 1)) throw errors.badRequest("a lifetime is a number of seconds, at least 1");
  const seconds = Math.floor(Date.now() / 1000) + Math.floor(Math.min(lifetime, lifetimes.max, MAX_LIFETIME));
  return Math.min(seconds, parent === null ? Infinity : Math.floor(parent / 1000)) * 1000;
}

function sessionIdFor({ kind, actor }: Credential): string {
  const id = actor.slice(actor.indexOf(":") + 1);
  if (kind === "session") return id;
  return newSessionId({ run: null, key: kind === "key" ? id : null });
}
