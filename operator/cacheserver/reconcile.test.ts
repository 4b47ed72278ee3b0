import { beforeEach, describe, expect, test } from "vitest";
import { refusal } from "../testing/cluster.ts";
import { World } from "../testing/world.ts";

let world: World;
beforeEach(() => void (world = new World()));

const S3 = { storage: { type: "S3", s3: { bucket: "builds", credentialsSecret: { name: "bucket" } } }, database: { type: "PostgreSQL", urlSecret: { name: "database" } } };
const MINUTE = 60_000;

function secret(name: string, data: Record<string, string>) {
  return { apiVersion: "v1", kind: "Secret", metadata: { name, namespace: "ci" }, data: Object.fromEntries(Object.entries(data).map(([field, text]) => [field, Buffer.from(text).toString("base64")])) };
}

describe("a new CacheServer", () => {
  test("gets its objects, keys and a status", async () => {
    world.addServer();
    await world.look();
    for (const kind of ["Deployment", "Service", "ConfigMap", "PersistentVolumeClaim", "ServiceAccount"]) expect(world.cluster.find(kind, "cache"), kind).toBeDefined();
    expect(world.secret("cache-keys", "admin-key")).toMatch(/^stow_admin_/);
    expect(world.condition("Ready")).toBe("False Starting");
    expect(world.events[0]).toMatch(/^Normal CreatedKeys /);
    expect(world.events[1]).toMatch(/^Normal Created .*Deployment\/cache/);
  });

  test("is Ready when its pods are, with endpoint, version, storage and usage", async () => {
    await world.running();
    expect([world.condition("Ready"), world.condition("Progressing"), world.condition("Degraded"), world.condition("StorageReady")]).toEqual(["True Available", "False UpToDate", "False AsExpected", "True Bound"]);
    expect(world.cluster.find("CacheServer", "cache")!["status"]).toMatchObject({
      observedGeneration: 1, replicas: 1, readyReplicas: 1, version: "0.1.0", storage: "50Gi", keysSecret: "cache-keys",
      endpoint: "http://cache.ci.svc.cluster.local:8420",
      selector: "app.kubernetes.io/name=stowhouse,app.kubernetes.io/instance=cache,app.kubernetes.io/component=server",
      usage: { bytes: 3 * 2 ** 30, size: "3 GiB", entries: 1200, hitRate: "87%" },
    });
  });
});

describe("a no-op reconcile writes nothing", () => {
  test("and sends no applies, with watched children", async () => {
    await world.running();
    for (let i = 0; i < 5; i++) {
      world.time += 31_000;
      await world.look();
    }
    const { calls, writes } = world.cluster.take();
    expect(writes).toEqual([]);
    expect(calls.filter((call) => !call.startsWith("get Secret/"))).toEqual([]);
  });

  test("nor without watchers, nor in a new process, nor after the full pass is due", async () => {
    await world.running();
    world.watched = false;
    await world.look();
    world.restart();
    await world.look();
    world.time += 15 * MINUTE;
    await world.look();
    expect(world.cluster.take().writes).toEqual([]);
    expect(world.events).toEqual([]);
  });

  test("nor while watchers lag behind what was written", async () => {
    world.addServer();
    world.freeze();
    await world.look();
    world.cluster.take();
    const told = world.events.length;
    world.time += 5_000;
    await world.look();
    world.freeze();
    world.cluster.edit("CacheServer", "cache", { spec: { replicas: 0 } });
    await world.look();
    expect([world.cluster.take().writes, world.events.length]).toEqual([[], told]);
  });

  test("usage that hardly changes is no reason to write; one that does is, once a minute at most", async () => {
    await world.running();
    world.time += 2 * MINUTE;
    world.server.stats = { ...world.server.stats, entries: 1201 };
    await world.look();
    expect(world.cluster.take().writes).toEqual([]);
    world.server.stats = { ...world.server.stats, entries: 2000 };
    await world.look();
    expect(world.cluster.take().writes).toEqual([]);
    world.time += 2 * MINUTE;
    await world.look();
    expect(world.cluster.take().writes).toEqual(["apply CacheServer/cache/status"]);
  });
});

