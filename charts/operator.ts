import { flag, integer, oneOf, section } from "../server/config/fields.ts";
import { object, objects, string, strings } from "./fields.ts";
import { disruptions, extraObjects, image, monitoring, names, pod, replicas, security, serviceAccount } from "./shared.ts";

/** The values of charts/stowhouse-operator. */
export const operatorValues = section("Values of the Stowhouse operator.", {
  ...names,
  ...image("ghcr.io/stowhouse/stowhouse-operator"),
  ...replicas("Operators. One leads, the others take over within seconds."),
  serverImage: section("The image of servers whose CacheServer names none.", {
    repository: string({ default: "ghcr.io/stowhouse/stowhouse", description: "Registry and name." }),
    tag: string({ description: "Tag. Default: the chart's appVersion." }),
    digest: string({ pattern: "^(sha256:[0-9a-f]{64})?$", description: "Digest (`sha256:…`), which pins the image whatever the tag says." }),
  }),
  crds: section("The definitions of CacheServer and CacheKey.", {
    enabled: flag({ default: true, description: "Whether the chart installs and upgrades them." }),
    keep: flag({ default: true, description: "Whether they outlive the release. Without them the cluster deletes every CacheServer and CacheKey." }),
  }),
  watchNamespaces: strings({
    description: "Namespaces the operator serves, with Roles there and nowhere else. They must exist. Default: all, with a ClusterRole; see *What it may read*.",
    example: ["ci", "builds"],
  }),
  rbac: section("Rights.", {
    create: flag({ default: true, description: "Whether the chart makes the operator's roles and their bindings." }),
    aggregate: flag({ default: true, description: "Whether Kubernetes' own admin, edit and view roles get rights on CacheServers and CacheKeys." }),
  }),
  logLevel: oneOf(["error", "warn", "info", "debug"], { default: "info", description: "Least severity that is written." }),
  clusterDomain: string({ default: "cluster.local", description: "Suffix of the names of Services." }),
  metricsPort: integer(1, 65_535, { default: 8080, description: "Port of metrics and health in the pod." }),
  ...serviceAccount,
  resources: object({ default: { requests: { cpu: "50m", memory: "128Mi" }, limits: { memory: "256Mi" } }, description: "CPU and memory of an operator." }),
  ...security,
  ...pod,
  extraArgs: strings({ description: "Further arguments." }),
  revisionHistoryLimit: integer(0, 100, { default: 3, description: "Old ReplicaSets that are kept." }),
  ...disruptions("Whether there is a budget; useful from two replicas on."),
  networkPolicy: section("Who may talk to the operator. It talks to the API server and to its servers' admin API.", {
    enabled: flag({ default: false, description: "Whether there is a NetworkPolicy; the cluster's network must enforce it." }),
    metricsFrom: objects({ description: "Who may read the metrics. Default: everybody." }),
  }),
  ...monitoring,
  ...extraObjects,
});
