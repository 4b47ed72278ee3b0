import { Agent } from "node:http";
import { afterEach, beforeEach, expect, test } from "vitest";
import { ApiServer } from "../test/fixtures/api-server.ts";
import { KubeError } from "./kube-error.ts";
import { Kube } from "./kube.ts";
import type { KubeObject } from "./object.ts";

const TYPE = { apiVersion: "v1", kind: "ConfigMap" };
const map = (name: string, more: Partial<KubeObject["metadata"]> = {}, data = {}): KubeObject => ({ ...TYPE, metadata: { namespace: "a", name, ...more }, data });
const ref = (name: string) => ({ ...TYPE, namespace: "a", name });

let server: ApiServer;
let agent: Agent;
let token = "old";
let tokensRead = 0;
let codes: string[];
const connect = async (fresh = false) => {
  if (fresh) {
    tokensRead++;
    token = "new";
  }
  return { url: new URL(server.url), agent, headers: { authorization: `Bearer ${token}` } };
};
const kube = (timeout = 5_000) => new Kube({ connect, timeout, onRequest: (verb, kind, code) => void codes.push(`${verb} ${kind} ${code}`) });
const failure = (promise: Promise<unknown>) => promise.then(() => expect.unreachable(), (error: unknown) => error as KubeError);

beforeEach(async () => {
  server = await new ApiServer().start();
  agent = new Agent({ keepAlive: true });
  [token, tokensRead, codes] = ["old", 0, []];
});
afterEach(async () => {
  agent.destroy();
  await server.stop();
});

test("reads one object, and says undefined for one that isn't there", async () => {
  server.put(map("one", {}, { x: "1" }));
  expect(await kube().get(ref("one"))).toMatchObject({ kind: "ConfigMap", data: { x: "1" } });
  expect(await kube().get(ref("two"))).toBeUndefined();
  expect(codes).toContain("get ConfigMap 404");
});

test("a list comes in pages, and each object says what it is", async () => {
  for (let i = 0; i < 1100; i++) server.put(map(`m${i}`));
  server.put({ ...map("elsewhere"), metadata: { namespace: "b", name: "elsewhere" } });
  const client = kube();
  const all = await client.list(TYPE);
  expect(all).toHaveLength(1101);
  expect(all[0]).toMatchObject(TYPE);
  expect(codes.filter((code) => code === "list ConfigMap 200")).toHaveLength(3);
  expect(server.requests.find(({ query }) => query.has("continue"))?.query.get("limit")).toBe("500");
  expect(await client.list(TYPE, { namespace: "b" })).toHaveLength(1);
});

test("a list whose pages have expired starts again, once", async () => {
  for (let i = 0; i < 600; i++) server.put(map(`m${i}`));
  server.refuse(410, "Expired", 1, ({ query }) => query.has("continue"));
  expect(await kube().list(TYPE)).toHaveLength(600);
});

test("a list by label asks for it, and for metadata alone where that is enough", async () => {
  server.put(map("one", { labels: { tier: "x" } }));
  server.put(map("two"));
  expect(await kube().list(TYPE, { labels: "tier=x", metadataOnly: true })).toMatchObject([{ ...TYPE, metadata: { name: "one" } }]);
  expect(server.requests.at(-1)?.headers.accept).toContain("as=PartialObjectMetadataList");
});

test("applies as one field manager, by force, and nothing changes the second time", async () => {
  const first = await kube().apply(map("one", {}, { x: "1" }));
  const { method, query, headers } = server.requests.at(-1)!;
  expect([method, query.get("fieldManager"), query.get("force"), headers["content-type"]]).toEqual(["PATCH", "stowhouse-operator", "true", "application/apply-patch+yaml"]);
  const second = await kube().apply(map("one", {}, { x: "1" }));
  expect(second.metadata.resourceVersion).toBe(first.metadata.resourceVersion);
});

test("applies a status as a manager of its own", async () => {
  server.put(map("one"));
  await kube().apply(map("one"), { subresource: "status" });
  expect(server.requests.at(-1)).toMatchObject({ path: "/api/v1/namespaces/a/configmaps/one/status" });
  expect(server.requests.at(-1)?.query.get("fieldManager")).toBe("stowhouse-operator-status");
});

test("fields nobody knows travel as they are", async () => {
  await kube().apply({ ...map("one"), aFieldOfTomorrow: { deep: [1] } });
  expect(server.requests.at(-1)?.body).toMatchObject({ aFieldOfTomorrow: { deep: [1] } });
});

test("a write with a stale resourceVersion is a conflict", async () => {
  const first = server.put(map("one"));
  server.put(map("one", {}, { x: "2" }));
  expect(await failure(kube().replace(first))).toMatchObject({ status: 409, reason: "Conflict", permanent: false });
  expect(await failure(kube().patch(ref("one"), { metadata: { resourceVersion: "1" } }))).toMatchObject({ status: 409 });
  expect(await kube().patch(ref("one"), { data: { x: "3" } })).toMatchObject({ data: { x: "3" } });
});