describe("what others do to children comes back", () => {
  test("a deleted child", async () => {
    await world.running();
    for (const kind of ["Service", "ConfigMap", "ServiceAccount", "Deployment"]) {
      await world.cluster.remove(kind, "cache");
      await world.look();
      expect(world.cluster.find(kind, "cache"), kind).toBeDefined();
      expect(world.events.at(-1)).toContain(`Restored ${kind}/cache`);
      world.serve();
      world.time += 5 * MINUTE;
    }
  });

  test("an edited field, but not one that is none of ours", async () => {
    await world.running();
    world.cluster.edit("Deployment", "cache", { spec: { replicas: 5 } });
    await world.look();
    expect(world.cluster.find("Deployment", "cache")).toMatchObject({ spec: { replicas: 1 } });
    expect(world.events).toContain("Normal ScaledDown From 5 to 1 replicas.");
    world.cluster.edit("Service", "cache", { metadata: { annotations: { "example.com/theirs": "yes" } } });
    world.cluster.take();
    await world.look();
    expect(world.cluster.take().writes.filter((write) => write.includes("Service"))).toEqual([]);
    expect(world.cluster.find("Service", "cache")!.metadata.annotations).toMatchObject({ "example.com/theirs": "yes" });
  });

  test("a keys' Secret that lost a field gets a new one; what is there stays", async () => {
    await world.running();
    const admin = world.secret("cache-keys", "admin-key");
    world.cluster.edit("Secret", "cache-keys", { data: { "read-key": null } });
    await world.look();
    expect(world.secret("cache-keys", "read-key")).toMatch(/^stow_ro_/);
    expect(world.secret("cache-keys", "admin-key")).toBe(admin);
  });

  test("somebody who insists is named, and fought with growing pauses", async () => {
    await world.running();
    let applies = 0;
    for (let i = 0; i < 100; i++) {
      world.cluster.edit("Service", "cache", { spec: { type: "NodePort" } });
      await world.look();
      applies += world.cluster.take().writes.filter((write) => write === "apply Service/cache").length;
      world.time += 6_000;
    }
    expect(applies).toBeLessThan(15);
    expect(world.condition("Degraded")).toBe("True FieldConflict");
    world.time += 30 * MINUTE;
    await world.look();
    await world.look();
    world.time += 30 * MINUTE;
    await world.look();
    expect(world.condition("Degraded")).toBe("False AsExpected");
    expect(world.cluster.find("Service", "cache")).toMatchObject({ spec: { type: "ClusterIP" } });
  });
});

describe("what isn't wanted any more", () => {
  test("is removed; the claim never is", async () => {
    await world.running({ ingress: { hosts: ["cache.example.com"] }, monitoring: { serviceMonitor: { enabled: true } } });
    expect(world.cluster.find("Ingress", "cache")).toBeDefined();
    world.cluster.edit("CacheServer", "cache", { spec: { ingress: null, monitoring: { serviceMonitor: { enabled: false } }, storage: { persistentVolume: { existingClaim: "other" } } } });
    await world.look();
    expect(world.cluster.find("Ingress", "cache")).toBeUndefined();
    expect(world.cluster.find("ServiceMonitor", "cache")).toBeUndefined();
    expect(world.cluster.find("PersistentVolumeClaim", "cache")).toBeDefined();
    expect(world.events.join()).toContain("Removed Ingress/cache");
    expect(world.condition("StorageReady")).toBe("False ClaimMissing");
  });

  test("isn't looked for among objects of others", async () => {
    const theirs = { apiVersion: "networking.k8s.io/v1", kind: "Ingress", metadata: { name: "theirs", namespace: "ci", labels: { "app.kubernetes.io/managed-by": "stowhouse-operator", "app.kubernetes.io/instance": "cache" } } };
    world.cluster.put(theirs);
    await world.running();
    expect(world.cluster.find("Ingress", "theirs")).toBeDefined();
  });
});

describe("names that are taken", () => {
  test("a Deployment of somebody else's is left alone", async () => {
    world.cluster.put({ apiVersion: "apps/v1", kind: "Deployment", metadata: { name: "cache", namespace: "ci" }, spec: { replicas: 7 }, status: { readyReplicas: 7 } });
    world.addServer();
    await world.look();
    expect(world.cluster.find("Deployment", "cache")).toMatchObject({ spec: { replicas: 7 } });
    expect([world.condition("Ready"), world.condition("Degraded")]).toEqual(["False Blocked", "True NameTaken"]);
    expect(world.message("Degraded")).toContain("Deployment/cache");
    await world.cluster.remove("Deployment", "cache");
    await world.look();
    expect(world.condition("Degraded")).toBe("False AsExpected");
  });

  test("a Secret of somebody else's gets no keys of ours", async () => {
    world.cluster.put(secret("cache-keys", { password: "theirs" }));
    world.addServer();
    await world.look();
    expect(world.secret("cache-keys", "admin-key")).toBeUndefined();
    expect(world.condition("Degraded")).toBe("True NameTaken");
  });

  test("children of a server of the same name that is being collected are waited for", async () => {
    world.addServer();
    await world.look();
    const old = world.cluster.find("Service", "cache")!;
    await world.cluster.remove("CacheServer", "cache");
    world.addServer();
    world.cluster.put({ ...old, metadata: { ...old.metadata } });
    const { after } = await world.look();
    expect(world.cluster.find("Service", "cache")!.metadata.ownerReferences).toEqual(old.metadata.ownerReferences);
    expect(after).toBeLessThanOrEqual(6_000);
    await world.cluster.remove("Service", "cache");
    await world.look();
    expect(world.cluster.find("Service", "cache")!.metadata.ownerReferences![0]!.uid).toBe(world.cluster.find("CacheServer", "cache")!.metadata.uid);
  });
});

