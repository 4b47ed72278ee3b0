import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { Toolkit } from "../fixtures/toolkit.ts";
import { NipClient } from "../fixtures/wire-clients.ts";
import { condition, create, freshNamespace, get, gone, list, patch, reaches, remove, trouble, type Kind, type Thing } from "./cluster.ts";
import { installChart, uninstallChart } from "./helm.ts";
import { until } from "./rig/processes.ts";
import { cacheServer, serve, target } from "./servers.ts";

/** A server on a volume, looked after by an operator that runs in the cluster as the chart installs it. */

let operator: string;
let namespace: string;

beforeAll(async () => {
  operator = await freshNamespace("operator");
  await installChart("stowhouse-operator", "operator", operator).catch(async (error: unknown) => {
    throw new Error(`${String(error)}\n${await trouble(operator)}`);
  });
  namespace = await freshNamespace("servers");
});
afterAll(() => uninstallChart("operator", operator));

const CHILDREN = "app.kubernetes.io/instance=cache,app.kubernetes.io/managed-by=stowhouse-operator";

const EVERYTHING = {
  ingress: { hosts: ["cache.example.com"] },
  httpRoute: { parentRefs: [{ name: "gateway" }], hostnames: ["cache.example.com"] },
  monitoring: { serviceMonitor: { enabled: true }, prometheusRule: { enabled: true }, dashboard: { enabled: true } },
};

test("the images are no larger than 150 MB", () => {
  const { server, operator: operators } = inject("imageSizes") as { server: number; operator: number };
  expect(Math.max(server, operators) / 1e6).toBeLessThan(150);
});

test("the operator runs as restricted pods may", async () => {
  const [pod] = await list("Pod", operator);
  expect(pod!["status"].containerStatuses[0]).toMatchObject({ ready: true, restartCount: 0 });
});

