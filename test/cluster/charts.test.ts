import { randomBytes } from "node:crypto";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { NipClient } from "../fixtures/wire-clients.ts";
import { freshNamespace, get, gone, list, reaches, trouble, type Thing } from "./cluster.ts";
import { installChart, runHelm, uninstallChart } from "./helm.ts";
import { until } from "./rig/processes.ts";
import { cacheServer, serve, target } from "./servers.ts";

/** The charts, installed by helm as a user installs them. */

const field = (found: Thing | undefined, name: string) => Buffer.from(found?.["data"][name] as string, "base64").toString("utf8").trim();
const body = new Uint8Array(randomBytes(100_000));

describe("the server's chart", () => {
  let namespace: string;

  beforeAll(async () => {
    namespace = await freshNamespace("chart");
    const began = performance.now();
    await installChart("stowhouse", "cache", namespace, { fullnameOverride: "cache", "persistence.size": "2Gi" }).catch(async (error: unknown) => {
      throw new Error(`${String(error)}\n${await trouble(namespace)}`);
    });
    console.log(`helm install of a server took ${((performance.now() - began) / 1000).toFixed(1)} s`);
  });

  const client = async () => {
    const secrets = await list("Secret", namespace);
    const keys = secrets.find(({ data }) => data?.["write-key"] !== undefined);
    return new NipClient({ url: `http://cache.${namespace}.svc:8420`, key: field(keys, "write-key") });
  };

  test("serves clients, and passes its own test", async () => {
    const nip = await client();
    await until("the Service answers", 30, async () => (await nip.get("feedface")).status === 404);
    expect((await nip.put("feedface", body, { name: "vim" })).status).toBeLessThan(300);
    expect(await runHelm("test", "cache", "--namespace", namespace, "--timeout", "90s")).toMatch(/Phase:\s+Succeeded/);
  });

  test("keeps keys and entries over an upgrade", async () => {
    const before = await client();
    await installChart("stowhouse", "cache", namespace, { fullnameOverride: "cache", "persistence.size": "2Gi", "config.caches": { default: { quota: "100MiB" } } });
    await until("it serves the entry", 60, async () => (await before.get("feedface").catch(() => undefined))?.status === 200);
  });

  test("names the value that is wrong", async () => {
    await expect(installChart("stowhouse", "wrong", namespace, { replicaCount: -1 })).rejects.toThrow(/replicaCount/);
    await expect(installChart("stowhouse", "wrong", namespace, { replicas: 2 })).rejects.toThrow(/replicas/);
    await expect(installChart("stowhouse", "wrong", namespace, { "config.caches": { default: { quota: "much" } } })).rejects.toThrow(/quota/);
  });

  test("leaves nothing but keys and volume behind", async () => {
    await uninstallChart("cache", namespace);
    await gone("Deployment", namespace, "cache");
    await gone("Service", namespace, "cache");
    expect((await list("PersistentVolumeClaim", namespace)).length).toBe(1);
  });
});

describe("the operator's chart", () => {
  /** As it was when its definitions were first accepted by a real cluster. */
  const EARLIER = path.join(import.meta.dirname, "earlier", "stowhouse-operator-0.1.0.tgz");
  let operator: string;
  let namespace: string;

  beforeAll(async () => {
    operator = await freshNamespace("operator");
    namespace = await freshNamespace("upgraded");
  });
  afterAll(() => uninstallChart("operator", operator));

  test("takes over what the chart of an earlier commit made, with its servers and their entries", async () => {
    await installChart("stowhouse-operator", "operator", operator, {}, EARLIER);
    const { server } = await serve(cacheServer(namespace, "cache"));
    const nip = new NipClient(await target(server));
    expect((await nip.put("feedface", body, { name: "vim" })).status).toBeLessThan(300);
    const claim = await get("PersistentVolumeClaim", namespace, "cache");

    await installChart("stowhouse-operator", "operator", operator);
    expect(await runHelm("history", "operator", "--namespace", operator)).toMatch(/2\s.*deployed/);
    await reaches("CacheServer", namespace, "cache", "Ready", "True");
    expect((await nip.get("feedface")).body.equals(Buffer.from(body))).toBe(true);
    expect((await get("PersistentVolumeClaim", namespace, "cache"))!.metadata["uid"]).toBe(claim!.metadata["uid"]);
  });

  test("passes its own test", async () => {
    expect(await runHelm("test", "operator", "--namespace", operator, "--timeout", "90s")).toMatch(/Phase:\s+Succeeded/);
  });

  test("goes away without taking servers and definitions along", async () => {
    await uninstallChart("operator", operator);
    expect((await list("CustomResourceDefinition")).filter(({ spec }) => spec.group === "stowhouse.dev").length).toBe(2);
    expect((await get("Deployment", namespace, "cache"))!["status"].readyReplicas).toBe(1);
    await installChart("stowhouse-operator", "operator", operator);
    await reaches("CacheServer", namespace, "cache", "Ready", "True");
  });
});
