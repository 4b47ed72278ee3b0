import type { CacheServer } from "../cacheserver/schema.ts";
import type { KubeObject } from "../object.ts";
import type { Inputs } from "./inputs.ts";
import { metadata } from "./metadata.ts";
import { HTTP } from "./ports.ts";

/** Clients from outside, by host. Only HTTP passes an Ingress. */
export function ingress(server: CacheServer, inputs: Inputs): KubeObject | undefined {
  const { ingress: wanted } = server.spec;
  if (wanted === undefined) return undefined;
  const { className, hosts, tlsSecretName, labels, annotations } = wanted;
  const backend = { service: { name: server.metadata.name, port: { name: HTTP.name } } };
  return {
    apiVersion: "networking.k8s.io/v1",
    kind: "Ingress",
    metadata: metadata(server, inputs, { labels, annotations }),
    spec: {
      ...(className === undefined ? {} : { ingressClassName: className }),
      rules: hosts.map((host) => ({ host, http: { paths: [{ path: "/", pathType: "Prefix", backend }] } })),
      ...(tlsSecretName === undefined ? {} : { tls: [{ hosts, secretName: tlsSecretName }] }),
    },
  };
}
