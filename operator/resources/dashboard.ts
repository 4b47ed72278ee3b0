import type { CacheServer } from "../cacheserver/schema.ts";
import type { KubeObject } from "../object.ts";
import type { Inputs } from "./inputs.ts";
import { metadata } from "./metadata.ts";
import { dashboard } from "./monitoring/dashboard.ts";

/** The dashboard, as Grafana's sidecar looks for it. */
export function dashboardConfigMap(server: CacheServer, inputs: Inputs): KubeObject | undefined {
  const { enabled, labels } = server.spec.monitoring.dashboard;
  if (!enabled) return undefined;
  return {
    apiVersion: "v1",
    kind: "ConfigMap",
    metadata: metadata(server, inputs, { suffix: "-dashboard", labels: { grafana_dashboard: "1", ...labels } }),
    data: { "stowhouse.json": JSON.stringify(dashboard) },
  };
}