describe("a server on a volume", () => {
  let server: Thing;

  beforeAll(async () => {
    const made = await serve(cacheServer(namespace, "cache"));
    server = made.server;
    console.log(`a CacheServer on a volume was Ready after ${made.seconds.toFixed(1)} s`);
  });

  test("says how it is", () => {
    expect(server["status"]).toMatchObject({ observedGeneration: 1, replicas: 1, readyReplicas: 1, endpoint: `http://cache.${namespace}.svc.cluster.local:8420`, version: expect.any(String) });
    expect(condition(server, "Degraded")?.status).toBe("False");
    expect(condition(server, "StorageReady")).toMatchObject({ status: "True", reason: "Bound" });
    expect(condition(server, "Progressing")?.status).toBe("False");
  });

  test("its pod has no credential of the cluster, and may write only where it must", async () => {
    const [pod] = await list("Pod", namespace, "app.kubernetes.io/instance=cache");
    expect(pod!["spec"].automountServiceAccountToken).toBe(false);
    const [container] = pod!["spec"].containers;
    expect(container.securityContext).toMatchObject({ readOnlyRootFilesystem: true, allowPrivilegeEscalation: false, capabilities: { drop: ["ALL"] } });
    expect(container.volumeMounts.map((mount: { mountPath: string }) => mount.mountPath)).not.toContain("/var/run/secrets/kubernetes.io/serviceaccount");
  });

  test("@actions/cache saves and restores through its Service", async () => {
    const { url, key } = await target(server);
    const job = await Toolkit.checkout("6", { ACTIONS_RESULTS_URL: `${url}/`, ACTIONS_RUNTIME_TOKEN: key });
    const body = randomBytes(3_000_000);
    job.write("node_modules/a.bin", body);
    expect((await job.save("node_modules", "linux-1")).value).toEqual(expect.any(Number));
    job.clear("node_modules");
    expect((await job.restore("node_modules", "linux-2", ["linux-"])).value).toBe("linux-1");
    expect(job.read("node_modules/a.bin").equals(body)).toBe(true);
    job.remove();
  });

  test("nip stores and fetches an artifact", async () => {
    const nip = new NipClient(await target(server));
    const body = new Uint8Array(randomBytes(500_000));
    expect((await nip.put("0123456789abcdef", body, { name: "vim" })).status).toBeLessThan(300);
    expect((await nip.get("0123456789abcdef")).body.equals(body)).toBe(true);
  });

  test("every optional object is made, and accepted by the definitions of its own project", async () => {
    await patch("CacheServer", namespace, "cache", { spec: EVERYTHING });
    for (const kind of ["Ingress", "HTTPRoute", "ServiceMonitor", "PrometheusRule"] as const) await until(`a ${kind}`, 30, async () => (await list(kind, namespace, CHILDREN)).length > 0);
    await reaches("CacheServer", namespace, "cache", "MonitoringReady", "True", 60, "Created");
    // The public URL is another now, and the server hands it out.
    await reaches("CacheServer", namespace, "cache", "Ready", "True");
  });

  test("every child that is deleted comes back", async () => {
    const kinds: Kind[] = ["Deployment", "Service", "ConfigMap", "ServiceAccount", "NetworkPolicy", "Ingress", "HTTPRoute", "ServiceMonitor", "PrometheusRule"];
    const seen: Record<string, number> = {};
    await Promise.all(kinds.map(async (kind) => {
      const children = await list(kind, namespace, CHILDREN);
      expect(children.length, kind).toBeGreaterThan(0);
      for (const { metadata } of children) {
        const began = performance.now();
        await remove(kind, namespace, metadata.name);
        await until(`${kind} ${metadata.name} is back`, 30, async () => {
          const now = await get(kind, namespace, metadata.name);
          return now !== undefined && now.metadata["uid"] !== metadata["uid"] && now.metadata["deletionTimestamp"] === undefined;
        });
        seen[`${kind}/${metadata.name}`] = Math.round(performance.now() - began);
      }
    }));
    console.log("back after, ms:", JSON.stringify(seen));
    await reaches("CacheServer", namespace, "cache", "Ready", "True");
  });

  test("every child that is edited by hand is as before soon", async () => {
    const edits: [kind: Kind, change: object, field: (child: Thing) => unknown][] = [
      ["Deployment", { spec: { template: { spec: { terminationGracePeriodSeconds: 600 } } } }, ({ spec }) => spec.template.spec.terminationGracePeriodSeconds],
      ["Service", { spec: { type: "NodePort" } }, ({ spec }) => spec.type],
      ["ConfigMap", { data: { "config.yaml": "{}" } }, ({ data }) => data["config.yaml"]],
      ["ServiceAccount", { automountServiceAccountToken: true }, (account) => account["automountServiceAccountToken"]],
      ["Ingress", { spec: { rules: [{ host: "elsewhere.example.com" }] } }, ({ spec }) => spec.rules[0].host],
      ["HTTPRoute", { spec: { hostnames: ["elsewhere.example.com"] } }, ({ spec }) => spec.hostnames],
      ["NetworkPolicy", { spec: { policyTypes: ["Egress"] } }, ({ spec }) => spec.policyTypes],
    ];
    await Promise.all(edits.map(async ([kind, change, field]) => {
      const before = JSON.stringify(field((await get(kind, namespace, "cache"))!));
      expect(JSON.stringify(field(await patch(kind, namespace, "cache", change))), kind).not.toBe(before);
      await until(`${kind} is as before`, 30, async () => JSON.stringify(field((await get(kind, namespace, "cache"))!)) === before);
    }));
    await patch("Deployment", namespace, "cache", { spec: { replicas: 0 } });
    await until("it has its replica", 30, async () => (await get("Deployment", namespace, "cache"))!["spec"].replicas === 1);
  });

  test("while it is paused, nothing is put back", async () => {
    await reaches("CacheServer", namespace, "cache", "Ready", "True");
    await patch("CacheServer", namespace, "cache", { metadata: { annotations: { "stowhouse.dev/reconcile": "disabled" } } });
    await reaches("CacheServer", namespace, "cache", "Progressing", "Unknown", 30, "Paused");
    await remove("Ingress", namespace, "cache");
    await gone("Ingress", namespace, "cache");
    await new Promise((resolve) => setTimeout(resolve, 3000));
    expect(await get("Ingress", namespace, "cache")).toBeUndefined();
    await patch("CacheServer", namespace, "cache", { metadata: { annotations: { "stowhouse.dev/reconcile": null } } });
    await until("the Ingress is back", 30, () => get("Ingress", namespace, "cache"));
  });

  test("what is switched off goes away", async () => {
    await patch("CacheServer", namespace, "cache", { spec: { ingress: null, httpRoute: null, monitoring: null } });
    for (const kind of ["Ingress", "HTTPRoute", "ServiceMonitor", "PrometheusRule"] as const) {
      await until(`no ${kind}`, 30, async () => (await list(kind, namespace, "app.kubernetes.io/instance=cache")).length === 0);
    }
    await reaches("CacheServer", namespace, "cache", "Ready", "True");
  });

  test("a volume grows when the spec says so, and the status follows its driver", async () => {
    await patch("CacheServer", namespace, "cache", { spec: { storage: { persistentVolume: { size: "8Gi" } } } });
    const claim = await until("the claim asks for more", 30, async () => {
      const now = await get("PersistentVolumeClaim", namespace, "cache");
      return now?.["spec"].resources.requests.storage === "8Gi" ? now : undefined;
    });
    // The rig's volumes have 10Gi from the start, so the test plays a driver that is still at work. The volume comes first:
    // a kubelet that sees a claim with less than its volume says at once that it has grown.
    const says = async (storage: string) => {
      await patch("PersistentVolume", undefined, claim["spec"].volumeName, { spec: { capacity: { storage } } });
      await patch("PersistentVolumeClaim", namespace, "cache", { status: { capacity: { storage } } }, "/status");
    };
    await says("5Gi");
    await reaches("CacheServer", namespace, "cache", "StorageReady", "False", 60, "ResizePending");
    await says("8Gi");
    await reaches("CacheServer", namespace, "cache", "StorageReady", "True", 60);
    expect((await get("PersistentVolumeClaim", namespace, "cache"))!.metadata["uid"]).toBe(claim.metadata["uid"]);
  });

  test("keys that are changed in their Secret are taken over without a restart", async () => {
    const before = await target(server);
    const pods = await list("Pod", namespace, "app.kubernetes.io/instance=cache");
    const key = `stow_rw_${randomBytes(24).toString("base64url")}`;
    await patch("Secret", namespace, "cache-keys", { data: { "write-key": Buffer.from(key).toString("base64") } });
    await until("the new key works", 120, async () => (await new NipClient({ ...before, key }).get("0123456789abcdef")).status === 200);
    await until("the old key doesn't", 10, async () => (await new NipClient(before).get("0123456789abcdef")).status === 401);
    const after = await list("Pod", namespace, "app.kubernetes.io/instance=cache");
    expect(after.map((pod) => [pod.metadata["uid"], pod["status"].containerStatuses[0].restartCount])).toEqual(pods.map((pod) => [pod.metadata["uid"], 0]));
  });

  test("deleted with Retain, its entries are there when it comes again", async () => {
    const claim = await get("PersistentVolumeClaim", namespace, "cache");
    await remove("CacheServer", namespace, "cache");
    await gone("Deployment", namespace, "cache");
    await until("its pods are gone", 90, async () => (await list("Pod", namespace, "app.kubernetes.io/instance=cache")).length === 0);
    expect((await get("PersistentVolumeClaim", namespace, "cache"))?.metadata["uid"]).toBe(claim!.metadata["uid"]);
    const again = await serve(cacheServer(namespace, "cache", { storage: { persistentVolume: { size: "8Gi" } } }));
    expect((await new NipClient(await target(again.server)).get("0123456789abcdef")).status).toBe(200);
  });

  test("deleted with Delete, nothing is left", async () => {
    await patch("CacheServer", namespace, "cache", { spec: { storage: { deletionPolicy: "Delete" } } });
    await until("the claim belongs to it", 30, async () => (await get("PersistentVolumeClaim", namespace, "cache"))?.metadata["ownerReferences"]?.length === 1);
    await remove("CacheServer", namespace, "cache");
    for (const kind of ["Deployment", "Service", "ConfigMap", "ServiceAccount", "NetworkPolicy"] as const) await gone(kind, namespace, "cache");
    await gone("Secret", namespace, "cache-keys");
    await gone("PersistentVolumeClaim", namespace, "cache", 120);
  });
});

