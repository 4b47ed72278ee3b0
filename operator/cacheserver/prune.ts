import { CHILDREN } from "../children.ts";
import type { Context } from "../context.ts";
import { INSTANCE, isOwnedBy, MANAGED_BY } from "../labels.ts";
import { MANAGER, refOf, type KubeObject, type ObjectType } from "../object.ts";
import { nameOf } from "./child.ts";

/**
 * Kinds of which a server may have objects it no longer wants. Claims are never pruned, because entries would be lost; Secrets
 * never, because they aren't listed.
 */
const PRUNED: readonly ObjectType[] = CHILDREN.filter(({ kind }) => kind !== "PersistentVolumeClaim");

/** Deletes what is labelled ours and owned by this server but not wanted any more. Returns their names. @throws KubeError */
export async function prune(context: Context, owner: KubeObject, wanted: readonly KubeObject[]): Promise<string[]> {
  const names = new Set(wanted.map(nameOf));
  const pruned: string[] = [];
  for (const type of PRUNED) {
    for (const object of await objectsOf(context, owner, type)) {
      if (object.metadata.deletionTimestamp !== undefined || !isOwnedBy(object, owner) || names.has(nameOf(object))) continue;
      await context.kube.delete(refOf(object), { uid: object.metadata.uid! });
      pruned.push(nameOf(object));
    }
  }
  return pruned;
}

async function objectsOf({ kube, children }: Context, owner: KubeObject, type: ObjectType): Promise<KubeObject[]> {
  const { namespace, name } = owner.metadata;
  const seen = children.of(type);
  if (seen === undefined) {
    if (!(await kube.has(type.apiVersion, type.kind))) return [];
    return kube.list(type, { namespace: namespace!, labels: `${MANAGED_BY}=${MANAGER},${INSTANCE}=${name}` });
  }
  return [...seen.list()].filter(({ metadata }) => metadata.namespace === namespace && metadata.labels?.[INSTANCE] === name && metadata.labels[MANAGED_BY] === MANAGER);
}
