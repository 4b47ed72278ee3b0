import type { CacheServer } from "../cacheserver/schema.ts";
import type { KubeObject } from "../object.ts";
import type { Inputs } from "./inputs.ts";
import { metadata } from "./metadata.ts";

/** The claim a server's data is on; undefined for one whose data is elsewhere: bodies in S3, index in PostgreSQL. */
export function claimName(server: CacheServer): string | undefined {
  const { storage, database } = server.spec;
  if (storage.type === "S3" && database.type === "PostgreSQL") return undefined;
  return storage.persistentVolume.existingClaim ?? server.metadata.name;
}

/**
 * The claim that is made, unless the resource has one of its user's. It is deleted with the resource if it is owned by it,
 * and only then: so no finalizer can get stuck.
 */
export function volumeClaim(server: CacheServer, inputs: Inputs): KubeObject | undefined {
  const { persistentVolume, deletionPolicy } = server.spec.storage;
  const { size, storageClassName, accessMode, existingClaim, labels, annotations } = persistentVolume;
  if (claimName(server) === undefined || existingClaim !== undefined) return undefined;
  return {
    apiVersion: "v1",
    kind: "PersistentVolumeClaim",
    metadata: metadata(server, inputs, { labels, annotations, owned: deletionPolicy === "Delete" }),
    spec: {
      accessModes: [accessMode],
      ...(storageClassName === undefined ? {} : { storageClassName }),
      resources: { requests: { storage: size } },
    },
  };
}

/** Whether several pods may run at once: then they are replaced one by one, else the old one stops before the new one starts. */
export function isShared({ spec }: CacheServer): boolean {
  return spec.database.type === "PostgreSQL" && (spec.storage.type === "S3" || spec.storage.persistentVolume.accessMode === "ReadWriteMany");
}
