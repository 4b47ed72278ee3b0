import type { CacheServer } from "../cacheserver/schema.ts";
import type { KubeObject } from "../object.ts";
import type { Inputs } from "./inputs.ts";
import { metadata, selectorLabels } from "./metadata.ts";

/** Keeps drains from taking too many pods at once. For a single pod it could only forbid them altogether, so there is none. */
export function podDisruptionBudget(server: CacheServer, inputs: Inputs): KubeObject | undefined {
  const { replicas, autoscaling, podDisruptionBudget: wanted } = server.spec;
  if (!wanted.enabled || Math.max(replicas, autoscaling?.minReplicas ?? 0) < 2) return undefined;
  return {
    apiVersion: "policy/v1",
    kind: "PodDisruptionBudget",
    metadata: metadata(server, inputs),
    // A pod that isn't ready serves nobody, so it may always go.
    spec: { maxUnavailable: wanted.maxUnavailable, unhealthyPodEvictionPolicy: "AlwaysAllow", selector: { matchLabels: selectorLabels(server) } },
  };
}
