import { Agent } from "node:http";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { ApiServer } from "../test/fixtures/api-server.ts";
import type { Context } from "./context.ts";
import { KubeError } from "./kube-error.ts";
import { Log } from "./log.ts";
import { Metrics } from "./metrics.ts";
import { refOf, type Key, type KubeObject } from "./object.ts";
import { startOperator, type Operator } from "./operator.ts";

const TIMES = { lease: { duration: 1_000, renewDeadline: 600, retry: 100 }, watch: { backoffLeast: 10, backoffMost: 50, absent: 50 } };
const API = "stowhouse.dev/v1alpha1";

let server: ApiServer;
let agent: Agent;
let running: Operator[];

beforeEach(async () => {
  server = await new ApiServer().start();
  agent = new Agent({ keepAlive: true });
  running = [];
});
afterEach(async () => {
  await Promise.all(running.map((operator) => operator.stop()));
  agent.destroy();
  await server.stop();
});

const cacheServer = (name: string, more: object = {}): KubeObject => ({ apiVersion: API, kind: "CacheServer", metadata: { namespace: "a", name, generation: 1 }, ...more });
const cacheKey = (name: string, serverName: string): KubeObject => ({ apiVersion: API, kind: "CacheKey", metadata: { namespace: "a", name, generation: 1 }, spec: { serverRef: { name: serverName } } });
const child = (kind: "Deployment" | "ConfigMap", instance: string, more: object = {}): KubeObject => ({
  apiVersion: kind === "Deployment" ? "apps/v1" : "v1",
  kind,
  metadata: { namespace: "a", name: instance, labels: { "app.kubernetes.io/managed-by": "stowhouse-operator", "app.kubernetes.io/instance": instance }, ...more },
});

/** An operator whose reconcilers write down what they are asked. */
function start(identity: string, work: (context: Context, key: Key) => Promise<{ after?: number }> = async () => ({}), namespaces: string[] = []) {
  const runs: string[] = [];
  const lines: string[] = [];
  let context: Context | undefined;
  let cut = false;
  const make = (kind: string) => (given: Context) => {
    context = given;
    return async (key: Key) => {
      runs.push(`${kind} ${key.namespace}/${key.name}`);
      return work(given, key);
    };
  };
  const operator = startOperator({
    connect: async () => {
      if (cut) throw new Error("no network");
      return { url: new URL(server.url), agent, headers: {} };
    },
    namespaces,
    lease: { namespace: "system", name: "operator" },
    identity,
    settings: { serverImage: "image", version: "1", clusterDomain: "cluster.local" },
    reconcilers: { cacheserver: make("server"), cachekey: make("key") },
    concurrency: 4,
    metrics: new Metrics("1"),
    log: new Log("debug", (line) => void lines.push(line)),
    times: TIMES,
  });
  running.push(operator);
  const metric = async (name: string) => {
    const found = (await operator.registry.metrics()).split("\n").find((line) => line.startsWith(`stowhouse_operator_${name} `));
    return found === undefined ? undefined : Number(found.split(" ").at(-1));
  };
  return { operator, runs, lines, metric, context: () => context!, isolate: () => void (cut = true) };
}

const until = (fact: () => unknown, timeout = 5_000) => vi.waitFor(async () => expect(await fact()).toBeTruthy(), { timeout, interval: 5 });
const pass = (ms: number) => new Promise((done) => setTimeout(done, ms));
const ready = (operator: Operator) => until(() => operator.unready() === undefined);

test("everything there is at the start is reconciled, and then what changes", async () => {
  server.put(cacheServer("one"));
  server.put(cacheKey("token", "one"));
  const { operator, runs } = start("me");
  await until(() => runs.length === 2);
  expect(runs.toSorted()).toEqual(["key a/token", "server a/one"]);
  await ready(operator);
  server.put(cacheServer("two"));
  await until(() => runs.length === 3);
  server.remove(cacheServer("two"));
  await until(() => runs.length === 4);
  expect(runs.slice(2)).toEqual(["server a/two", "server a/two"]);
});