test("deletes that very object only, and what isn't there is fine", async () => {
  const one = server.put(map("one"));
  expect(await failure(kube().delete(ref("one"), { uid: "another" }))).toMatchObject({ status: 409 });
  await kube().delete(ref("one"), { uid: one.metadata.uid! });
  expect(server.object("ConfigMap", "a", "one")).toBeUndefined();
  await kube().delete(ref("one"));
});

test("says which errors the same request can't escape", async () => {
  const refused = async (status: number, message: string) => {
    server.refuse(status, status === 422 ? "Invalid" : "", 1, ({ method }) => method === "PATCH", message);
    return failure(kube().apply(map("one")));
  };
  expect(await refused(422, "spec.replicas: Invalid value")).toMatchObject({ reason: "Invalid", permanent: true, message: "spec.replicas: Invalid value" });
  expect(await refused(500, ".spec.bogus: field not declared in schema")).toMatchObject({ status: 500, permanent: true });
  expect(await refused(500, "etcd is away")).toMatchObject({ permanent: false, reason: "HTTP500" });
  expect(await refused(403, "no")).toMatchObject({ permanent: false });
});

test("a kind nobody serves is named, and found as soon as it is there", async () => {
  server.kinds.delete("CacheServer");
  server.kinds.delete("CacheKey");
  const client = kube();
  expect(await client.has("stowhouse.dev/v1alpha1", "CacheServer")).toBe(false);
  expect(await failure(client.list({ apiVersion: "stowhouse.dev/v1alpha1", kind: "CacheServer" }))).toMatchObject({ reason: "UnknownKind", permanent: false });
  expect(await client.get({ apiVersion: "stowhouse.dev/v1alpha1", kind: "CacheServer", namespace: "a", name: "x" })).toBeUndefined();
  expect(await client.has("apps/v1", "Deployment")).toBe(true);
  server.kinds.add("CacheServer");
  expect(await kube().has("stowhouse.dev/v1alpha1", "CacheServer")).toBe(true);
  expect(await kube().has("stowhouse.dev/v1alpha1", "CacheKey")).toBe(false);
});

test("where kinds live is asked for once", async () => {
  const client = kube();
  await Promise.all([client.get(ref("a")), client.get(ref("b")), client.has("v1", "ConfigMap")]);
  expect(codes.filter((code) => code.startsWith("discover"))).toHaveLength(1);
});

test("a refused credential is read again, and the request sent once more", async () => {
  server.token = "new";
  expect(await kube().list(TYPE)).toEqual([]);
  expect(tokensRead).toBe(1);
  server.token = "another";
  expect(await failure(kube().list(TYPE))).toMatchObject({ status: 401 });
  expect(tokensRead).toBe(2);
});

test("requests one after the other share one connection", async () => {
  const client = kube();
  for (let i = 0; i < 20; i++) await client.list(TYPE);
  expect(server.connections).toBe(1);
});

test("a kept connection that was closed meanwhile costs nothing but another one", async () => {
  const client = kube();
  await client.list(TYPE);
  // The end is met while the request is on its way.
  server.once((_, response) => {
    response.socket?.destroy();
    return true;
  });
  expect(await client.list(TYPE)).toEqual([]);
  server.once(({ method }, response) => {
    if (method === "POST") response.socket?.destroy();
    return method === "POST";
  });
  // Whether it was created isn't known.
  expect(await failure(client.create(map("one")))).toMatchObject({ status: 0, reason: "Unreachable" });
});

test("a server that hangs, breaks off or is away is an error in time", async () => {
  const client = kube(200);
  await client.has("v1", "ConfigMap");
  server.once(() => true);
  expect(await failure(client.list(TYPE))).toMatchObject({ reason: "TimedOut", permanent: false });
  server.once((_, response) => {
    response.writeHead(200).write('{"items":[');
    return true;
  });
  expect(await failure(client.list(TYPE))).toMatchObject({ reason: "TimedOut" });
  server.once((_, response) => {
    response.writeHead(200).end("<html>");
    return true;
  });
  expect(await failure(client.list(TYPE))).toMatchObject({ reason: "BadAnswer" });
  await server.stop();
  expect(await failure(client.list(TYPE))).toMatchObject({ reason: "Unreachable" });
  expect(codes.at(-1)).toBe("list ConfigMap 0");
  server = await new ApiServer().start();
});

test("who no longer leads writes no longer, not even what is under way", async () => {
  const leading = new AbortController();
  const client = kube().writingUntil(leading.signal);
  await client.apply(map("one"));
  server.once(({ method }) => method === "PATCH");
  const underWay = failure(client.apply(map("two")));
  while (server.requests.at(-1)?.path !== "/api/v1/namespaces/a/configmaps/two") await new Promise((done) => setTimeout(done, 5));
  leading.abort();
  expect(await underWay).toMatchObject({ reason: "Unreachable" });
  const before = server.requests.length;
  expect(await failure(client.delete(ref("one")))).toMatchObject({ reason: "NotLeading" });
  expect(server.requests).toHaveLength(before);
  expect(await client.get(ref("one"))).toBeDefined();
});

test("a busy API server says how long it wants to be left alone", async () => {
  server.once((_, response) => {
    response.writeHead(429, { "retry-after": "7" }).end("");
    return true;
  });
  expect(await failure(kube().list(TYPE))).toMatchObject({ status: 429, retryAfter: 7000 });
});
