import type { CacheServer } from "../cacheserver/schema.ts";
import type { KubeObject } from "../object.ts";
import type { Inputs } from "./inputs.ts";
import { metadata } from "./metadata.ts";

/**
 * Scales the CacheServer, not its Deployment: the number then stands in one place, the schema's rules bound it, and the
 * operator and the autoscaler never write the same field.
 */
export function horizontalPodAutoscaler(server: CacheServer, inputs: Inputs): KubeObject | undefined {
  const { autoscaling } = server.spec;
  if (autoscaling === undefined) return undefined;
  const { minReplicas, maxReplicas, targetCPU, targetMemory, behavior } = autoscaling;
  const metric = (name: string, averageUtilization: number) => ({ type: "Resource", resource: { name, target: { type: "Utilization", averageUtilization } } });
  return {
    apiVersion: "autoscaling/v2",
    kind: "HorizontalPodAutoscaler",
    metadata: metadata(server, inputs),
    spec: {
      scaleTargetRef: { apiVersion: server.apiVersion, kind: server.kind, name: server.metadata.name },
      minReplicas,
      maxReplicas,
      metrics: [metric("cpu", targetCPU), ...(targetMemory === undefined ? [] : [metric("memory", targetMemory)])],
      ...(behavior === undefined ? {} : { behavior }),
    },
  };
}