describe("deletion", () => {
  test("with Retain the claim stays, all else goes; the next server of that name takes it over", async () => {
    await world.running();
    await world.cluster.remove("CacheServer", "cache");
    expect(["Deployment", "Service", "Secret", "PersistentVolumeClaim"].map((kind) => world.cluster.all(kind).length)).toEqual([0, 0, 0, 1]);
    await world.running();
    expect(world.condition("StorageReady")).toBe("True Bound");
  });

  test("with Delete it goes; also when that is chosen later, and not when it is taken back", async () => {
    await world.running();
    const policy = async (deletionPolicy: string) => {
      world.cluster.edit("CacheServer", "cache", { spec: { storage: { deletionPolicy } } });
      await world.look();
      return world.cluster.find("PersistentVolumeClaim", "cache")!.metadata.ownerReferences ?? [];
    };
    expect(await policy("Delete")).toHaveLength(1);
    expect(await policy("Retain")).toHaveLength(0);
    expect(await policy("Delete")).toHaveLength(1);
    await world.cluster.remove("CacheServer", "cache");
    expect(world.cluster.all("PersistentVolumeClaim")).toEqual([]);
  });

  test("nothing is made for a server that is on its way out", async () => {
    world.addServer();
    world.cluster.edit("CacheServer", "cache", { metadata: { deletionTimestamp: "2026-03-01T00:00:00Z", finalizers: ["foregroundDeletion"] } });
    await world.look();
    expect(world.cluster.take().calls).toEqual([]);
  });
});

describe("a Secret that is missing", () => {
  test("is named with the field that wants it, holds the pods back, and is found within 30 s", async () => {
    world.addServer(S3);
    const { after } = await world.look();
    expect(after).toBeLessThanOrEqual(36_000);
    expect(world.condition("Degraded")).toBe("True SecretMissing");
    expect(world.message("Degraded")).toContain("Secret/database, which spec.database.urlSecret needs");
    expect(world.message("Degraded")).toContain("Secret/bucket, which spec.storage.s3.credentialsSecret needs");
    expect(world.condition("StorageReady")).toBe("False CredentialsMissing");
    expect(world.cluster.find("Deployment", "cache")).toBeUndefined();
    expect(world.events.filter((event) => event.startsWith("Warning SecretMissing"))).toHaveLength(1);

    world.cluster.put(secret("database", { url: "postgres://db/cache" }));
    world.cluster.put(secret("bucket", { accessKeyId: "id" }));
    await world.look();
    expect(world.condition("Degraded")).toBe("True SecretFieldMissing");
    expect(world.message("Degraded")).toContain("no field secretAccessKey");
    world.cluster.put(secret("bucket", { accessKeyId: "id", secretAccessKey: "s" }));
    await world.look();
    expect([world.condition("Degraded"), world.condition("StorageReady")]).toEqual(["False AsExpected", "True ObjectStorage"]);
    expect(world.cluster.find("Deployment", "cache")).toBeDefined();
  });

  test("doesn't stop what runs", async () => {
    world.cluster.put(secret("database", { url: "postgres://db/cache" }));
    world.cluster.put(secret("bucket", { accessKeyId: "id", secretAccessKey: "s" }));
    await world.running({ ...S3, replicas: 2 });
    await world.cluster.remove("Secret", "bucket");
    await world.look();
    expect(world.cluster.find("Deployment", "cache")).toMatchObject({ spec: { replicas: 2 } });
    expect([world.condition("Ready"), world.condition("Degraded")]).toEqual(["True Available", "True SecretMissing"]);
  });
});

