import { Agent } from "node:http";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { ApiServer } from "../test/fixtures/api-server.ts";
import { Kube } from "./kube.ts";
import type { KubeObject } from "./object.ts";
import { watch, type WatchOptions, type Watched } from "./watch.ts";

const TYPE = { apiVersion: "v1", kind: "ConfigMap" };
const TIMES = { backoffLeast: 20, backoffMost: 50, absent: 20, quiet: 60_000 };
const map = (name: string, data = {}, namespace = "a"): KubeObject => ({ ...TYPE, metadata: { namespace, name }, data });

let server: ApiServer;
let agent: Agent;
let ending: AbortController;
let changes: string[];
let restarts: number;
let warnings: string[];
let watched: Watched | undefined;

const client = () => new Kube({ connect: async () => ({ url: new URL(server.url), agent, headers: {} }), timeout: 2_000 });
const until = (fact: () => unknown) => vi.waitFor(() => expect(fact()).toBeTruthy(), { timeout: 5_000, interval: 5 });
const lists = () => server.requests.filter(({ query }) => query.has("limit")).length;
const watches = () => server.requests.filter(({ query }) => query.has("watch"));

function start(options: Partial<WatchOptions> = {}): Watched {
  watched = watch({
    kube: client(),
    type: TYPE,
    namespaces: [],
    onChange: (object, change) => void changes.push(`${change} ${object.metadata.name}`),
    onRestart: () => void restarts++,
    log: { info: () => {}, warn: (text) => void warnings.push(text) },
    signal: ending.signal,
    ...options,
    times: { ...TIMES, ...options.times },
  });
  return watched;
}

/** What a first list and its watch need. */
async function started(options: Partial<WatchOptions> = {}): Promise<Watched> {
  const following = start(options);
  await following.synced;
  await until(() => server.watching > 0);
  return following;
}

beforeEach(async () => {
  server = await new ApiServer().start();
  agent = new Agent({ keepAlive: true });
  ending = new AbortController();
  [changes, restarts, warnings, watched] = [[], 0, [], undefined];
});
afterEach(async () => {
  ending.abort();
  await watched?.ended;
  agent.destroy();
  await server.stop();
});

test("tells what was there, what comes, what changes and what goes", async () => {
  server.put(map("one"));
  const { get, list } = await started();
  server.put(map("two"));
  server.put(map("one", { x: "1" }));
  server.remove(map("two"));
  await until(() => changes.length === 4);
  expect(changes).toEqual(["seen one", "seen two", "seen one", "removed two"]);
  expect(get("a", "one")).toMatchObject({ data: { x: "1" } });
  expect(list()).toHaveLength(1);
  expect(watches()[0]!.query.get("allowWatchBookmarks")).toBe("true");
  expect(Number(watches()[0]!.query.get("timeoutSeconds"))).toBeGreaterThanOrEqual(300);
  expect(Number(watches()[0]!.query.get("timeoutSeconds"))).toBeLessThan(330);
});

test("keeps no managedFields, and no more than it is told to", async () => {
  server.put({ ...map("one", { x: "1" }), metadata: { namespace: "a", name: "one", managedFields: [{}] } });
  const all = await started();
  expect(all.list()[0]!.metadata.managedFields).toBeUndefined();
  ending.abort();
  await all.ended;
  ending = new AbortController();
  const little = await started({ keep: ({ apiVersion, kind, metadata }) => ({ apiVersion, kind, metadata }) });
  expect(little.list()[0]).not.toHaveProperty("data");
});

test("a socket destroyed under it: it goes on from where it was, without a list", async () => {
  await started();
  server.put(map("one"));
  await until(() => changes.length === 1);
  server.cut();
  server.put(map("two"));
  server.put(map("three"));
  await until(() => changes.length === 3);
  expect(changes).toEqual(["seen one", "seen two", "seen three"]);
  expect([lists(), restarts]).toEqual([1, 1]);
});

test("a watch that ended in its time is opened again at once, and that is no failure", async () => {
  await started();
  server.put(map("one"));
  await until(() => changes.length === 1);
  const opened = performance.now();
  server.endWatches();
  await until(() => watches().length === 2);
  expect(performance.now() - opened).toBeLessThan(1_000);
  expect([lists(), restarts, warnings]).toEqual([1, 0, []]);
});

test("watches that end at once are opened with growing pauses", async () => {
  for (let i = 0; i < 3; i++) {
    server.once(({ query }, response) => {
      if (query.has("watch")) response.writeHead(200).end();
      return query.has("watch");
    });
  }
  await started();
  expect(restarts).toBe(3);
});

