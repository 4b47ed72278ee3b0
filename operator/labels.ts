import { GROUP, MANAGER, type KubeObject, type OwnerReference } from "./object.ts";

/** Names that others may rely on: annotations users set, and labels we set. */

/** On our resources: `disabled` leaves everything of the resource as it is. */
export const RECONCILE = `${GROUP}/reconcile`;
/** On a CacheServer: each new value makes new keys in its Secret. */
export const ROTATE_KEYS = `${GROUP}/rotate-keys`;

export function isPaused({ metadata }: KubeObject): boolean {
  return metadata.annotations?.[RECONCILE] === "disabled";
}

export const MANAGED_BY = "app.kubernetes.io/managed-by";
export const INSTANCE = "app.kubernetes.io/instance";

/** Labels of what belongs to a resource, as far as it is found by them. */
export function labelsOf(owner: KubeObject): Record<string, string> {
  return { "app.kubernetes.io/name": "stowhouse", [INSTANCE]: owner.metadata.name, [MANAGED_BY]: MANAGER };
}

export function ownedBy(owner: KubeObject): OwnerReference {
  const { apiVersion, kind, metadata } = owner;
  return { apiVersion, kind, name: metadata.name, uid: metadata.uid!, controller: true, blockOwnerDeletion: true };
}

export function isOwnedBy({ metadata }: KubeObject, owner: KubeObject): boolean {
  return (metadata.ownerReferences ?? []).some(({ uid }) => uid === owner.metadata.uid);
}
