import { flag, integer, oneOf, section } from "../server/config/fields.ts";
import { countOrShare, object, objects, string, strings, texts } from "./fields.ts";

/** Values that both charts have, with the same names and meanings. */

export const names = {
  nameOverride: string({ description: "Name of the chart in the objects' names. Default: the chart's own." }),
  fullnameOverride: string({ description: "Name of all objects. Default: the release's name and the chart's." }),
};

export const image = (repository: string) => ({
  image: section("Where the image comes from.", {
    repository: string({ default: repository, description: "Registry and name." }),
    tag: string({ description: "Tag. Default: the chart's appVersion." }),
    digest: string({ pattern: "^(sha256:[0-9a-f]{64})?$", description: "Digest (`sha256:…`), which pins the image whatever the tag says." }),
    pullPolicy: oneOf(["IfNotPresent", "Always", "Never"], { default: "IfNotPresent", description: "When the node pulls the image." }),
  }),
  imagePullSecrets: objects({ description: "Secrets for the registry.", example: [{ name: "registry" }] }),
});

export const serviceAccount = {
  serviceAccount: section("The identity of the pods.", {
    create: flag({ default: true, description: "Whether the chart makes it." }),
    name: string({ description: "Its name. Default: the objects' name, or `default` when none is made." }),
    annotations: texts({ description: "Annotations, as cloud providers want them for roles.", example: { "eks.amazonaws.com/role-arn": "arn:aws:iam::123456789012:role/stowhouse" } }),
    labels: texts({ description: "Further labels." }),
  }),
};

/** As Kubernetes' restricted profile asks. */
export const security = {
  podSecurityContext: object({
    default: { runAsNonRoot: true, runAsUser: 10001, runAsGroup: 10001, fsGroup: 10001, fsGroupChangePolicy: "OnRootMismatch", seccompProfile: { type: "RuntimeDefault" } },
    description: "Security of the pods; the restricted profile accepts it.",
  }),
  securityContext: object({
    default: { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: ["ALL"] } },
    description: "Security of the containers.",
  }),
};

export const pod = {
  podAnnotations: texts({ description: "Annotations of the pods." }),
  podLabels: texts({ description: "Further labels of the pods." }),
  priorityClassName: string({ description: "Priority class of the pods." }),
  nodeSelector: texts({ description: "Labels of the nodes that may run the pods." }),
  tolerations: objects({ description: "Taints the pods tolerate." }),
  affinity: object({ description: "Affinity of the pods." }),
  topologySpreadConstraints: objects({
    description: "How the pods are spread; those without a labelSelector get the pods' own.",
    example: [{ maxSkew: 1, topologyKey: "topology.kubernetes.io/zone", whenUnsatisfiable: "ScheduleAnyway" }],
  }),
  extraEnv: objects({ description: "Further environment variables.", example: [{ name: "NODE_EXTRA_CA_CERTS", value: "/etc/ca/ca.crt" }] }),
  extraVolumes: objects({ description: "Further volumes of the pods." }),
  extraVolumeMounts: objects({ description: "Further mounts of the container." }),
  podSpec: object({ description: "Anything else of a pod's spec, laid over what the chart says; lists replace ours.", example: { hostAliases: [{ ip: "10.0.0.5", hostnames: ["s3.internal"] }] } }),
};

export const disruptions = (enabled: string) => ({
  podDisruptionBudget: section("Keeps replicas while nodes are drained.", {
    enabled: flag({ default: false, description: enabled }),
    maxUnavailable: countOrShare({ default: 1, description: "Replicas that may be away at once." }),
  }),
});

export const monitoring = {
  serviceMonitor: section("Scraping by the Prometheus operator.", {
    enabled: flag({ default: false, description: "Whether a ServiceMonitor is made; the cluster must know the kind." }),
    labels: texts({ description: "Further labels, where Prometheus selects by them.", example: { release: "kube-prometheus-stack" } }),
    interval: string({ default: "30s", description: "Time between two scrapes." }),
    scrapeTimeout: string({ description: "Longest time of a scrape. Default: Prometheus' own." }),
    relabelings: objects({ description: "Relabelings of the target." }),
    metricRelabelings: objects({ description: "Relabelings of the samples." }),
  }),
  prometheusRule: section("Alerts for the Prometheus operator.", {
    enabled: flag({ default: false, description: "Whether a PrometheusRule is made; the cluster must know the kind. The alerts need the ServiceMonitor's labels." }),
    labels: texts({ description: "Further labels, where Prometheus selects by them." }),
    alertLabels: texts({ description: "Further labels of every alert, for routes of Alertmanager." }),
    disabled: strings({ description: "Names of alerts to leave out.", example: ["StowhouseLowHitRate"] }),
    rules: objects({ description: "Further rules." }),
  }),
  dashboard: section("Dashboards for Grafana's sidecar.", {
    enabled: flag({ default: false, description: "Whether ConfigMaps with dashboards are made." }),
    labels: texts({ default: { grafana_dashboard: "1" }, description: "Labels the sidecar looks for." }),
    annotations: texts({ description: "Annotations, such as the sidecar's folder.", example: { grafana_folder: "Stowhouse" } }),
  }),
};

export const extraObjects = {
  extraObjects: objects({ description: "Further objects to install; templates in them are filled in.", example: [{ apiVersion: "v1", kind: "ConfigMap", metadata: { name: "extra" } }] }),
};

export const replicas = (description: string, fallback = 1) => ({ replicaCount: integer(0, 100, { default: fallback, description }) });
