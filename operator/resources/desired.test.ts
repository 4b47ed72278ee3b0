import { describe, expect, test } from "vitest";
import { stringify } from "yaml";
import { cacheServer } from "../testing/stored.ts";
import { someInputs } from "../testing/inputs.ts";
import { desired, unavailable } from "./desired.ts";

const EXAMPLES = {
  minimal: {},
  production: {
    replicas: 2,
    image: { repository: "registry.example.com/stowhouse", digest: `sha256:${"a".repeat(64)}`, pullPolicy: "Always" },
    imagePullSecrets: [{ name: "registry" }],
    storage: { type: "S3", s3: { bucket: "builds", endpoint: "https://s3.example.com:9000", region: "eu-central-1", pathStyle: true, credentialsSecret: { name: "bucket" }, redirect: true, readCache: { size: "10GiB" } } },
    database: { type: "PostgreSQL", urlSecret: { name: "database" }, port: 6432 },
    caches: { default: { quota: "200GiB" }, mobile: { quota: "50GiB", retention: "14d", anonymousRead: true } },
    auth: { github: { rules: [{ repositoryId: 1296269, repository: "acme/app" }] } },
    access: [{ namespaceSelector: { matchLabels: { team: "mobile" } }, caches: ["mobile"], permissions: ["write"], scopes: ["team:mobile"], maxTTL: "90d" }],
    ingress: { className: "nginx", hosts: ["cache.example.com"], tlsSecretName: "cache-tls", annotations: { "nginx.ingress.kubernetes.io/proxy-body-size": "0" } },
    monitoring: { serviceMonitor: { enabled: true, labels: { release: "prometheus" } }, prometheusRule: { enabled: true }, dashboard: { enabled: true } },
    networkPolicy: { clients: [{ namespaceSelector: { matchLabels: { runners: "true" } } }] },
    autoscaling: { maxReplicas: 6 },
    resources: { requests: { cpu: "1", memory: "512Mi" }, limits: { memory: "2Gi" } },
    shutdown: { drain: "2m" },
    podTemplate: {
      metadata: { labels: { team: "platform", "app.kubernetes.io/name": "other" } },
      spec: { priorityClassName: "high", containers: [{ name: "server", env: [{ name: "NODE_EXTRA_CA_CERTS", value: "/ca/ca.crt" }], volumeMounts: [{ name: "ca", mountPath: "/ca" }] }], volumes: [{ name: "ca", configMap: { name: "ca" } }] },
    },
  },
  gateway: {
    storage: { persistentVolume: { size: "1Ti", storageClassName: "fast", existingClaim: "old-cache" }, deletionPolicy: "Delete" },
    tls: { issuerRef: { name: "internal", kind: "ClusterIssuer" }, dnsNames: ["cache.internal"] },
    httpRoute: { parentRefs: [{ name: "public", namespace: "gateways", sectionName: "https" }], hostnames: ["cache.example.com"] },
    service: { type: "LoadBalancer", port: 443, loadBalancerSourceRanges: ["10.0.0.0/8"], annotations: { "example.com/internal": "true" } },
    serviceAccount: { name: "builder" },
    networkPolicy: { enabled: false },
    topologySpreadConstraints: [{ maxSkew: 1, topologyKey: "topology.kubernetes.io/zone", whenUnsatisfiable: "DoNotSchedule" }],
    protocols: { nip: { enabled: false } },
  },
} as const;

/** Dashboards and alerts have tests of their own. */
function shortened(object: ReturnType<typeof desired>[number]): object {
  if (object.kind === "PrometheusRule") return { ...object, spec: { groups: (object["spec"] as { groups: { name: string }[] }).groups.map(({ name }) => ({ name })) } };
  if (object.metadata.name.endsWith("-dashboard")) return { ...object, data: Object.fromEntries(Object.keys(object["data"] as object).map((name) => [name, "…"])) };
  return object;
}

describe.each(Object.entries(EXAMPLES))("a %s CacheServer", (name, spec) => {
  const objects = desired(cacheServer(spec), someInputs());

  test("becomes these objects", async () => {
    const text = objects.map((object) => stringify(shortened(object), { lineWidth: 0, aliasDuplicateObjects: false })).join("---\n");
    await expect(text).toMatchFileSnapshot(`golden/${name}.yaml`);
  });

  test("becomes the same objects again", () => {
    expect(desired(cacheServer(spec), someInputs())).toEqual(objects);
  });

  test("has objects with the five labels, in its namespace, owned by it, none twice", () => {
    for (const { kind, metadata } of objects) {
      expect(metadata.namespace).toBe("ci");
      expect(metadata.labels).toMatchObject({ "app.kubernetes.io/name": "stowhouse", "app.kubernetes.io/instance": "cache", "app.kubernetes.io/component": "server", "app.kubernetes.io/managed-by": "stowhouse-operator" });
      if (kind !== "PersistentVolumeClaim") expect(metadata.ownerReferences).toEqual([{ apiVersion: "stowhouse.dev/v1alpha1", kind: "CacheServer", name: "cache", uid: "5f0c9a0e-0000-4000-8000-000000000001", controller: true, blockOwnerDeletion: true }]);
    }
    const names = objects.map(({ kind, metadata }) => `${kind}/${metadata.name}`);
    expect(new Set(names).size).toBe(names.length);
    expect(names.every((one) => one.split("/")[1]!.startsWith("cache"))).toBe(true);
  });

  test("says nothing undefined: an object is JSON", () => {
    expect(JSON.parse(JSON.stringify(objects))).toEqual(objects);
  });
});

test("objects whose API the cluster lacks are left out, and named", () => {
  const server = cacheServer({ ...EXAMPLES.production, ...EXAMPLES.gateway, storage: EXAMPLES.production.storage });
  const none = someInputs({ capabilities: { serviceMonitor: false, prometheusRule: false, httpRoute: false, certificate: false } });
  expect(unavailable(server, none).sort()).toEqual(["Certificate", "HTTPRoute", "PrometheusRule", "ServiceMonitor"]);
  expect(desired(server, none).map(({ kind }) => kind)).not.toContain("ServiceMonitor");
  expect(unavailable(server, someInputs())).toEqual([]);
  expect(unavailable(cacheServer(), none)).toEqual([]);
});

test("a spec that no server would start with becomes nothing, and its fields are named", () => {
  const server = cacheServer({ caches: { default: { quota: "1B" } }, eviction: { lowWater: "99%", highWater: "90%" } });
  expect(() => desired(server, someInputs())).toThrow(/spec\.caches\.default\.quota: expected a size .*; spec\.eviction\.lowWater: expected/);
});

test("the account comes before the pods that use it, and so do configuration and claim", () => {
  const kinds = desired(cacheServer(), someInputs()).map(({ kind }) => kind);
  for (const kind of ["ServiceAccount", "ConfigMap", "PersistentVolumeClaim"]) expect(kinds.indexOf(kind)).toBeLessThan(kinds.indexOf("Deployment"));
});
