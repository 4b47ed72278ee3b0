import type { Context } from "../context.ts";
import { isConflict } from "../kube-error.ts";
import { isOwnedBy, labelsOf, MANAGED_BY, ownedBy, ROTATE_KEYS } from "../labels.ts";
import { GROUP, MANAGER, refOf, type KubeObject } from "../object.ts";
import { encode, linesOf, secretRef } from "../secret.ts";
import { keysSecretName } from "../resources/inputs.ts";
import { newKey, newSecret } from "./key-text.ts";
import type { Problem } from "./problem.ts";
import type { CacheServer } from "./schema.ts";

/** The last value of the rotation's annotation that was acted on: written with the keys, so that each is acted on once. */
const ROTATED = `${GROUP}/rotated`;
/** When the keys before a rotation end. */
const OVERLAP_ENDS = `${GROUP}/overlap-ends`;
const OVERLAP_MS = 24 * 60 * 60_000;

type Random = Context["random"];
const MAKERS: Readonly<Record<string, (random: Random) => string>> = {
  "admin-key": (random) => newKey("admin", random),
  "write-key": (random) => newKey("write", random),
  "read-key": (random) => newKey("read", random),
  "signing-secret": newSecret,
};

export interface Keys {
  readonly secret: KubeObject | undefined;
  readonly change?: "CreatedKeys" | "RotatedKeys";
  readonly problem?: Problem;
  /** When a rotation's overlap ends, ms since the epoch. */
  readonly again?: number;
}

/**
 * The Secret with a server's own keys: made when there is none, completed when it lacks a field, rotated when the annotation
 * asks for it; what is there is never replaced otherwise. A Secret that the spec names is read only.
 * @param readOnly nothing is made or changed
 */
export async function keepKeys(context: Context, server: CacheServer, readOnly: boolean): Promise<Keys> {
  const { kube } = context;
  const ref = secretRef(server.metadata.namespace!, keysSecretName(server));
  const secret = await kube.get(ref);
  if (readOnly || server.spec.auth.keysSecret !== undefined) return { secret };
  if (secret === undefined) return createKeys(context, server);
  const missing = Object.keys(MAKERS).filter((field) => linesOf(secret, field).length === 0);
  if (!isOurs(secret, server)) {
    if (missing.length === 0) return { secret };
    return { secret: undefined, problem: { reason: "NameTaken", message: `Secret/${ref.name} exists, isn't ours and lacks ${missing.join(", ")}. Complete it, or name it in auth.keysSecret.` } };
  }

  const change = changeOf(context, server, secret, missing);
  if (change === undefined) return { secret, ...overlapOf(secret) };
  try {
    // Whoever was faster has made keys too, and pods may have read them.
    const written = await kube.patch(ref, { ...change.patch, metadata: { ...change.patch.metadata, resourceVersion: secret.metadata.resourceVersion } });
    return { secret: written, ...(change.rotated ? { change: "RotatedKeys" as const } : {}), ...overlapOf(written) };
  } catch (error) {
    if (!isConflict(error)) throw error;
    return { secret: await kube.get(ref), again: context.now() };
  }
}

async function createKeys(context: Context, server: CacheServer): Promise<Keys> {
  const { namespace, name } = { namespace: server.metadata.namespace!, name: keysSecretName(server) };
  const rotated = server.metadata.annotations?.[ROTATE_KEYS];
  const object: KubeObject = {
    apiVersion: "v1",
    kind: "Secret",
    metadata: {
      name, namespace, labels: labelsOf(server), ownerReferences: [ownedBy(server)],
      ...(rotated === undefined ? {} : { annotations: { [ROTATED]: rotated } }),
    },
    type: "Opaque",
    data: encode(Object.fromEntries(Object.entries(MAKERS).map(([field, make]) => [field, make(context.random)]))),
  };
  try {
    return { secret: await context.kube.create(object), change: "CreatedKeys" };
  } catch (error) {
    if (!isConflict(error)) throw error;
    return { secret: await context.kube.get(refOf(object)), again: context.now() };
  }
}

interface Change {
  readonly patch: { metadata: Record<string, unknown>; data: Record<string, string> };
  readonly rotated: boolean;
}

function changeOf({ now, random }: Context, server: CacheServer, secret: KubeObject, missing: readonly string[]): Change | undefined {
  const fields: Record<string, string> = {};
  const annotations: Record<string, string | null> = {};
  const wanted = server.metadata.annotations?.[ROTATE_KEYS];
  const rotated = wanted !== undefined && wanted !== secret.metadata.annotations?.[ROTATED];
  const ended = (overlapOf(secret).again ?? Infinity) <= now();
  for (const [field, make] of Object.entries(MAKERS)) {
    const [latest] = linesOf(secret, field);
    if (missing.includes(field)) fields[field] = make(random);
    // The server takes each line for a key, so both work until the overlap ends.
    else if (rotated) fields[field] = `${make(random)}\n${latest}`;
    else if (ended) fields[field] = latest!;
  }
  if (rotated) Object.assign(annotations, { [ROTATED]: wanted, [OVERLAP_ENDS]: new Date(now() + OVERLAP_MS).toISOString() });
  else if (ended) annotations[OVERLAP_ENDS] = null;
  // A backup that was restored lacks its owner, or has one that is gone.
  const metadata = { annotations, ...(isOwnedBy(secret, server) ? {} : { ownerReferences: [ownedBy(server)] }) };
  if (Object.keys(fields).length === 0 && metadata.ownerReferences === undefined) return undefined;
  return { patch: { metadata, data: encode(fields) }, rotated };
}

function isOurs(secret: KubeObject, server: CacheServer): boolean {
  if (isOwnedBy(secret, server)) return true;
  const { labels = {}, ownerReferences = [] } = secret.metadata;
  const others = ownerReferences.filter(({ kind, name }) => kind !== server.kind || name !== server.metadata.name);
  return labels[MANAGED_BY] === MANAGER && others.length === 0;
}

function overlapOf(secret: KubeObject): { again?: number } {
  const ends = Date.parse(secret.metadata.annotations?.[OVERLAP_ENDS] ?? "");
  return Number.isNaN(ends) ? {} : { again: ends };
}
