import type { Context } from "../context.ts";
import { refOf, type KubeObject } from "../object.ts";
import type { ServerApi } from "../server-api.ts";
import { parseDuration, type Allowed } from "./access.ts";
import { expiryOf, grantOf, type Why } from "./plan.ts";
import type { CacheKey } from "./schema.ts";
import { secretFor } from "./secret.ts";
import { fingerprint, type KeyState } from "./state.ts";

/** A key may have been made by a clock behind ours. */
const CLOCKS_MS = 60 * 60_000;
const MAX_NAME = 200;
export const FINALIZER = "stowhouse.dev/revoke-key";

/** What the names of all keys of a CacheKey begin with on the server, and nobody else's. */
export function prefixOf({ metadata }: CacheKey): string {
  return `cachekey:${metadata.uid}:`;
}

/**
 * Ends the keys of a CacheKey that nothing knows of: made by an operator that ended before it had written the Secret.
 * @param known ids of those that stay
 */
export async function revokeStrays(key: CacheKey, api: ServerApi, known: readonly string[]): Promise<number> {
  const since = Date.parse(key.metadata.creationTimestamp ?? "") - CLOCKS_MS;
  const strays = (await api.findKeys(prefixOf(key), Number.isNaN(since) ? 0 : since)).filter(({ id }) => !known.includes(id));
  for (const { id } of strays) await api.revokeKey(id);
  return strays.length;
}

/**
 * Makes a new key and writes it into the Secret. A key that was rotated works on for the overlap; one with other rights, or
 * one that was lost, is marked to end at once.
 * @returns the Secret as it is now
 */
export async function issue(context: Context, key: CacheKey, api: ServerApi, how: { why: Why; allowed: Allowed; endpoint: string; state: KeyState | undefined }): Promise<KubeObject> {
  const { why, allowed, endpoint, state } = how;
  await keepFinalizer(context, key);
  await revokeStrays(key, api, state === undefined ? [] : [state.id, ...state.previous.map(({ id }) => id)]);

  const issued = context.now();
  const expires = expiryOf(key, allowed, issued);
  const { metadata, spec } = key;
  const made = await api.createKey({
    name: `${prefixOf(key)}${metadata.generation} ${metadata.namespace}/${metadata.name}`.slice(0, MAX_NAME),
    permission: spec.permission,
    caches: spec.caches,
    ...(spec.scope === undefined ? {} : { scope: spec.scope }),
    ...(spec.readScopes === undefined ? {} : { reads: spec.readScopes }),
    ...(expires === undefined ? {} : { expires: new Date(expires).toISOString() }),
  });
  const next: KeyState = {
    id: made.info.id,
    grant: grantOf(key, allowed),
    token: fingerprint(made.key),
    issued,
    ...(expires === undefined ? {} : { expires }),
    previous: replaced(state, why === "rotation" && spec.rotation !== undefined ? issued + parseDuration(spec.rotation.overlap) : issued),
  };
  try {
    return await context.kube.apply(secretFor(key, endpoint, made.key, next));
  } catch (error) {
    // Nobody has seen it. If this fails too, it is found as a stray before the next one is made.
    await api.revokeKey(made.info.id).catch(() => undefined);
    throw error;
  }
}

const MAX_PREVIOUS = 20;

/** Those that are to end already, and the one that now does. Of very many the oldest end at once. */
function replaced(state: KeyState | undefined, ends: number): KeyState["previous"] {
  if (state === undefined) return [];
  const own = { id: state.id, ends: Math.min(ends, state.expires ?? Infinity) };
  const all = [...state.previous, own];
  return all.map((one, index) => (index < all.length - MAX_PREVIOUS ? { ...one, ends: 0 } : one));
}

async function keepFinalizer({ kube }: Context, key: CacheKey): Promise<void> {
  const finalizers = key.metadata.finalizers ?? [];
  if (finalizers.includes(FINALIZER)) return;
  await kube.patch(refOf(key), { metadata: { finalizers: [...finalizers, FINALIZER], resourceVersion: key.metadata.resourceVersion } });
}

export async function dropFinalizer({ kube }: Context, key: CacheKey): Promise<void> {
  const finalizers = (key.metadata.finalizers ?? []).filter((one) => one !== FINALIZER);
  await kube.patch(refOf(key), { metadata: { finalizers, resourceVersion: key.metadata.resourceVersion } });
}
