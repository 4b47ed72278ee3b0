import type { Cache } from "../core/caches.ts";
import type { Grant } from "../core/grant.ts";
import type { DeployRight, KeyRecord } from "../database/operations/keys.ts";

/**
 * What a grant depends on of a cache. Grants are kept by this very object, so a cache whose settings change must be a new
 * object (core/caches.ts keeps one a cache).
 */
export type CacheView = Pick<Cache, "name" | "defaultScope" | "anonymousRead">;

/** A verified holder: an API key, a session token, or nobody in particular. Made by identity/ alone. */
export interface Credential {
  readonly kind: "key" | "session" | "anonymous";
  /** `key:<id>`, `session:<id>` or `anonymous`. */
  readonly actor: string;
  readonly permission: KeyRecord["permission"];
  /** Caches it may name; the first is the default, `*` stands for all. */
  readonly caches: readonly string[];
  /** Known to everyone on purpose: limits count each address by itself. */
  readonly public: boolean;
  /** Milliseconds since the epoch; null: no end. A URL signed on its behalf must not outlive it. */
  readonly expires: number | null;
  /** What a key may do in a workspace of Cachix Deploy; never what a session may. */
  readonly deploy?: DeployRight | undefined;
  /** Its rights in a cache, frozen; undefined when it has none there. Cheap: made once for each cache. */
  grant(cache: CacheView): Grant | undefined;
}

/** The cache of a request that names none. */
export function defaultCache(credential: Credential): string {
  const first = credential.caches[0];
  return first === undefined || first === "*" ? "default" : first;
}

/** What a session token says; see tokens.ts for its form on the wire. */
export interface SessionRights extends Pick<Grant, "cache" | "read" | "write" | "trusted"> {
  /** See session-id.ts. */
  readonly id: string;
  readonly public: boolean;
  /** Milliseconds since the epoch, whole seconds. */
  readonly expires: number;
}

type Rights = Pick<Grant, "read" | "write" | "trusted" | "admin">;

class Holder implements Credential {
  readonly kind: Credential["kind"];
  readonly actor: string;
  readonly permission: Credential["permission"];
  readonly caches: readonly string[];
  readonly public: boolean;
  readonly expires: number | null;
  readonly deploy: DeployRight | undefined;
  readonly #rights: (cache: CacheView) => Rights | undefined;
  readonly #grants = new WeakMap<CacheView, Grant | "none">();

  constructor(what: Omit<Credential, "grant">, rights: (cache: CacheView) => Rights | undefined) {
    this.kind = what.kind;
    this.actor = what.actor;
    this.permission = what.permission;
    this.caches = Object.freeze([...what.caches]);
    this.public = what.public;
    this.expires = what.expires;
    this.deploy = what.deploy && Object.freeze({ ...what.deploy });
    this.#rights = rights;
    Object.freeze(this);
  }

  grant(cache: CacheView): Grant | undefined {
    let grant = this.#grants.get(cache);
    if (grant === undefined) this.#grants.set(cache, (grant = this.#make(cache)));
    return grant === "none" ? undefined : grant;
  }

  #make(cache: CacheView): Grant | "none" {
    const rights = this.#rights(cache);
    if (!rights) return "none";
    const { read, write, trusted, admin } = rights;
    // Who writes nothing is never trusted: reading must not lift what others wrote.
    return Object.freeze({ cache: cache.name, read: Object.freeze([...read]), write, trusted: trusted && write !== null, admin, actor: this.actor });
  }
}

/** A request without a credential: reads the default scope of caches that allow it. */
export const anonymous: Credential = new Holder(
  { kind: "anonymous", actor: "anonymous", permission: "read", caches: ["*"], public: true, expires: null },
  (cache) => (cache.anonymousRead ? { read: [cache.defaultScope], write: null, trusted: false, admin: false } : undefined),
);

export function keyCredential(key: KeyRecord): Credential {
  const { permission, caches, expires } = key;
  return new Holder({ kind: "key", actor: `key:${key.id}`, permission, caches, public: key.public, expires, deploy: key.deploy }, (cache) => {
    if (!caches.includes(cache.name) && !caches.includes("*")) return undefined;
    if (key.public) return { read: [cache.defaultScope], write: null, trusted: false, admin: false };
    const own = key.scope ?? cache.defaultScope;
    return { read: key.reads ?? [own], write: permission === "read" ? null : own, trusted: key.trusted, admin: permission === "admin" };
  });
}

/** @param ofAnonymous it was made from no credential and ends with the cache's `anonymousRead` */
export function sessionCredential(session: SessionRights, ofAnonymous: boolean): Credential {
  const { id, cache: name, read, write, trusted, expires } = session;
  const permission = write === null ? "read" : "write";
  return new Holder({ kind: "session", actor: `session:${id}`, permission, caches: [name], public: session.public, expires }, (cache) => {
    if (cache.name !== name || (ofAnonymous && !cache.anonymousRead)) return undefined;
    return { read, write, trusted, admin: false };
  });
}