describe("keys", () => {
  test("rotate once for each value of the annotation; the old ones work until the overlap ends", async () => {
    await world.running();
    const old = world.secret("cache-keys", "admin-key");
    world.cluster.edit("CacheServer", "cache", { metadata: { annotations: { "stowhouse.dev/rotate-keys": "1" } } });
    await world.look();
    const [fresh, second] = world.secret("cache-keys", "admin-key")!.split("\n");
    expect([second, fresh === old]).toEqual([old, false]);
    expect(world.events.filter((event) => event.includes("RotatedKeys"))).toHaveLength(1);
    world.time += MINUTE;
    await world.look();
    expect(world.secret("cache-keys", "admin-key")).toBe(`${fresh}\n${old}`);
    world.time += 24 * 60 * MINUTE;
    await world.look();
    expect(world.secret("cache-keys", "admin-key")).toBe(fresh);
    expect(world.cluster.take().writes.filter((write) => write.includes("Secret"))).toHaveLength(2);
  });

  test("the operator reaches a server that hasn't seen the new key yet", async () => {
    await world.running();
    world.server.adminKeys = [world.secret("cache-keys", "admin-key")!];
    world.cluster.edit("CacheServer", "cache", { metadata: { annotations: { "stowhouse.dev/rotate-keys": "1" } } });
    world.time += 2 * MINUTE;
    world.server.stats = { ...world.server.stats, entries: 9000 };
    await world.look();
    expect(world.cluster.find("CacheServer", "cache")).toMatchObject({ status: { usage: { entries: 9000 } } });
  });

  test("of two operators that make them at once, one does", async () => {
    world.addServer();
    world.cluster.faults.push({ verb: "create", kind: "Secret", error: refusal(409, "AlreadyExists", "exists"), times: 1 });
    const { after } = await world.look();
    expect(after).toBeLessThan(1_000);
    await world.look();
    expect(world.condition("Degraded")).toBe("False AsExpected");
  });
});

describe("what the API server refuses", () => {
  test("a child that may not even be looked at is named as well", async () => {
    world.cluster.faults.push({ verb: "get", kind: "Service", error: refusal(403, "Forbidden", "services is forbidden") });
    world.addServer();
    await world.look();
    expect(world.condition("Degraded")).toBe("True Forbidden");
    expect(world.message("Degraded")).toContain("Service/cache: services is forbidden");
    world.cluster.take();
    // Looks for other reasons don't count as failures, or it would take longer and longer to come back.
    for (let i = 0; i < 20; i++) await world.look();
    expect(world.cluster.take().calls.filter((call) => call === "get Service/cache")).toEqual([]);
    world.cluster.faults.length = 0;
    world.time += 10_000;
    await world.look();
    expect(world.condition("Degraded")).toBe("False AsExpected");
  });

  test("one child that is denied is named and doesn't hold up the others, nor loop", async () => {
    world.cluster.faults.push({ verb: "apply", kind: "Ingress", error: refusal(403, "Forbidden", "ingresses is forbidden") });
    world.addServer({ ingress: { hosts: ["cache.example.com"] } });
    await world.look();
    world.serve();
    for (let i = 0; i < 60; i++) {
      world.time += 10_000;
      await world.look();
    }
    expect([world.condition("Ready"), world.condition("Degraded")]).toEqual(["True Available", "True Forbidden"]);
    expect(world.message("Degraded")).toContain("Ingress/cache: ingresses is forbidden");
    expect(world.cluster.take().calls.filter((call) => call === "apply Ingress/cache").length).toBeLessThan(10);
    expect(world.events.filter((event) => event.includes("Forbidden"))).toHaveLength(1);
    world.cluster.faults.length = 0;
    world.time += 5 * MINUTE;
    await world.look();
    expect(world.condition("Degraded")).toBe("False AsExpected");
  });

  test("an invalid object is named; a spec that changes is tried at once", async () => {
    world.cluster.faults.push({ verb: "apply", kind: "Deployment", error: refusal(422, "Invalid", "spec.template.spec.priorityClassName: not found"), times: 1 });
    world.addServer();
    await world.look();
    expect([world.condition("Ready"), world.condition("Progressing"), world.condition("Degraded")]).toEqual(["False Blocked", "False Blocked", "True ApplyRefused"]);
    world.cluster.edit("CacheServer", "cache", { spec: { replicas: 0 } });
    await world.look();
    expect(world.condition("Degraded")).toBe("False AsExpected");
    expect(world.condition("Ready")).toBe("False ScaledToZero");
  });

  test("trouble of the API server itself is for the queue to wait out", async () => {
    world.addServer();
    world.cluster.faults.push({ verb: "apply", kind: "ConfigMap", error: refusal(503, "ServiceUnavailable", "later"), times: 1 });
    await expect(world.look()).rejects.toThrow("later");
    await world.look();
    expect(world.cluster.find("Deployment", "cache")).toBeDefined();
  });
});

