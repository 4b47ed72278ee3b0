import { beforeAll, describe, expect, test } from "vitest";
import { apply, create, freshNamespace, get, list, patch, request, type Thing } from "../cluster/cluster.ts";
import { installDefinitions } from "../cluster/definitions.ts";
import { PROXY } from "../cluster/rig/control-plane.ts";

/** What the API server makes of our definitions, before any operator runs. */

let namespace: string;
let made = 0;

beforeAll(async () => {
  await installDefinitions();
  namespace = await freshNamespace("definitions");
});

const named = (kind: "CacheServer" | "CacheKey", spec: object): Thing => ({ apiVersion: "stowhouse.dev/v1alpha1", kind, metadata: { namespace, name: `one-${++made}` }, spec });
const server = (spec: object) => named("CacheServer", spec);
const key = (spec: object) => named("CacheKey", { serverRef: { name: "cache" }, ...spec });

const S3 = { type: "S3", s3: { bucket: "builds" } };
const POSTGRES = { type: "PostgreSQL", urlSecret: { name: "database" } };

test("the definitions are structural, without any complaint", async () => {
  const found = (await list("CustomResourceDefinition")).filter((one) => one["spec"].group === "stowhouse.dev");
  expect(found.map((one) => one.metadata.name).toSorted()).toEqual(["cachekeys.stowhouse.dev", "cacheservers.stowhouse.dev"]);
  for (const { status } of found) {
    const conditions = Object.fromEntries(status.conditions.map((one: { type: string; status: string }) => [one.type, one.status]));
    expect(conditions).toMatchObject({ Established: "True", NamesAccepted: "True" });
    expect(conditions["NonStructuralSchema"]).toBeUndefined();
  }
});

test("an empty spec is enough, and the cluster fills in what it means", async () => {
  const { spec } = await create(server({}));
  expect(spec).toMatchObject({
    replicas: 1, storage: { type: "PersistentVolume", deletionPolicy: "Retain", persistentVolume: { accessMode: "ReadWriteOnce" } }, database: { type: "SQLite" },
    service: { type: "ClusterIP", port: 8420 }, networkPolicy: { enabled: true },
  });
});

test("kubectl explains every field", async () => {
  const schema = await request("GET", "/openapi/v3/apis/stowhouse.dev/v1alpha1");
  const nameless: string[] = [];
  const walk = (part: Thing, path: string) => {
    for (const [name, field] of Object.entries((part["properties"] ?? {}) as Record<string, Thing>)) {
      if (!("description" in field) && !("allOf" in field)) nameless.push(`${path}.${name}`);
      walk(field, `${path}.${name}`);
    }
    if (part["items"] !== undefined) walk(part["items"], `${path}[]`);
    if (typeof part["additionalProperties"] === "object") walk(part["additionalProperties"], `${path}.*`);
  };
  for (const kind of ["CacheServer", "CacheKey"]) walk(schema["components"].schemas[`dev.stowhouse.v1alpha1.${kind}`].properties.spec, kind);
  expect(nameless).toEqual([]);
});

test("scale is a subresource, as autoscalers and kubectl scale use it", async () => {
  const { metadata } = await create(server({ replicas: 0 }));
  const place = `/apis/stowhouse.dev/v1alpha1/namespaces/${namespace}/cacheservers/${metadata.name}/scale`;
  expect((await request("GET", place))["spec"]).toEqual({});
  await request("PATCH", place, { spec: { replicas: 1 } }, "application/merge-patch+json");
  expect((await get("CacheServer", namespace, metadata.name))!["spec"].replicas).toBe(1);
});

test("kubectl get csrv shows how a server is", async () => {
  const { metadata } = await create(server({}));
  const { resources } = await request("GET", "/apis/stowhouse.dev/v1alpha1");
  expect(resources.find(({ name }: { name: string }) => name === "cacheservers").shortNames).toEqual(["csrv"]);
  const condition = { type: "Ready", status: "True", reason: "Available", message: "It serves.", lastTransitionTime: "2026-01-01T00:00:00Z", observedGeneration: 1 };
  await patch("CacheServer", namespace, metadata.name, { status: { readyReplicas: 1, endpoint: "http://one:8420", storage: "50Gi", version: "1.2.3", conditions: [condition] } }, "/status");
  const table = (await (await fetch(`${PROXY}/apis/stowhouse.dev/v1alpha1/namespaces/${namespace}/cacheservers/${metadata.name}`, { headers: { accept: "application/json;as=Table;v=v1;g=meta.k8s.io" } })).json()) as {
    columnDefinitions: { name: string; priority: number }[]; rows: { cells: unknown[] }[];
  };
  const row = Object.fromEntries(table.columnDefinitions.map(({ name }, index) => [name, table.rows[0]!.cells[index]]));
  expect(table.columnDefinitions.filter(({ priority }) => priority === 0).map(({ name }) => name)).toEqual(["Name", "Ready", "Replicas", "Storage", "Endpoint", "Version", "Age"]);
  expect(row).toMatchObject({ Ready: "True", Storage: "50Gi", Endpoint: "http://one:8420", Version: "1.2.3" });
});