test("a quiet watch goes on from its last bookmark", async () => {
  await started();
  server.put({ apiVersion: "apps/v1", kind: "Deployment", metadata: { namespace: "a", name: "other" } });
  server.bookmark();
  // Without the bookmark its version would be too old by now.
  server.compact();
  await new Promise((done) => setTimeout(done, 50));
  server.cut();
  await until(() => server.watching > 0 && watches().length === 2);
  server.put(map("one"));
  await until(() => changes.length === 1);
  expect(lists()).toBe(1);
});

test("too old a version: it lists again, and what went meanwhile is reported as removed", async () => {
  server.put(map("gone"));
  server.put(map("stays"));
  await started();
  // It can't come back before all of this has happened.
  server.once(({ query }, response) => {
    if (query.has("watch")) response.destroy();
    return query.has("watch");
  });
  server.cut();
  server.remove(map("gone"));
  server.put(map("new"));
  server.compact();
  await until(() => changes.length === 4);
  expect(changes.slice(2).sort()).toEqual(["removed gone", "seen new"]);
  expect(lists()).toBe(2);
});

test("another object that took the name of one is told of as another", async () => {
  server.put(map("one"));
  await started();
  server.once(({ query }, response) => {
    if (query.has("watch")) response.destroy();
    return query.has("watch");
  });
  server.cut();
  server.remove(map("one"));
  server.put(map("one"));
  server.compact();
  await until(() => changes.length === 3);
  expect(changes).toEqual(["seen one", "removed one", "seen one"]);
});

test("an API server that is away, forbids, or talks nonsense: it goes on as soon as that is over", async () => {
  const { port } = new URL(server.url);
  const following = await started();
  await server.stop();
  await until(() => restarts > 3);
  expect(warnings).toHaveLength(1);
  server = await new ApiServer().start(Number(port));
  server.refuse(403, "Forbidden", 2);
  server.once(({ query }, response) => {
    if (query.has("watch")) response.writeHead(200).end("<html>\n");
    return query.has("watch");
  });
  server.put(map("one"));
  await until(() => changes.length === 1 && server.watching > 0);
  expect(following.get("a", "one")).toBeDefined();
});

test("a first list that fails leaves it unsynced, not dead", async () => {
  server.refuse(403, "Forbidden", 3, ({ query }) => query.has("limit"));
  const following = start();
  await until(() => restarts === 1);
  expect(following.isSynced).toBe(false);
  await following.synced;
  expect(following.isSynced).toBe(true);
});

test("a connection that says nothing for too long is given up", async () => {
  await started({ times: { quiet: 100 } });
  await until(() => watches().length >= 2);
  server.put(map("one"));
  await until(() => changes.includes("seen one"));
});

test("everything is listed again from time to time, and what no event told is found", async () => {
  await started({ times: { relist: 800 } });
  expect(watches()[0]!.query.get("timeoutSeconds")).toBe("1");
  server.put(map("untold"), false);
  // Ends it as the real one would after a second.
  await new Promise((done) => setTimeout(done, 950));
  server.endWatches();
  await until(() => changes.length === 1);
  expect(changes).toEqual(["seen untold"]);
});

test("several namespaces are followed, and no others", async () => {
  server.put(map("one", {}, "a"));
  server.put(map("two", {}, "b"));
  server.put(map("three", {}, "c"));
  const following = await started({ namespaces: ["a", "b"] });
  expect(following.list().map(({ metadata }) => metadata.name).sort()).toEqual(["one", "two"]);
  expect([following.get("b", "two")?.metadata.name, following.get("c", "three")]).toEqual(["two", undefined]);
  expect(server.requests.some(({ path }) => path === "/api/v1/configmaps")).toBe(false);
});

test("a kind that the cluster lacks has no objects, until it is there", async () => {
  server.kinds.delete("CacheServer");
  let appeared = 0;
  const kube = client();
  let there = false;
  const following = start({
    kube: { has: async () => there, listed: kube.listed.bind(kube), watch: kube.watch.bind(kube) },
    optional: true,
    onAppear: () => void appeared++,
  });
  await following.synced;
  server.put(map("one"));
  expect([following.list(), restarts, appeared]).toEqual([[], 0, 0]);
  there = true;
  await until(() => changes.length === 1);
  expect(appeared).toBe(1);
});

test("a handler that throws doesn't end it", async () => {
  await started({
    onChange: (object) => {
      changes.push(object.metadata.name);
      throw new Error("bug");
    },
  });
  server.put(map("one"));
  server.put(map("two"));
  await until(() => changes.length === 2);
  expect(warnings).toContain("a change could not be handled");
});
