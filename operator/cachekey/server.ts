import { apiOf } from "../cacheserver/api.ts";
import type { CacheServer } from "../cacheserver/schema.ts";
import type { Context } from "../context.ts";
import { KubeError } from "../kube-error.ts";
import { GROUP, VERSION, type Key } from "../object.ts";
import { keysSecretName, tlsSecretName } from "../resources/inputs.ts";
import { secretRef } from "../secret.ts";
import type { ServerApi } from "../server-api.ts";
import { NAMESPACE_LABEL } from "./access.ts";
import type { CacheKey } from "./schema.ts";

/** Which CacheServer a CacheKey is for. */
export function serverOf({ metadata, spec }: CacheKey): Key {
  return { namespace: spec.serverRef.namespace ?? metadata.namespace!, name: spec.serverRef.name };
}

/** Undefined for a server that isn't there, is on its way out, or lives where the operator doesn't look. */
export async function findServer({ servers, kube }: Context, { namespace, name }: Key): Promise<CacheServer | undefined> {
  const server = servers.get(namespace, name) ?? (await readable(kube.get({ apiVersion: `${GROUP}/${VERSION}`, kind: "CacheServer", namespace, name })));
  return server?.metadata.deletionTimestamp === undefined ? (server as CacheServer | undefined) : undefined;
}

/** The admin API of a CacheKey's server. Its keys are read for each look: they rotate. */
export async function openApi(context: Context, server: CacheServer): Promise<ServerApi> {
  const { kube } = context;
  const namespace = server.metadata.namespace!;
  const tls = tlsSecretName(server);
  const keys = await kube.get(secretRef(namespace, keysSecretName(server)));
  return apiOf(context, server, keys, tls === undefined ? undefined : await kube.get(secretRef(namespace, tls)));
}

/** Labels of a namespace. An operator of some namespaces only may not read them: then it goes by the name, which is a label too. */
export async function labelsOf({ kube }: Context, namespace: string): Promise<Record<string, string>> {
  const object = await readable(kube.get({ apiVersion: "v1", kind: "Namespace", name: namespace }));
  return { ...object?.metadata.labels, [NAMESPACE_LABEL]: namespace };
}

async function readable<T>(read: Promise<T>): Promise<T | undefined> {
  try {
    return await read;
  } catch (error) {
    if (error instanceof KubeError && error.status === 403) return undefined;
    throw error;
  }
}