test("its own writes to a status are no reason to reconcile again; new specs and annotations are", async () => {
  server.put(cacheServer("one"));
  const { runs } = start("me");
  await until(() => runs.length === 1);
  server.put(cacheServer("one", { status: { replicas: 1 } }));
  await pass(100);
  expect(runs).toHaveLength(1);
  server.put({ ...cacheServer("one"), metadata: { namespace: "a", name: "one", generation: 2 } });
  await until(() => runs.length === 2);
  server.put({ ...cacheServer("one"), metadata: { namespace: "a", name: "one", generation: 2, annotations: { "stowhouse.dev/reconcile": "disabled" } } });
  await until(() => runs.length === 3);
});

test("what happens to a child concerns its owner", async () => {
  server.put(cacheServer("one"));
  const { operator, runs, context } = start("me");
  await ready(operator);
  await until(() => runs.length === 1);
  server.put(child("Deployment", "one", {}));
  await until(() => runs.length === 2);
  server.put({ ...child("Deployment", "one"), status: { readyReplicas: 1 } });
  await until(() => runs.length === 3);
  expect(context().children.of({ apiVersion: "apps/v1", kind: "Deployment" })?.get("a", "one")).toMatchObject({ status: { readyReplicas: 1 } });
  server.put(child("ConfigMap", "one"));
  await until(() => runs.length === 4);
  server.remove(child("ConfigMap", "one"));
  await until(() => runs.length === 5);
  expect(new Set(runs)).toEqual(new Set(["server a/one"]));
});

test("a child's status alone concerns nobody, unless it is one the server's status is made of", async () => {
  server.put(cacheServer("one"));
  const managed = (time: string) => ({ managedFields: [{ manager: "stowhouse-operator", time: "1" }, { manager: "autoscaler", time, subresource: "status" }] });
  server.put(child("ConfigMap", "one", managed("1")));
  const { operator, runs, context } = start("me");
  await ready(operator);
  await until(() => runs.length === 1);
  await pass(50);
  const before = runs.length;
  server.put(child("ConfigMap", "one", managed("2")));
  await pass(100);
  expect(runs).toHaveLength(before);
  server.put(child("ConfigMap", "one", { managedFields: [{ manager: "kubectl", time: "3" }] }));
  await until(() => runs.length === before + 1);
  expect(context().children.of({ apiVersion: "v1", kind: "ConfigMap" })?.get("a", "one")).not.toHaveProperty("data");
});

test("a key is looked at again when its server gets ready, changes or goes", async () => {
  server.put(cacheServer("one"));
  server.put(cacheKey("token", "one"));
  server.put(cacheKey("other", "two"));
  const { runs } = start("me");
  await until(() => runs.length === 3);
  const status = { status: { conditions: [{ type: "Ready", status: "True" }] } };
  server.put(cacheServer("one", status));
  await until(() => runs.length === 4);
  expect(runs[3]).toBe("key a/token");
  server.remove(cacheServer("one"));
  await until(() => runs.length === 6);
  expect(runs.slice(4).toSorted()).toEqual(["key a/token", "server a/one"]);
});

