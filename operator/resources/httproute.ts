import type { CacheServer } from "../cacheserver/schema.ts";
import type { KubeObject } from "../object.ts";
import type { Inputs } from "./inputs.ts";
import { metadata } from "./metadata.ts";

/** Clients from outside, through a Gateway. */
export function httpRoute(server: CacheServer, inputs: Inputs): KubeObject | undefined {
  const { httpRoute: wanted, service } = server.spec;
  if (wanted === undefined) return undefined;
  const { parentRefs, hostnames, labels, annotations } = wanted;
  return {
    apiVersion: "gateway.networking.k8s.io/v1",
    kind: "HTTPRoute",
    metadata: metadata(server, inputs, { labels, annotations }),
    spec: {
      parentRefs,
      ...(hostnames.length === 0 ? {} : { hostnames }),
      rules: [{ matches: [{ path: { type: "PathPrefix", value: "/" } }], backendRefs: [{ name: server.metadata.name, port: service.port }] }],
    },
  };
}
