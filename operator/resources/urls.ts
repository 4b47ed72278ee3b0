import type { CacheServer } from "../cacheserver/schema.ts";
import type { Inputs } from "./inputs.ts";

/** Names under which the cluster's DNS knows a server's Service, the longest first. */
export function serviceNames(server: CacheServer, { clusterDomain }: Pick<Inputs, "clusterDomain">): string[] {
  const { name, namespace } = server.metadata;
  return [`${name}.${namespace}.svc.${clusterDomain}`, `${name}.${namespace}.svc`, `${name}.${namespace}`, name];
}

/** Where clients in the cluster reach a server. */
export function serviceUrl(server: CacheServer, inputs: Pick<Inputs, "clusterDomain">): string {
  const { tls, service } = server.spec;
  return `${tls === undefined ? "http" : "https"}://${serviceNames(server, inputs)[0]}:${service.port}`;
}

/** Where clients outside reach it, as far as the resource says: its url, or the first host it is published under. */
export function publicUrl(server: CacheServer): string | undefined {
  const { url, ingress, httpRoute } = server.spec;
  if (url !== undefined) return url;
  const host = ingress?.hosts.find(isExact);
  if (host !== undefined) return `${ingress!.tlsSecretName === undefined ? "http" : "https"}://${host}`;
  const hostname = httpRoute?.hostnames.find(isExact);
  return hostname === undefined ? undefined : `https://${hostname}`;
}

/** The URL to tell people. */
export function endpoint(server: CacheServer, inputs: Pick<Inputs, "clusterDomain">): string {
  return publicUrl(server) ?? serviceUrl(server, inputs);
}

function isExact(host: string): boolean {
  return !host.startsWith("*");
}