test("Secrets are never listed nor watched, and of most children only metadata is asked for", async () => {
  const { operator } = start("me", undefined, ["a", "b"]);
  await ready(operator);
  expect(server.requests.some(({ path }) => path.includes("/secrets"))).toBe(false);
  const collections = server.requests.filter(({ query }) => query.has("limit"));
  expect(collections.every(({ path }) => /\/namespaces\/[ab]\//.test(path))).toBe(true);
  const accepts = (plural: string) => collections.find(({ path }) => path.endsWith(`/${plural}`))?.headers.accept;
  expect(accepts("configmaps")).toContain("PartialObjectMetadataList");
  expect(accepts("deployments")).toBe("application/json");
});

test("only the leader reconciles, and SIGTERM hands over at once", async () => {
  server.put(cacheServer("one"));
  const first = start("first");
  await until(() => first.runs.length === 1);
  const second = start("second");
  await ready(second.operator);
  expect([await first.metric("leader"), await second.metric("leader"), second.runs]).toEqual([1, 0, []]);
  const asked = performance.now();
  void first.operator.stop();
  await until(() => second.runs.length === 1);
  expect(performance.now() - asked).toBeLessThan(1_000);
  expect(first.operator.unready()).toBe("stopping");
});

test("a leader that loses its lease writes nothing more", async () => {
  server.put(cacheServer("one"));
  const write = async ({ kube }: Context, { namespace, name }: Key) => {
    for (let i = 0; ; i++) {
      await kube.apply(child("ConfigMap", name, { namespace, annotations: { by: "first", i: String(i) } }));
      await pass(20);
    }
  };
  const first = start("first", write);
  await until(() => server.object("ConfigMap", "a", "one"));
  const second = start("second");
  await ready(second.operator);
  const lease = server.object("Lease", "system", "operator")!;
  server.put({ ...lease, spec: { ...(lease["spec"] as object), holderIdentity: "robber" } });
  await until(async () => (await first.metric("leader")) === 0);
  await pass(30);
  const version = server.object("ConfigMap", "a", "one")!.metadata.resourceVersion;
  await pass(150);
  expect(server.object("ConfigMap", "a", "one")!.metadata.resourceVersion).toBe(version);
  await until(() => second.runs.length === 1 || first.runs.length === 2);
});

test("a crash of the API server in the middle: all goes on by itself", async () => {
  server.put(cacheServer("one"));
  const { runs, operator } = start("me");
  await until(() => runs.length === 1);
  await ready(operator);
  server.cut();
  server.put(cacheServer("two"));
  await until(() => runs.includes("server a/two"));
  expect(operator.unhealthy()).toBeUndefined();
  expect(await operator.registry.getSingleMetricAsString("stowhouse_operator_watch_restarts_total")).toMatch(/kind="CacheServer"\} [1-9]/);
});

test("not ready before all first lists are there, and it says what is missing", async () => {
  server.refuse(403, "Forbidden", 5, ({ path, query }) => path.endsWith("/deployments") && query.has("limit"));
  const { operator } = start("me");
  await until(() => operator.unready()?.startsWith("waiting for the first list of ") === true);
  await until(() => operator.unready() === "waiting for the first list of Deployment");
  await ready(operator);
});

test("failures are counted, told and tried again; a conflict is no error", async () => {
  server.put(cacheServer("one"));
  let run = 0;
  const { runs, lines, operator } = start("me", async () => {
    run++;
    if (run === 1) throw new KubeError({ status: 409, reason: "Conflict", message: "somebody was faster" });
    return { after: 60_000 };
  });
  await until(() => runs.length === 2);
  const text = await operator.registry.metrics();
  expect(text).toContain('reconcile_total{controller="cacheserver",result="conflict"} 1');
  expect(text).toContain('reconcile_total{controller="cacheserver",result="success"} 1');
  expect(text).toContain('reconcile_total{controller="cacheserver",result="error"} 0');
  expect(lines.some((line) => line.includes("somebody else was faster"))).toBe(true);
});

test("its metrics count what it looks after and what it asks", async () => {
  server.put(cacheServer("one", { status: { conditions: [{ type: "Ready", status: "True" }] } }));
  server.put(cacheServer("two"));
  const { runs, operator, context } = start("me");
  await until(() => runs.length === 2);
  await context().kube.get(refOf(cacheServer("one")));
  const text = await operator.registry.metrics();
  expect(text).toContain('stowhouse_operator_managed{kind="CacheServer",ready="True"} 1');
  expect(text).toContain('stowhouse_operator_managed{kind="CacheServer",ready="Unknown"} 1');
  expect(text).toContain('stowhouse_operator_api_requests_total{verb="get",kind="CacheServer",code="200"} 1');
  expect(text).toContain('stowhouse_operator_queue_depth{controller="cachekey"} 0');
});
