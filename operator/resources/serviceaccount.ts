import type { CacheServer } from "../cacheserver/schema.ts";
import type { KubeObject } from "../object.ts";
import type { Inputs } from "./inputs.ts";
import { metadata } from "./metadata.ts";

export function serviceAccountName(server: CacheServer): string {
  return server.spec.serviceAccount.name ?? server.metadata.name;
}

/** The pods' identity towards a cloud; none where the resource names one of its user's. */
export function serviceAccount(server: CacheServer, inputs: Inputs): KubeObject | undefined {
  const { name, annotations } = server.spec.serviceAccount;
  if (name !== undefined) return undefined;
  return { apiVersion: "v1", kind: "ServiceAccount", metadata: metadata(server, inputs, { annotations }), automountServiceAccountToken: false };
}