describe("a server that can't be", () => {
  test("says which Secret it lacks, and goes on when it is there", async () => {
    const storage = { type: "S3", s3: { bucket: "builds", endpoint: "http://10.88.0.1:1", credentialsSecret: { name: "credentials" } } };
    await create(cacheServer(namespace, "lacking", { replicas: 0, storage, database: { type: "PostgreSQL", urlSecret: { name: "database" } } }));
    const found = await reaches("CacheServer", namespace, "lacking", "Degraded", "True", 60, "SecretMissing");
    expect(condition(found, "Degraded")!.message).toMatch(/credentials|database/);
    await create({ apiVersion: "v1", kind: "Secret", metadata: { namespace, name: "credentials" }, stringData: { accessKeyId: "a", secretAccessKey: "b" } });
    await create({ apiVersion: "v1", kind: "Secret", metadata: { namespace, name: "database" }, stringData: { url: "postgres://x@10.88.0.1:1/x" } });
    await reaches("CacheServer", namespace, "lacking", "Degraded", "False", 90);
    await remove("CacheServer", namespace, "lacking");
  });

  test("leaves an object alone that isn't its own", async () => {
    await create({ apiVersion: "v1", kind: "ConfigMap", metadata: { namespace, name: "taken" }, data: { mine: "yes" } });
    await create(cacheServer(namespace, "taken", { replicas: 0 }));
    await reaches("CacheServer", namespace, "taken", "Degraded", "True", 60, "NameTaken");
    expect((await get("ConfigMap", namespace, "taken"))!["data"]).toEqual({ mine: "yes" });
    await remove("CacheServer", namespace, "taken");
  });
});
