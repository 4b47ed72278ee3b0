import { digest } from "../json.ts";
import { parseDuration, type Allowed } from "./access.ts";
import type { CacheKey, CacheKeySpec } from "./schema.ts";
import type { KeyState } from "./state.ts";

/** What is to be done about a CacheKey's key. */
export type Plan =
  | { readonly action: "keep" }
  | { readonly action: "issue"; readonly why: Why }
  /** It has come to its end, and the spec wants no other. */
  | { readonly action: "expire" };

/** first: there is none; lost: the Secret or the server has lost it; changed: it has other rights than wanted. */
export type Why = "first" | "lost" | "changed" | "rotation";

/** Digest of what a key may do: another one needs another key. */
export function grantOf({ spec }: CacheKey, { lifetime }: Allowed): string {
  return digest({ permission: spec.permission, caches: spec.caches, scope: spec.scope, reads: spec.readScopes, life: lifeOf(spec, lifetime) });
}

/** When a key made at this time ends; undefined: never. */
export function expiryOf({ spec }: CacheKey, { lifetime }: Allowed, issued: number): number | undefined {
  const life = lifeOf(spec, lifetime);
  return life === undefined ? undefined : issued + life;
}

/** When a new key takes the place of this one; early enough to overlap with one that expires. */
export function rotationOf({ rotation }: CacheKeySpec, { issued, expires = Infinity }: Pick<KeyState, "issued" | "expires">): number | undefined {
  if (rotation === undefined) return undefined;
  const overlapping = Math.max(issued + (expires - issued) / 2, expires - parseDuration(rotation.overlap));
  return Math.min(issued + parseDuration(rotation.every), overlapping);
}

/**
 * @param held whether the Secret holds the key of the state
 * @param alive whether the server has it; undefined: not known
 */
export function plan(key: CacheKey, state: KeyState | undefined, grant: string, held: boolean, alive: boolean | undefined, now: number): Plan {
  if (state === undefined) {
    const { keyId, expiresAt, grant: had } = key.status ?? {};
    // Deleting the Secret is no way to a longer life.
    if (had === grant && expiresAt !== undefined && Date.parse(expiresAt) <= now && key.spec.rotation === undefined) return { action: "expire" };
    return { action: "issue", why: keyId === undefined ? "first" : "lost" };
  }
  if (state.grant !== grant) return { action: "issue", why: "changed" };
  if (state.expires !== undefined && state.expires <= now) return key.spec.rotation === undefined ? { action: "expire" } : { action: "issue", why: "rotation" };
  if (!held || alive === false) return { action: "issue", why: "lost" };
  return (rotationOf(key.spec, state) ?? Infinity) <= now ? { action: "issue", why: "rotation" } : { action: "keep" };
}

function lifeOf({ expiresAfter }: CacheKeySpec, lifetime: number | undefined): number | undefined {
  const life = Math.min(expiresAfter === undefined ? Infinity : parseDuration(expiresAfter), lifetime ?? Infinity);
  return life === Infinity ? undefined : life;
}