describe("a wrong resource is refused, and the message names the field:", () => {
  test.each<[why: string, object: () => Thing, message: RegExp]>([
    ["a field that doesn't exist", () => server({ replicaz: 2 }), /\.spec\.replicaz: field not declared in schema|unknown field "spec\.replicaz"/],
    ["a size in no unit", () => server({ storage: { persistentVolume: { size: "fifty" } } }), /spec\.storage\.persistentVolume\.size/],
    ["two replicas on one volume", () => server({ replicas: 2 }), /spec\.replicas.*needs/],
    ["two replicas with S3 and SQLite", () => server({ replicas: 2, storage: S3 }), /spec\.replicas.*needs database\.type PostgreSQL/],
    ["two replicas with PostgreSQL and one volume", () => server({ replicas: 2, database: POSTGRES }), /spec\.replicas.*needs storage\.type S3/],
    ["an autoscaler on one volume", () => server({ autoscaling: { maxReplicas: 3 } }), /spec\.autoscaling.*needs/],
    ["an autoscaler upside down", () => server({ storage: S3, database: POSTGRES, autoscaling: { minReplicas: 4, maxReplicas: 3 } }), /spec\.autoscaling\.minReplicas/],
    ["S3 without a bucket", () => server({ storage: { type: "S3" } }), /spec\.storage\.s3/],
    ["a bucket on a volume", () => server({ storage: { s3: { bucket: "builds" } } }), /spec\.storage\.s3/],
    ["PostgreSQL without its URL", () => server({ database: { type: "PostgreSQL" } }), /spec\.database\.urlSecret/],
    ["an unknown storage", () => server({ storage: { type: "Tape" } }), /spec\.storage\.type.*Tape/],
    ["TLS from nowhere", () => server({ tls: {} }), /spec\.tls\.secretName/],
    ["TLS from two places", () => server({ tls: { secretName: "one", issuerRef: { name: "two" } } }), /spec\.tls\.secretName/],
    ["a cache in capitals", () => server({ caches: { Builds: {} } }), /spec\.caches/],
    ["a quota in no unit", () => server({ caches: { default: { quota: "much" } } }), /spec\.caches\.default\.quota|spec\.caches\[default\]\.quota/],
    ["a rule that trusts a name", () => server({ auth: { github: { rules: [{ repository: "acme/app", cache: "default" }] } } }), /spec\.auth\.github\.rules\[0\]\.repositoryId/],
    ["a level of the log that doesn't exist", () => server({ log: { level: "loud" } }), /spec\.log\.level/],
    ["a port out of range", () => server({ service: { port: 70_000 } }), /spec\.service\.port/],
    ["an Ingress without hosts", () => server({ ingress: { hosts: [] } }), /spec\.ingress\.hosts/],
    ["a digest that is none", () => server({ image: { digest: "sha256:abc" } }), /spec\.image\.digest/],
    ["a key for no server", () => named("CacheKey", {}), /spec\.serverRef/],
    ["a key that may do all", () => key({ permission: "admin" }), /spec\.permission.*admin/],
    ["a key for no cache", () => key({ caches: [] }), /spec\.caches/],
    ["a key with a scope that is a bare ref", () => key({ scope: "main" }), /spec\.scope/],
    ["a key that expires in no unit", () => key({ expiresAfter: "soon" }), /spec\.expiresAfter/],
  ])("%s", async (_why, object, message) => {
    await expect(create(object())).rejects.toThrow(message);
    await expect(apply(object())).rejects.toThrow(message);
  });
});

describe("what can't be changed is refused:", () => {
  test.each<[what: string, before: object, change: object, message: RegExp]>([
    ["the storage", {}, { storage: S3 }, /spec\.storage\.type.*can't be changed/],
    ["the database", {}, { database: POSTGRES }, /spec\.database\.type.*can't be changed/],
    ["the storage class", {}, { storage: { persistentVolume: { storageClassName: "fast" } } }, /spec\.storage\.persistentVolume\.storageClassName.*can't be changed/],
    ["how a volume is mounted", {}, { storage: { persistentVolume: { accessMode: "ReadWriteMany" } } }, /spec\.storage\.persistentVolume\.accessMode.*can't be changed/],
    ["a volume to a smaller one", { storage: { persistentVolume: { size: "20Gi" } } }, { storage: { persistentVolume: { size: "10Gi" } } }, /spec\.storage\.persistentVolume\.size.*can't shrink/],
  ])("%s", async (_what, before, change, message) => {
    const { metadata } = await create(server(before));
    await expect(patch("CacheServer", namespace, metadata.name, { spec: change })).rejects.toThrow(message);
  });

  test("a key's server and its Secret", async () => {
    const { metadata } = await create(key({ secretName: "one" }));
    await expect(patch("CacheKey", namespace, metadata.name, { spec: { serverRef: { name: "another" } } })).rejects.toThrow(/spec\.serverRef.*can't be changed/);
    await expect(patch("CacheKey", namespace, metadata.name, { spec: { secretName: "two" } })).rejects.toThrow(/spec\.secretName.*can't be changed/);
  });
});

test("a volume may grow", async () => {
  const { metadata } = await create(server({ storage: { persistentVolume: { size: "9Gi" } } }));
  const { spec } = await patch("CacheServer", namespace, metadata.name, { spec: { storage: { persistentVolume: { size: "10Gi" } } } });
  expect(spec.storage.persistentVolume.size).toBe("10Gi");
});
