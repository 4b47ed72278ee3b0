import { create, get, reaches, type Thing } from "./cluster.ts";
import { until } from "./rig/processes.ts";

/** A CacheServer of the rig: small, and on any disk. */
export function cacheServer(namespace: string, name: string, spec: object = {}): Thing {
  return {
    apiVersion: "stowhouse.dev/v1alpha1", kind: "CacheServer", metadata: { namespace, name },
    spec: { resources: { requests: { cpu: "10m", memory: "64Mi" } }, storage: { persistentVolume: { size: "5Gi" } }, ...spec },
  };
}

export function cacheKey(namespace: string, name: string, server: string, spec: object = {}): Thing {
  return { apiVersion: "stowhouse.dev/v1alpha1", kind: "CacheKey", metadata: { namespace, name }, spec: { serverRef: { name: server }, ...spec } };
}

/** Makes it and waits until it serves. Returns it, and how long that took, s. */
export async function serve(server: Thing, seconds = 180): Promise<{ server: Thing; seconds: number }> {
  const began = performance.now();
  await create(server);
  const ready = await reaches("CacheServer", server.metadata.namespace!, server.metadata.name, "Ready", "True", seconds);
  return { server: ready, seconds: (performance.now() - began) / 1000 };
}

/** Where clients in the cluster find it, with one of its keys. */
export async function target(server: Thing, key: "admin-key" | "write-key" | "read-key" = "write-key"): Promise<{ url: string; key: string }> {
  const { namespace, name } = server.metadata;
  const found = await until(`${name} has its endpoint and its keys`, 60, async () => {
    const [now, keys] = await Promise.all([get("CacheServer", namespace, name), get("Secret", namespace, `${name}-keys`)]);
    const [url, text] = [now?.["status"]?.endpoint as string | undefined, keys?.["data"]?.[key] as string | undefined];
    return url !== undefined && text !== undefined ? { url, key: Buffer.from(text, "base64").toString("utf8").trim() } : undefined;
  });
  // kube-proxy learns of a Service a moment after its pods are ready.
  await until(`${found.url} answers`, 30, () => fetch(`${found.url}/livez`, { signal: AbortSignal.timeout(2000) }).then((answer) => answer.ok));
  return found;
}

/** A Secret of the user's. */
export function secret(namespace: string, name: string, fields: Record<string, string>): Thing {
  return { apiVersion: "v1", kind: "Secret", metadata: { namespace, name }, data: Object.fromEntries(Object.entries(fields).map(([field, value]) => [field, Buffer.from(value).toString("base64")])) };
}
