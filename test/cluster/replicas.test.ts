import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { startBackend, type Backend } from "./backend.ts";
import { create, freshNamespace, get, list, patch, reaches, request, type Thing } from "./cluster.ts";
import { installChart, uninstallChart } from "./helm.ts";
import { NEXT_SERVER_IMAGE } from "./rig/images.ts";
import { until } from "./rig/processes.ts";
import { cacheServer, secret, serve, target } from "./servers.ts";
import { startTraffic, type Traffic } from "./traffic.ts";

/** Two replicas on S3 and PostgreSQL: whatever is changed while clients are at work, no request of theirs fails. */

let operator: string;
let namespace: string;
let backend: Backend;
let server: Thing;

beforeAll(async () => {
  operator = await freshNamespace("operator");
  [backend] = await Promise.all([startBackend(), installChart("stowhouse-operator", "operator", operator)]);
  namespace = await freshNamespace("replicas");
  await create(secret(namespace, "bucket", { accessKeyId: "any", secretAccessKey: "any" }));
  await create(secret(namespace, "database", { url: backend.databaseUrl }));
  const made = await serve(cacheServer(namespace, "cache", {
    replicas: 2,
    storage: { type: "S3", s3: { bucket: backend.bucket, endpoint: backend.endpoint, region: "us-east-1", credentialsSecret: { name: "bucket" } } },
    database: { type: "PostgreSQL", urlSecret: { name: "database" }, port: Number(new URL(backend.databaseUrl).port) },
  }));
  server = made.server;
  console.log(`two replicas on S3 and PostgreSQL were Ready after ${made.seconds.toFixed(1)} s`);
});
afterAll(async () => {
  await uninstallChart("operator", operator);
  await backend.stop();
});

const INSTANCE = "app.kubernetes.io/instance=cache";
const names = async () => (await list("Pod", namespace, INSTANCE)).filter(({ metadata }) => metadata["deletionTimestamp"] === undefined).map(({ metadata }) => metadata.name).toSorted();

/** Waits until the pods are as many as wanted, of the latest template, and nothing else is left. */
async function settled(replicas: number): Promise<void> {
  await reaches("CacheServer", namespace, "cache", "Progressing", "False", 180);
  await reaches("CacheServer", namespace, "cache", "Ready", "True", 60);
  await until(`${replicas} pods are left`, 120, async () => {
    const pods = await list("Pod", namespace, INSTANCE);
    return pods.length === replicas && pods.every((pod) => pod["status"].containerStatuses?.[0]?.ready);
  });
}

test("is guarded against drains and spread, as it has several replicas", async () => {
  expect((await get("PodDisruptionBudget", namespace, "cache"))?.["spec"]).toMatchObject({ maxUnavailable: 1 });
  const { spec } = (await get("Deployment", namespace, "cache"))!;
  expect(spec.strategy).toMatchObject({ type: "RollingUpdate", rollingUpdate: { maxUnavailable: 0 } });
  expect(await get("PersistentVolumeClaim", namespace, "cache")).toBeUndefined();
});

describe("no request fails while", () => {
  let traffic: Traffic;

  beforeEach(async () => {
    await settled((await get("CacheServer", namespace, "cache"))!["spec"].replicas as number);
    traffic = startTraffic(await target(server));
  });
  afterEach(() => traffic.stop());

  const unharmed = async () => {
    // Connections that were opened last meet pods that are going away.
    await new Promise((resolve) => setTimeout(resolve, 2000));
    await traffic.stop();
    console.log(`${traffic.requests()} requests, ${traffic.failures.length} failed`);
    expect(traffic.failures).toEqual([]);
    expect(traffic.requests()).toBeGreaterThan(20);
  };

  test("a quota is changed, for which no pod is restarted", async () => {
    const before = await names();
    await patch("CacheServer", namespace, "cache", { spec: { caches: { default: { quota: "123MiB" } } } });
    const admin = await target(server, "admin-key");
    await until("the server has the new quota", 120, async () => {
      const answer = await fetch(`${admin.url}/v1/admin/caches/default`, { headers: { authorization: `Bearer ${admin.key}` }, signal: AbortSignal.timeout(5000) });
      return (await answer.text()).includes(String(123 * 1024 * 1024));
    });
    await unharmed();
    expect(await names()).toEqual(before);
  });

  test("it is scaled up and down", async () => {
    const scale = (replicas: number) => request("PATCH", `/apis/stowhouse.dev/v1alpha1/namespaces/${namespace}/cacheservers/cache/scale`, { spec: { replicas } }, "application/merge-patch+json");
    await scale(3);
    await settled(3);
    await scale(2);
    await settled(2);
    await unharmed();
  });

  test("its configuration is changed in a way that needs new pods", async () => {
    const before = await names();
    await patch("CacheServer", namespace, "cache", { spec: { inlineLimit: "32KiB" } });
    await until("the pods are new", 120, async () => (await names()).every((name) => !before.includes(name)));
    await settled(2);
    await unharmed();
  });

  test("its image is changed", async () => {
    const before = await names();
    const [repository, tag] = NEXT_SERVER_IMAGE.split(":");
    await patch("CacheServer", namespace, "cache", { spec: { image: { repository, tag } } });
    await until("the pods are new", 120, async () => (await names()).every((name) => !before.includes(name)));
    await settled(2);
    const [pod] = await list("Pod", namespace, INSTANCE);
    expect(pod!["spec"].containers[0].image).toBe(NEXT_SERVER_IMAGE);
    await unharmed();
  });

  test("a pod is deleted", async () => {
    const [first] = await names();
    await request("DELETE", `/api/v1/namespaces/${namespace}/pods/${first}`);
    await until("another takes its place", 60, async () => !(await names()).includes(first!) && (await names()).length === 2);
    await settled(2);
    await unharmed();
  });
});