describe("a spec that contradicts itself", () => {
  test("is named and changes nothing; what runs goes on", async () => {
    await world.running();
    world.cluster.edit("CacheServer", "cache", { spec: { eviction: { highWater: "50%", lowWater: "80%" } } });
    await world.look();
    expect([world.condition("Ready"), world.condition("Progressing"), world.condition("Degraded")]).toEqual(["True Available", "False Blocked", "True InvalidConfig"]);
    expect(world.message("Degraded")).toContain("spec.eviction");
    expect(world.cluster.take().writes).toEqual(["apply CacheServer/cache/status"]);
    expect(world.events).toHaveLength(1);
  });
});

describe("storage", () => {
  test("a class that forbids growing is told, once, and the rest goes on", async () => {
    await world.running();
    world.cluster.faults.push({ verb: "apply", kind: "PersistentVolumeClaim", error: refusal(403, "Forbidden", "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize") });
    world.cluster.edit("CacheServer", "cache", { spec: { storage: { persistentVolume: { size: "100Gi" } } } });
    await world.look();
    await world.look();
    expect(world.condition("StorageReady")).toBe("False ClassForbidsExpansion");
    expect(world.events.filter((event) => event.startsWith("Warning ResizeFailed"))).toHaveLength(1);
    expect(world.condition("Ready")).toBe("True Available");
  });

  test("a volume that grows is pending until it has grown", async () => {
    await world.running();
    world.cluster.edit("CacheServer", "cache", { spec: { storage: { persistentVolume: { size: "100Gi" } } } });
    await world.look();
    expect(world.condition("StorageReady")).toBe("False ResizePending");
    world.serve();
    await world.look();
    expect(world.condition("StorageReady")).toBe("True Bound");
    expect(world.cluster.find("CacheServer", "cache")).toMatchObject({ status: { storage: "100Gi" } });
  });
});

describe("APIs that a cluster lacks", () => {
  test("monitoring is skipped with a condition that says how to get it, and follows when it comes", async () => {
    world.capabilities = { serviceMonitor: false, prometheusRule: false, httpRoute: false, certificate: false };
    await world.running({ monitoring: { serviceMonitor: { enabled: true }, prometheusRule: { enabled: true } } });
    expect(world.condition("MonitoringReady")).toBe("False MonitoringUnavailable");
    expect(world.message("MonitoringReady")).toContain("Prometheus Operator");
    expect(world.condition("Degraded")).toBe("False AsExpected");
    world.capabilities = { ...world.capabilities, serviceMonitor: true, prometheusRule: true };
    await world.look();
    expect(world.condition("MonitoringReady")).toBe("True Created");
  });

  test("a route that can't be made is a lack, not a detail", async () => {
    world.capabilities = { ...world.capabilities, httpRoute: false };
    await world.running({ httpRoute: { parentRefs: [{ name: "public" }], hostnames: ["cache.example.com"] } });
    expect(world.condition("Degraded")).toBe("True APIMissing");
    expect(world.message("Degraded")).toContain("Gateway API");
  });
});

describe("a paused server", () => {
  test("is looked at and not touched", async () => {
    await world.running();
    world.cluster.edit("CacheServer", "cache", { metadata: { annotations: { "stowhouse.dev/reconcile": "disabled", "stowhouse.dev/rotate-keys": "2" } }, spec: { replicas: 0 } });
    await world.cluster.remove("Service", "cache");
    await world.look();
    expect(world.cluster.take().writes).toEqual(["apply CacheServer/cache/status"]);
    expect([world.condition("Progressing"), world.condition("Ready")]).toEqual(["Unknown Paused", "True Available"]);
    world.cluster.edit("CacheServer", "cache", { metadata: { annotations: null } });
    await world.look();
    expect(world.cluster.find("Service", "cache")).toBeDefined();
  });
});

describe("a server that doesn't answer the operator", () => {
  test("is told after some tries, asked less and less, and forgotten when it answers", async () => {
    await world.running();
    world.server.away = true;
    for (let i = 0; i < 10; i++) {
      world.time += MINUTE;
      await world.look();
    }
    expect([world.condition("Ready"), world.condition("Degraded")]).toEqual(["True Available", "True ServerUnreachable"]);
    world.server.away = false;
    world.time += 15 * MINUTE;
    await world.look();
    expect(world.condition("Degraded")).toBe("False AsExpected");
    expect(world.events.at(-1)).toBe("Normal Recovered No longer ServerUnreachable.");
  });
});
