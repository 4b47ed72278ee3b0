import { expect, test } from "vitest";
import { cacheServer } from "../testing/stored.ts";
import { someInputs } from "../testing/inputs.ts";
import { horizontalPodAutoscaler } from "./hpa.ts";
import { podDisruptionBudget } from "./pdb.ts";

const shared = { storage: { type: "S3", s3: { bucket: "b" } }, database: { type: "PostgreSQL", urlSecret: { name: "database" } } };
const budget = (spec: object) => podDisruptionBudget(cacheServer({ ...shared, ...spec }), someInputs())?.["spec"];

test("an autoscaler scales the CacheServer, so that its Deployment has one writer", () => {
  const object = horizontalPodAutoscaler(cacheServer({ ...shared, autoscaling: { maxReplicas: 6, targetMemory: 80, behavior: { scaleDown: { stabilizationWindowSeconds: 60 } } } }), someInputs())!;
  expect(object["spec"]).toMatchObject({
    scaleTargetRef: { apiVersion: "stowhouse.dev/v1alpha1", kind: "CacheServer", name: "cache" },
    minReplicas: 2,
    maxReplicas: 6,
    metrics: [{ resource: { name: "cpu", target: { averageUtilization: 75 } } }, { resource: { name: "memory", target: { averageUtilization: 80 } } }],
    behavior: { scaleDown: { stabilizationWindowSeconds: 60 } },
  });
  expect(horizontalPodAutoscaler(cacheServer(shared), someInputs())).toBeUndefined();
});

test("a budget lets a drain take one of several pods, and any that isn't ready", () => {
  expect(budget({ replicas: 2 })).toMatchObject({ maxUnavailable: 1, unhealthyPodEvictionPolicy: "AlwaysAllow", selector: { matchLabels: { "app.kubernetes.io/instance": "cache" } } });
  expect(budget({ autoscaling: { maxReplicas: 3 } })).toBeDefined();
  expect(budget({ replicas: 5, podDisruptionBudget: { maxUnavailable: 2 } })).toMatchObject({ maxUnavailable: 2 });
});

test("a single pod has no budget: it could only block drains", () => {
  expect(budget({ replicas: 1 })).toBeUndefined();
  expect(budget({ replicas: 0 })).toBeUndefined();
  expect(budget({ replicas: 1, autoscaling: { minReplicas: 1, maxReplicas: 3 } })).toBeUndefined();
  expect(budget({ replicas: 3, podDisruptionBudget: { enabled: false } })).toBeUndefined();
});
