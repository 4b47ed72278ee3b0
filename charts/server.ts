import type { TSchema } from "typebox";
import { flag, integer, oneOf, section } from "../server/config/fields.ts";
import { object, objects, string, strings, texts } from "./fields.ts";
import { disruptions, extraObjects, image, monitoring, names, pod, replicas, security, serviceAccount } from "./shared.ts";

/** The values of charts/stowhouse. @param config the server's configuration as a chart may set it */
export const serverValues = (config: TSchema) => section("Values of a Stowhouse server.", {
  ...names,
  ...image("ghcr.io/stowhouse/stowhouse"),
  ...replicas("Servers. More than one needs PostgreSQL, and S3 or a volume that many may write (ReadWriteMany)."),
  config,
  listenAddress: string({ default: "0.0.0.0", description: "Address the server listens on in its pod; `[::]` where pods have IPv6 only." }),
  keys: section("The fixed admin, write and read key of the default cache.", {
    existingSecret: string({ description: "A Secret with `admin-key`, `write-key` and `read-key`. Default: the chart makes one and keeps its keys over upgrades. Tools that only render the chart (Argo CD) make new keys each time: give them a Secret." }),
    keep: flag({ default: true, description: "Whether the Secret the chart made outlives the release." }),
  }),
  database: section("PostgreSQL. Without it the index is in SQLite on the volume.", {
    existingSecret: string({ description: "A Secret with the database's URL, `postgres://user:password@host:5432/database`." }),
    key: string({ default: "url", description: "Its key." }),
  }),
  s3: section("Credentials of storages of type s3. Without a Secret: the pods' own role (IRSA, Workload Identity).", {
    existingSecret: string({ description: "A Secret with an access key." }),
    accessKeyIdKey: string({ default: "accessKeyId", description: "Its key with the access key's id." }),
    secretAccessKeyKey: string({ default: "secretAccessKey", description: "Its key with the access key's secret." }),
  }),
  persistence: section("The volume at /data: database and blobs, or with PostgreSQL and S3 only the read cache.", {
    enabled: flag({ default: true, description: "Whether there is a claim. Without it /data lives as long as its pod." }),
    existingClaim: string({ description: "A claim of yours." }),
    size: string({ default: "50Gi", description: "Size of the volume. The server keeps 5 % of it free, whatever the quotas say." }),
    storageClass: string({ description: "Storage class. Default: the cluster's; `-` for none." }),
    accessModes: strings({ default: ["ReadWriteOnce"], description: "Access modes. With ReadWriteOnce an update stops the old server first." }),
    annotations: texts({ description: "Annotations of the claim." }),
    labels: texts({ description: "Further labels of the claim." }),
    keep: flag({ default: true, description: "Whether the claim outlives the release." }),
    spec: object({ description: "Anything else of the claim's spec.", example: { volumeName: "stowhouse-0" } }),
  }),
  service: section("How clients in the cluster reach the server.", {
    type: oneOf(["ClusterIP", "NodePort", "LoadBalancer"], { default: "ClusterIP", description: "Type of the Service." }),
    port: integer(1, 65_535, { default: 8420, description: "Port of the Service." }),
    annotations: texts({ description: "Annotations of the Service." }),
    labels: texts({ description: "Further labels of the Service." }),
    spec: object({ description: "Anything else of the Service's spec.", example: { loadBalancerSourceRanges: ["10.0.0.0/8"] } }),
  }),
  ingress: section("Clients from outside, through an Ingress. `config.url` becomes its first host unless set.", {
    enabled: flag({ default: false, description: "Whether there is an Ingress." }),
    className: string({ description: "Ingress class. Default: the cluster's." }),
    annotations: texts({ description: "Annotations; bodies are large, so most controllers need their limits lifted.", example: { "nginx.ingress.kubernetes.io/proxy-body-size": "0", "nginx.ingress.kubernetes.io/proxy-request-buffering": "off" } }),
    labels: texts({ description: "Further labels." }),
    hosts: strings({ description: "Host names.", example: ["cache.example.com"] }),
    tls: objects({ description: "Certificates.", example: [{ secretName: "cache-tls", hosts: ["cache.example.com"] }] }),
  }),
  httpRoute: section("Clients from outside, through a Gateway. `config.url` becomes its first host name, with https, unless set.", {
    enabled: flag({ default: false, description: "Whether there is an HTTPRoute; the cluster must know the kind." }),
    parentRefs: objects({ description: "Gateways.", example: [{ name: "public", namespace: "gateways" }] }),
    hostnames: strings({ description: "Host names.", example: ["cache.example.com"] }),
    annotations: texts({ description: "Annotations." }),
    labels: texts({ description: "Further labels." }),
  }),
  tls: section("TLS in the server itself.", {
    existingSecret: string({ description: "A Secret with `tls.crt` and `tls.key`, such as cert-manager makes; renewals are taken over without a restart." }),
  }),
  ...serviceAccount,
  resources: object({ default: { requests: { cpu: "100m", memory: "256Mi" } }, description: "CPU and memory of a server." }),
  ...security,
  ...pod,
  extraEnvFrom: objects({ description: "Further sources of environment variables." }),
  initContainers: objects({ description: "Containers that run before the server." }),
  extraContainers: objects({ description: "Containers beside the server." }),
  livenessProbe: object({ default: { periodSeconds: 10, timeoutSeconds: 5, failureThreshold: 6 }, description: "When a server is started again; `/livez` is asked." }),
  readinessProbe: object({ default: { periodSeconds: 5, timeoutSeconds: 5, failureThreshold: 3 }, description: "When a server gets requests; `/readyz` is asked." }),
  startupProbe: object({ default: { periodSeconds: 1, timeoutSeconds: 5, failureThreshold: 120 }, description: "How long a start may take; `/livez` is asked." }),
  terminationGracePeriodSeconds: integer(1, 7200, { default: 60, description: "Longest time to stop: more than `config.shutdown.delay` (5s here, until nobody sends requests any more) and `drain` (30s) together." }),
  revisionHistoryLimit: integer(0, 100, { default: 3, description: "Old ReplicaSets that are kept." }),
  ...disruptions("Whether there is a budget; with one replica it would stop every drain."),
  autoscaling: section("Number of servers by load; needs what more than one replica needs.", {
    enabled: flag({ default: false, description: "Whether there is a HorizontalPodAutoscaler." }),
    minReplicas: integer(1, 100, { default: 2, description: "Fewest servers." }),
    maxReplicas: integer(1, 100, { default: 5, description: "Most servers." }),
    targetCPU: integer(1, 100, { default: 75, description: "Use of the requested CPU to aim for, in percent." }),
    metrics: objects({ description: "Metrics to use instead." }),
    behavior: object({ description: "How fast it scales." }),
  }),
  networkPolicy: section("Who may talk to the server, and whom it may talk to.", {
    enabled: flag({ default: false, description: "Whether there is a NetworkPolicy; the cluster's network must enforce it." }),
    from: objects({ description: "Who may use the cache. Default: everybody.", example: [{ namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": "ci" } } }] }),
    metricsFrom: objects({ description: "Who may read the metrics. Default: everybody." }),
    egress: objects({ description: "Whom the server may talk to beside DNS: PostgreSQL, S3, GitHub's keys. Default: everybody.", example: [{ to: [{ ipBlock: { cidr: "10.0.0.0/8" } }], ports: [{ port: 5432 }] }] }),
  }),
  metricsService: section("The Service for metrics: a port of its own, without a credential, apart from the clients' Service.", {
    enabled: flag({ default: true, description: "Whether the server listens for metrics." }),
    port: integer(1, 65_535, { default: 9420, description: "Its port." }),
    annotations: texts({ description: "Annotations." }),
    labels: texts({ description: "Further labels." }),
  }),
  ...monitoring,
  ...extraObjects,
});
