import type { CacheServer } from "../cacheserver/schema.ts";
import type { KubeObject } from "../object.ts";
import type { Inputs } from "./inputs.ts";
import { metadata, selectorLabels } from "./metadata.ts";
import { METRICS } from "./ports.ts";

export function serviceMonitor(server: CacheServer, inputs: Inputs): KubeObject | undefined {
  const { enabled, labels, interval } = server.spec.monitoring.serviceMonitor;
  if (!enabled) return undefined;
  return {
    apiVersion: "monitoring.coreos.com/v1",
    kind: "ServiceMonitor",
    metadata: metadata(server, inputs, { labels }),
    // Both Services have these labels, but one of them only has a port of this name.
    spec: { selector: { matchLabels: selectorLabels(server) }, endpoints: [{ port: METRICS.name, path: "/metrics", scheme: "http", interval }] },
  };
}
