import type { Context } from "./context.ts";
import { canonical } from "./json.ts";
import { KubeError } from "./kube-error.ts";
import { refOf, type KubeObject } from "./object.ts";

/** The status written last, and the resourceVersion of the object it was made from. */
export interface Written {
  basis?: string | undefined;
  status?: object;
}

/** The object with its latest status: what a watcher shows may be older than what we wrote ourselves. */
export function withLatestStatus<T extends KubeObject>(object: T, written: Written): T {
  return written.status !== undefined && written.basis === object.metadata.resourceVersion ? { ...object, status: written.status } : object;
}

/**
 * Writes a resource's status if it differs from what the resource has. Returns whether it did.
 * @param object as withLatestStatus gave it
 */
export async function writeStatus({ kube }: Pick<Context, "kube">, object: KubeObject, written: Written, status: object): Promise<boolean> {
  if (canonical(object["status"] ?? {}) === canonical(status)) return false;
  const { namespace, name } = object.metadata;
  const { apiVersion, kind } = object;
  try {
    await kube.apply({ apiVersion, kind, metadata: { name, ...(namespace === undefined ? {} : { namespace }) }, status }, { subresource: "status" });
  } catch (error) {
    // Deleted meanwhile: nobody reads it any more.
    if (error instanceof KubeError && error.status === 404 && (await kube.get(refOf(object))) === undefined) return false;
    throw error;
  }
  written.basis = object.metadata.resourceVersion;
  written.status = status;
  return true;
}
