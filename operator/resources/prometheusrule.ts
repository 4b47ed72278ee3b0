import type { CacheServer } from "../cacheserver/schema.ts";
import type { KubeObject } from "../object.ts";
import type { Inputs } from "./inputs.ts";
import { metadata } from "./metadata.ts";
import { alerts } from "./monitoring/alerts.ts";
import { METRICS_SUFFIX } from "./service.ts";

/** Alerts about this server's series: those scraped through its metrics Service. */
export function prometheusRule(server: CacheServer, inputs: Inputs): KubeObject | undefined {
  const { enabled, labels } = server.spec.monitoring.prometheusRule;
  if (!enabled) return undefined;
  const { name, namespace } = server.metadata;
  return {
    apiVersion: "monitoring.coreos.com/v1",
    kind: "PrometheusRule",
    metadata: metadata(server, inputs, { labels }),
    spec: { groups: alerts(`namespace="${namespace}",service="${name}${METRICS_SUFFIX}"`) },
  };
}
