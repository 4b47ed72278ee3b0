import type { CacheServer } from "../cacheserver/schema.ts";
import type { KubeObject } from "../object.ts";
import type { Inputs } from "./inputs.ts";
import { metadata, selectorLabels } from "./metadata.ts";
import { clientPorts, HTTP, METRICS } from "./ports.ts";

/** What clients connect to. */
export function service(server: CacheServer, inputs: Inputs): KubeObject {
  const { service: wanted, tls } = server.spec;
  const { type, labels, annotations, loadBalancerClass, loadBalancerSourceRanges, externalTrafficPolicy } = wanted;
  const ports = clientPorts(server).map(({ name, port }) =>
    name === HTTP.name
      ? { name, port: wanted.port, targetPort: name, protocol: "TCP", appProtocol: tls === undefined ? "http" : "https" }
      : { name, port, targetPort: name, protocol: "TCP" },
  );
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: metadata(server, inputs, { labels, annotations }),
    spec: {
      type,
      selector: selectorLabels(server),
      ports,
      ...(type === "LoadBalancer" && loadBalancerClass !== undefined ? { loadBalancerClass } : {}),
      ...(type === "LoadBalancer" && loadBalancerSourceRanges.length > 0 ? { loadBalancerSourceRanges } : {}),
      ...(type !== "ClusterIP" && externalTrafficPolicy !== undefined ? { externalTrafficPolicy } : {}),
    },
  };
}

export const METRICS_SUFFIX = "-metrics";

/**
 * What Prometheus finds the pods by. A Service of its own, without an address: metrics have no credential, and the other
 * Service may be open to the world.
 */
export function metricsService(server: CacheServer, inputs: Inputs): KubeObject {
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: metadata(server, inputs, { suffix: METRICS_SUFFIX }),
    spec: {
      type: "ClusterIP",
      clusterIP: "None",
      selector: selectorLabels(server),
      // A server that isn't ready has the most to tell.
      publishNotReadyAddresses: true,
      ports: [{ name: METRICS.name, port: METRICS.port, targetPort: METRICS.name, protocol: "TCP" }],
    },
  };
}
