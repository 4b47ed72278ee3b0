import Type from "typebox";
import { flag, integer, list, oneOf, optional, section } from "../../../server/config/fields.ts";
import { foreign, objectName, presence, ruled, string, strings } from "../../fields.ts";

export const Image = presence("The server's image. Default: the one of the operator's version.", {
  repository: optional(string({ maxLength: 500, description: "Registry and name. Default: those of the operator's version." })),
  tag: optional(string({ maxLength: 128, pattern: "^[a-zA-Z0-9_][a-zA-Z0-9_.-]*$", description: "Tag. Default: that of the operator's version." })),
  digest: optional(string({ maxLength: 71, pattern: "^sha256:[0-9a-f]{64}$", description: "Digest, which pins the image whatever the tag says." })),
  pullPolicy: oneOf(["IfNotPresent", "Always", "Never"], { default: "IfNotPresent", description: "When the node pulls the image." }),
});

export const ImagePullSecrets = list(
  section("A Secret for the registry.", { name: objectName({ description: "Name of the Secret." }) }),
  { default: [], maxItems: 20, description: "Secrets for the registry." },
);

const amounts = (what: string, words: object = {}) =>
  Type.Unsafe<Record<string, string | number>>({
    type: "object",
    maxProperties: 20,
    additionalProperties: { "x-kubernetes-int-or-string": true, anyOf: [{ type: "integer" }, { type: "string" }], description: "A quantity like 500m or 1Gi." },
    description: what,
    ...words,
  });

export const Resources = section("CPU and memory of the server's container.", {
  requests: amounts("What is set aside for it.", { default: { cpu: "100m", memory: "256Mi" } }),
  limits: optional(amounts("What it may use at most. Default: no limit.")),
});

export const ServiceAccount = section("The identity of the pods towards a cloud. They get no token of the cluster.", {
  name: optional(objectName({ description: "A ServiceAccount of yours. Default: one is made, with the name of this resource." })),
  annotations: optional(strings({ description: "Annotations, as clouds want them for roles (IRSA, Workload Identity)." })),
});

export const PodTemplate = presence("Merged over the pod template that is made, as a strategic merge patch: containers, volumes, environment and ports by name.", {
  metadata: optional(section("Metadata of the pods.", {
    labels: optional(strings({ description: "Further labels of the pods." })),
    annotations: optional(strings({ description: "Annotations of the pods." })),
  })),
  spec: optional(foreign({ description: "A PodSpec, or part of one; the server's container is named server. null takes a field away." })),
});

export const PodDisruptionBudget = section("Keeps node drains from taking too many replicas at once; made for two and more of them.", {
  enabled: flag({ default: true, description: "Whether there is a PodDisruptionBudget." }),
  maxUnavailable: integer(1, 100, { default: 1, description: "Replicas that a drain may take at once." }),
});

export const Autoscaling = ruled(
  presence("The number of replicas follows the load: a HorizontalPodAutoscaler sets spec.replicas.", {
    minReplicas: integer(1, 100, { default: 2, description: "Fewest replicas." }),
    maxReplicas: integer(1, 100, { description: "Most replicas." }),
    targetCPU: integer(1, 1000, { default: 75, description: "Percentage of the requested CPU that is aimed at." }),
    targetMemory: optional(integer(1, 1000, { description: "Percentage of the requested memory that is aimed at. Default: memory doesn't count." })),
    behavior: optional(foreign({ description: "How quickly replicas come and go: a HorizontalPodAutoscalerBehavior." })),
  }),
  { rule: "self.minReplicas <= self.maxReplicas", message: "minReplicas is above maxReplicas", fieldPath: ".minReplicas" },
);

export const TopologySpreadConstraints = optional(
  list(foreign({ description: "A TopologySpreadConstraint; without a labelSelector it counts the pods of this resource." }), {
    maxItems: 20,
    description: "How the pods are spread. Default: over nodes, where that is possible.",
  }),
);

const switched = (what: string) => ({
  enabled: flag({ default: false, description: `Whether there is a ${what}.` }),
  labels: optional(strings({ description: `Further labels of the ${what}, by which it is found.` })),
});

export const Monitoring = section("Objects of the Prometheus operator and of Grafana. Those whose API is absent are skipped, and a condition says so.", {
  serviceMonitor: section("Scraping.", {
    ...switched("ServiceMonitor"),
    interval: string({ default: "30s", pattern: "^([0-9]+(ms|[smhdwy]))+$", maxLength: 20, description: "Time between two scrapes." }),
  }),
  prometheusRule: section("Alerts.", switched("PrometheusRule")),
  dashboard: section("A Grafana dashboard.", switched("ConfigMap with the dashboard")),
});
