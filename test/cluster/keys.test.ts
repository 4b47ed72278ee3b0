import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Toolkit } from "../fixtures/toolkit.ts";
import { NipClient, type Target } from "../fixtures/wire-clients.ts";
import { condition, create, freshNamespace, get, gone, patch, reaches, remove, type Thing } from "./cluster.ts";
import { installChart, uninstallChart } from "./helm.ts";
import { until } from "./rig/processes.ts";
import { cacheKey, cacheServer, serve, target } from "./servers.ts";

/** CacheKeys: teams get keys by asking the cluster, as far as a server's `access` goes. */

let operator: string;
let namespace: string;
let team: string;
let server: Thing;
let writer: NipClient;
const body = new Uint8Array(randomBytes(50_000));

beforeAll(async () => {
  operator = await freshNamespace("operator");
  namespace = await freshNamespace("keys");
  team = await freshNamespace("team");
  await installChart("stowhouse-operator", "operator", operator);
  server = (await serve(cacheServer(namespace, "cache"))).server;
  writer = new NipClient(await target(server));
  expect((await writer.put("feedface", body, { name: "vim" })).status).toBeLessThan(300);
});
afterAll(() => uninstallChart("operator", operator));

const field = (found: Thing, name: string) => Buffer.from(found["data"][name] as string, "base64").toString("utf8");

/** What the key's Secret says to a client. */
async function given(where: string, name: string): Promise<Target> {
  const found = await until("the key's Secret is there", 30, () => get("Secret", where, name));
  return { url: field(found, "STOWHOUSE_SERVER"), key: field(found, "STOWHOUSE_TOKEN") };
}

test("a key in the server's own namespace reads, and its Secret has it in every form tools take", async () => {
  await create(cacheKey(namespace, "reader", "cache"));
  await reaches("CacheKey", namespace, "reader", "Ready", "True", 60);
  const nip = new NipClient(await given(namespace, "reader"));
  const found = await get("Secret", namespace, "reader");
  expect(Object.keys(found!["data"])).toEqual(expect.arrayContaining(["STOWHOUSE_SERVER", "STOWHOUSE_TOKEN", "netrc", "bazelrc"]));
  expect((await nip.get("feedface")).body.equals(Buffer.from(body))).toBe(true);
  expect((await nip.put("feedface", body, { name: "vim" })).status).toBe(403);
  const { url, key } = await given(namespace, "reader");
  const job = await Toolkit.checkout("6", { ACTIONS_RESULTS_URL: `${url}/`, ACTIONS_RUNTIME_TOKEN: key });
  expect((await job.restore("deps", "never")).error).toBeUndefined();
  job.remove();
});

test("a deleted key is refused at once, and its Secret is gone", async () => {
  const old = await given(namespace, "reader");
  await remove("CacheKey", namespace, "reader");
  await gone("CacheKey", namespace, "reader");
  await gone("Secret", namespace, "reader");
  await until("the key is refused", 10, async () => (await new NipClient(old).get("feedface")).status === 401);
});

test("more than the server's access allows is refused, and says what", async () => {
  await create(cacheKey(namespace, "greedy", "cache", { permission: "write" }));
  const refused = await reaches("CacheKey", namespace, "greedy", "Refused", "True", 60, "PermissionNotAllowed");
  expect(condition(refused, "Refused")!.message).toMatch(/write/);
  await create(cacheKey(team, "stranger", "cache", { serverRef: { name: "cache", namespace } }));
  await reaches("CacheKey", team, "stranger", "Refused", "True", 60, "NamespaceNotAllowed");
  expect([await get("Secret", namespace, "greedy"), await get("Secret", team, "stranger")]).toEqual([undefined, undefined]);
});

test("another namespace gets what access grants it, until access is narrowed", async () => {
  const selector = { matchLabels: { "kubernetes.io/metadata.name": team } };
  await patch("CacheServer", namespace, "cache", { spec: { access: [{ namespaceSelector: selector, caches: ["default"], permissions: ["read", "write"], scopes: ["team:*"] }] } });
  await create(cacheKey(team, "builds", "cache", { serverRef: { name: "cache", namespace }, permission: "write", scope: "team:builds" }));
  await reaches("CacheKey", team, "builds", "Ready", "True", 60);
  await reaches("CacheKey", team, "stranger", "Ready", "True", 60);
  const nip = new NipClient(await given(team, "builds"));
  expect((await nip.put("cafebabe", body, { name: "emacs" })).status).toBeLessThan(300);
  expect((await nip.get("feedface")).status, "another scope's entry").toBe(404);

  await patch("CacheServer", namespace, "cache", { spec: { access: [{ namespaceSelector: selector, caches: ["default"], permissions: ["read"], scopes: [] }] } });
  await reaches("CacheKey", team, "builds", "Refused", "True", 60);
  await until("the key is refused", 10, async () => (await nip.get("cafebabe")).status === 401);
  await until("the Secret holds no key any more", 10, async () => (await given(team, "builds")).key === "");
  expect(condition(await get("CacheKey", team, "stranger"), "Ready")?.status).toBe("True");
});

test("a Secret that is deleted or edited is made anew, and what was in it dies", async () => {
  const old = await given(team, "stranger");
  await remove("Secret", team, "stranger");
  const fresh = await until("another key is there", 90, async () => {
    const now = await get("Secret", team, "stranger");
    return now !== undefined && field(now, "STOWHOUSE_TOKEN") !== old.key ? field(now, "STOWHOUSE_TOKEN") : undefined;
  });
  expect((await new NipClient({ url: old.url, key: fresh }).get("feedface")).status).toBe(200);
  await until("the lost key is refused", 30, async () => (await new NipClient(old).get("feedface")).status === 401);
});

test("a key is rotated, and the one before works until the overlap ends", async () => {
  await create(cacheKey(team, "rotating", "cache", { serverRef: { name: "cache", namespace }, rotation: { every: "20s", overlap: "10s" } }));
  await reaches("CacheKey", team, "rotating", "Ready", "True", 60);
  const first = await given(team, "rotating");
  const second = await until("a second key is there", 60, async () => {
    const now = await given(team, "rotating");
    return now.key === first.key ? undefined : now;
  });
  expect((await new NipClient(second).get("feedface")).status).toBe(200);
  expect((await new NipClient(first).get("feedface")).status, "within the overlap").toBe(200);
  await until("the first is refused", 60, async () => (await new NipClient(first).get("feedface")).status === 401);
  await remove("CacheKey", team, "rotating");
});

test("keys die with their server's resource, and their resources say so", async () => {
  await remove("CacheServer", namespace, "cache");
  await reaches("CacheKey", team, "stranger", "Ready", "False", 90, "ServerMissing");
  await remove("CacheKey", team, "stranger");
  await gone("CacheKey", team, "stranger", 60);
});
