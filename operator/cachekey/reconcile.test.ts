import { beforeEach, describe, expect, test } from "vitest";
import { refusal } from "../testing/cluster.ts";
import { World } from "../testing/world.ts";

const MINUTE = 60_000;
const DAY = 24 * 60 * MINUTE;
const OPEN = { access: [{ namespaceSelector: {}, caches: ["*"], permissions: ["write"], scopes: ["team:*"] }] };

let world: World;
beforeEach(async () => {
  world = new World();
  await world.running(OPEN);
});

const token = (name = "app", namespace = "ci") => world.secret(name, "token", namespace) ?? "";
const ready = () => world.condition("Ready", "CacheKey");
const refused = () => world.condition("Refused", "CacheKey");
const allow = (...access: object[]) => world.cluster.edit("CacheServer", "cache", { spec: { access } });

async function issued(spec: object = {}): Promise<string> {
  world.addKey(spec);
  await world.lookAtKey();
  world.cluster.take();
  world.server.requests.length = 0;
  return token();
}

describe("a new CacheKey", () => {
  test("gets a key of the server and a Secret in its own namespace, in the forms that tools take", async () => {
    world.addKey({ permission: "write", scope: "team:mobile" }, { namespace: "apps" });
    await world.lookAtKey("app", "apps");
    const key = token("app", "apps");
    expect(world.server.works(key)).toBe(true);
    expect(world.server.alive[0]).toMatchObject({ permission: "write", caches: ["default"], scope: "team:mobile", expires: null });
    const url = "http://cache.ci.svc.cluster.local:8420";
    expect([world.secret("app", "STOWHOUSE_SERVER", "apps"), world.secret("app", "server", "apps"), world.secret("app", "STOWHOUSE_TOKEN", "apps")]).toEqual([url, url, key]);
    expect(world.secret("app", "netrc", "apps")).toBe(`machine cache.ci.svc.cluster.local\nlogin stowhouse\npassword ${key}\n`);
    expect(world.secret("app", "bazelrc", "apps")).toBe(`build --remote_cache=${url}/c/default/bazel\nbuild "--remote_header=Authorization=Bearer ${key}"\nbuild --remote_upload_local_results=true\n`);
    expect(world.condition("Ready", "CacheKey", "app", "apps")).toBe("True Issued");
    const owner = world.cluster.find("CacheKey", "app", "apps")!.metadata;
    expect(world.cluster.find("Secret", "app", "apps")!.metadata.ownerReferences![0]!.uid).toBe(owner.uid);
    expect(owner.finalizers).toEqual(["stowhouse.dev/revoke-key"]);
  });

  test("shows no key anywhere but in the Secret", async () => {
    const key = await issued();
    expect(JSON.stringify([world.events, world.cluster.find("CacheKey", "app")])).not.toContain(key);
  });

  test("a no-op reconcile writes nothing and seldom asks the server", async () => {
    await issued();
    for (let i = 0; i < 4; i++) {
      world.time += 31_000;
      await world.lookAtKey();
    }
    world.restart();
    await world.lookAtKey();
    expect(world.cluster.take().writes).toEqual([]);
    expect(world.server.requests.filter((request) => !request.startsWith("GET"))).toEqual([]);
    expect(world.server.requests.length).toBeLessThan(12);
  });

  test("for a cache that doesn't exist gets none, and is told; it gets one when the cache is there", async () => {
    world.addKey({ caches: ["default", "mobile"] });
    await world.lookAtKey();
    expect([ready(), world.cluster.find("Secret", "app")]).toEqual(["False CacheMissing", undefined]);
    expect(world.message("Ready", "CacheKey")).toContain("no cache named mobile");
    world.server.caches.push("mobile");
    await world.lookAtKey();
    expect(ready()).toBe("True Issued");
  });

  test("a server that isn't there, or doesn't answer, is told; the key follows", async () => {
    world.addKey({ serverRef: { name: "other" } }, { name: "lost" });
    await world.lookAtKey("lost");
    expect(world.condition("Ready", "CacheKey", "lost")).toBe("False ServerMissing");
    world.server.away = true;
    world.addKey();
    const { after } = await world.lookAtKey();
    expect([ready(), world.message("Ready", "CacheKey")]).toEqual(["False ServerUnavailable", expect.stringContaining("ECONNREFUSED")]);
    expect(after).toBeLessThanOrEqual(12_000);
    world.server.away = false;
    await world.lookAtKey();
    expect(ready()).toBe("True Issued");
  });

  test("what the server refuses to make is told in its words", async () => {
    allow({ namespaceSelector: {}, caches: ["*"], permissions: ["write"], scopes: ["1296269:*"] });
    world.addKey({ permission: "write", scope: "1296269:refs/heads/main" });
    await world.lookAtKey();
    expect([ready(), world.message("Ready", "CacheKey")]).toEqual(["False KeyRejected", expect.stringContaining("is not a scope")]);
  });

  test("a Secret of somebody else's is left alone", async () => {
    world.cluster.put({ apiVersion: "v1", kind: "Secret", metadata: { name: "app", namespace: "ci" }, data: { token: "dGhlaXJz" } });
    world.addKey();
    await world.lookAtKey();
    expect([ready(), token(), world.server.alive.length]).toEqual(["False NameTaken", "theirs", 0]);
  });
});

describe("access", () => {
  test("a request beyond it gets no key, no Secret and the condition Refused", async () => {
    allow();
    world.addKey({ permission: "write" });
    await world.lookAtKey();
    expect([refused(), ready(), world.server.alive.length, world.cluster.find("Secret", "app")]).toEqual(["True PermissionNotAllowed", "False Refused", 0, undefined]);
    expect(world.events.filter((event) => event.startsWith("Warning Refused"))).toHaveLength(1);
  });

  test("narrowing access revokes a key and empties its Secret; widening it again makes another", async () => {
    const key = await issued({ permission: "write" });
    allow({ namespaceSelector: {}, caches: ["*"], permissions: ["read"], scopes: [] });
    await world.lookAtKey();
    expect([refused(), world.server.works(key), token(), world.secret("app", "netrc"), world.secret("app", "STOWHOUSE_TOKEN")]).toEqual(["True PermissionNotAllowed", false, "", "", ""]);
    world.time += MINUTE;
    world.cluster.take();
    await world.lookAtKey();
    expect(world.cluster.take().writes).toEqual([]);
    allow(...OPEN.access);
    await world.lookAtKey();
    expect([refused(), ready(), world.server.works(token()), token() === key]).toEqual(["False Allowed", "True Issued", true, false]);
  });

  test("with the server away, narrowing empties the Secret at once, and ends the key as soon as it is back", async () => {
    const key = await issued({ permission: "write" });
    allow();
    world.server.away = true;
    const { after } = await world.lookAtKey();
    expect([refused(), ready(), token()]).toEqual(["True PermissionNotAllowed", "False Refused", ""]);
    expect(after).toBeLessThanOrEqual(12_000);
    world.restart();
    world.server.away = false;
    await world.lookAtKey();
    expect(world.server.works(key)).toBe(false);
  });

  test("a namespace that loses its label loses its keys within a look", async () => {
    allow({ namespaceSelector: { matchLabels: { team: "ci" } }, caches: ["*"], permissions: ["read"], scopes: [] });
    const key = await issued();
    world.cluster.put({ apiVersion: "v1", kind: "Namespace", metadata: { name: "ci", labels: { team: "other" } } });
    await world.lookAtKey();
    expect([refused(), world.server.works(key)]).toEqual(["True NamespaceNotAllowed", false]);
  });

  test("an operator that may not read namespaces goes by their names", async () => {
    world.cluster.faults.push({ verb: "get", kind: "Namespace", error: refusal(403, "Forbidden", "namespaces is forbidden") });
    allow({ namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": "ci" } }, caches: ["*"], permissions: ["read"], scopes: [] });
    await issued();
    expect(ready()).toBe("True Issued");
  });

  test("a shorter maxTTL than before makes a key that ends sooner", async () => {
    const key = await issued({ expiresAfter: "7d" });
    allow({ namespaceSelector: {}, caches: ["*"], permissions: ["read"], scopes: [], maxTTL: "8d" });
    await world.lookAtKey();
    expect(token()).toBe(key);
    allow({ namespaceSelector: {}, caches: ["*"], permissions: ["read"], scopes: [], maxTTL: "6d" });
    await world.lookAtKey();
    expect([refused(), world.server.works(key)]).toEqual(["True LifetimeNotAllowed", false]);
  });
});

describe("rotation", () => {
  const ROTATING = { rotation: { every: "30d", overlap: "1d" } };

  test("a new key takes the old one's place, which works until the overlap ends", async () => {
    const first = await issued(ROTATING);
    world.time += 30 * DAY;
    await world.lookAtKey();
    const second = token();
    expect([second === first, world.server.works(first), world.server.works(second), ready()]).toEqual([false, true, true, "True Overlapping"]);
    expect(world.cluster.find("CacheKey", "app")).toMatchObject({ status: { previous: [{ expiresAt: "2026-04-01T00:00:00Z" }], rotatesAt: "2026-04-30T00:00:00Z" } });
    world.time += DAY - MINUTE;
    await world.lookAtKey();
    expect(world.server.works(first)).toBe(true);
    world.time += MINUTE;
    await world.lookAtKey();
    expect([world.server.works(first), world.server.works(second), ready()]).toEqual([false, true, "True Issued"]);
  });

  test("is not missed by sleeping: the next look is when it is due", async () => {
    await issued(ROTATING);
    world.time += 30 * DAY - 7_000;
    const { after } = await world.lookAtKey();
    expect(after).toBe(7_000);
  });

  test("an expiring key is replaced before it ends", async () => {
    await issued({ expiresAfter: "10d", rotation: { every: "30d", overlap: "1d" } });
    world.time += 9 * DAY;
    await world.lookAtKey();
    expect(ready()).toBe("True Overlapping");
    expect(world.server.alive).toHaveLength(2);
  });

  test("a key that expires without rotation is the last; deleting its Secret is no way around that", async () => {
    const key = await issued({ expiresAfter: "10d" });
    world.time += 10 * DAY;
    await world.lookAtKey();
    expect([ready(), token(), world.server.works(key)]).toEqual(["False Expired", "", false]);
    await world.cluster.remove("Secret", "app");
    world.restart();
    await world.lookAtKey();
    await world.lookAtKey();
    expect([ready(), world.server.alive.length]).toEqual(["False Expired", 0]);
    world.cluster.edit("CacheKey", "app", { spec: { expiresAfter: "30d" } });
    await world.lookAtKey();
    expect(ready()).toBe("True Issued");
  });

  test("other rights need another key, and the one before ends at once", async () => {
    const key = await issued({ permission: "write", ...ROTATING });
    world.cluster.edit("CacheKey", "app", { spec: { permission: "read" } });
    await world.lookAtKey();
    expect([world.server.works(key), world.server.alive.map(({ permission }) => permission)]).toEqual([false, ["read"]]);
  });
});

describe("drift", () => {
  test.each([
    ["a deleted Secret", () => world.cluster.remove("Secret", "app")],
    ["a changed token", async () => world.cluster.edit("Secret", "app", { data: { token: "b3RoZXI=" } })],
    ["a key revoked on the server", async () => void world.server.keys.forEach((key, id) => world.server.keys.set(id, { ...key, revoked: "2026-03-01T00:00:00Z" }))],
    ["a server that lost its keys", async () => world.server.keys.clear()],
  ])("%s: there is a working key again, and only one", async (_, damage) => {
    const key = await issued();
    await damage();
    world.time += 2 * MINUTE;
    await world.lookAtKey();
    expect([token() === key, world.server.works(token()), world.server.alive.length, ready()]).toEqual([false, true, 1, "True Issued"]);
  });

  test("other fields come back without another key", async () => {
    const key = await issued();
    world.cluster.edit("Secret", "app", { data: { netrc: "eA==", STOWHOUSE_SERVER: "eA==" } });
    await world.lookAtKey();
    expect([token(), world.secret("app", "STOWHOUSE_SERVER")]).toEqual([key, "http://cache.ci.svc.cluster.local:8420"]);
    expect(world.secret("app", "netrc")).toContain(key);
  });

  test("a server that is published under another URL is in the Secret, with the same key", async () => {
    const key = await issued();
    world.cluster.edit("CacheServer", "cache", { spec: { url: "https://cache.example.com" } });
    await world.lookAtKey();
    expect([token(), world.secret("app", "server")]).toEqual([key, "https://cache.example.com"]);
  });

  test("somebody who keeps deleting the Secret gets no endless row of keys", async () => {
    await issued();
    for (let i = 0; i < 50; i++) {
      if (world.cluster.find("Secret", "app")) await world.cluster.remove("Secret", "app");
      world.time += 30_000;
      await world.lookAtKey();
    }
    expect(world.server.keys.size).toBeLessThan(6);
    expect(ready()).toBe("False SecretContested");
  });

  test("a server that restarts for a moment is no news", async () => {
    await issued();
    world.server.away = true;
    world.time += 2 * MINUTE;
    await world.lookAtKey();
    expect(ready()).toBe("True Issued");
    for (let i = 0; i < 3; i++) {
      world.time += 2 * MINUTE;
      await world.lookAtKey();
    }
    expect(ready()).toBe("False ServerUnavailable");
    expect(world.server.works(token())).toBe(true);
  });
});

describe("an operator that dies between two steps", () => {
  test("after the server made the key, before the Secret was written: no key stays alive that nobody has", async () => {
    world.addKey({ rotation: { every: "30d", overlap: "1d" } });
    world.cluster.faults.push({ verb: "apply", kind: "Secret", error: refusal(503, "ServiceUnavailable", "gone"), times: 1 });
    world.server.after = (request) => {
      // The key can't be taken back either.
      if (request.startsWith("DELETE")) throw new Error("gone");
    };
    const revoke = world.server.keys.set.bind(world.server.keys);
    world.server.keys.set = (id, key) => (key.revoked === null ? revoke(id, key) : world.server.keys);
    await expect(world.lookAtKey()).rejects.toThrow("gone");
    world.server.keys.set = revoke;
    world.server.after = undefined;
    expect(world.server.alive).toHaveLength(1);
    world.restart();
    await world.lookAtKey();
    expect([world.server.alive.length, world.server.works(token())]).toEqual([1, true]);
  });

  test("before the answer with the key arrived: the same", async () => {
    world.addKey();
    world.server.after = (request) => {
      if (request === "POST /keys") throw Object.assign(new Error("reset"), { code: "ECONNRESET" });
    };
    await world.lookAtKey();
    world.server.after = undefined;
    expect(world.server.alive).toHaveLength(1);
    await world.lookAtKey();
    expect([world.server.alive.length, world.server.works(token())]).toEqual([1, true]);
  });

  test("after a rotation was written, before the old key's end: it ends when its time has come", async () => {
    const first = await issued({ rotation: { every: "30d", overlap: "1d" } });
    world.time += 30 * DAY;
    await world.lookAtKey();
    world.restart();
    world.time += 2 * DAY;
    await world.lookAtKey();
    expect([world.server.works(first), world.server.works(token())]).toEqual([false, true]);
  });

  test("keys of others are never taken for its own", async () => {
    world.server.keys.set("000000000000001", { id: "000000000000001", key: "theirs", name: "cachekey:other:1 ci/app", permission: "read", caches: ["default"], scope: null, created: null, expires: null, revoked: null });
    await issued();
    expect(world.server.works("theirs")).toBe(true);
  });
});

describe("deletion", () => {
  const remove = () => world.cluster.remove("CacheKey", "app");
  const gone = () => world.cluster.find("CacheKey", "app") === undefined;

  test("ends the key and those before it, and takes the Secret along", async () => {
    await issued({ rotation: { every: "30d", overlap: "1d" } });
    world.time += 30 * DAY;
    await world.lookAtKey();
    await remove();
    await world.lookAtKey();
    expect([gone(), world.server.alive, world.cluster.find("Secret", "app")]).toEqual([true, [], undefined]);
  });

  test("ends the key also when its Secret was deleted before", async () => {
    await issued();
    await world.cluster.remove("Secret", "app");
    await remove();
    await world.lookAtKey();
    expect([gone(), world.server.alive]).toEqual([true, []]);
  });

  test("a key deleted while its server is away doesn't get stuck", async () => {
    await issued();
    world.server.away = true;
    await remove();
    const { after } = await world.lookAtKey();
    expect([gone(), after! <= 6_000]).toEqual([false, true]);
    world.time += 5 * MINUTE;
    await world.lookAtKey();
    expect(gone()).toBe(true);
    expect(world.events.at(-1)).toMatch(/^Warning RevocationGaveUp .*could not be ended/);
  });

  test("a key whose server comes back in time is ended", async () => {
    await issued();
    world.server.away = true;
    await remove();
    await world.lookAtKey();
    world.server.away = false;
    await world.lookAtKey();
    expect([gone(), world.server.alive]).toEqual([true, []]);
  });

  test.each([
    ["is gone", () => world.cluster.remove("CacheServer", "cache")],
    ["is being deleted", async () => {
      world.cluster.edit("CacheServer", "cache", { metadata: { finalizers: ["foregroundDeletion"] } });
      await world.cluster.remove("CacheServer", "cache");
    }],
  ])("a key whose CacheServer %s goes at once", async (_, lose) => {
    await issued();
    world.server.away = true;
    await lose();
    await remove();
    await world.lookAtKey();
    expect(gone()).toBe(true);
  });

  test("a key whose server lost its admin key doesn't get stuck", async () => {
    await issued();
    await world.cluster.remove("Secret", "cache-keys");
    await remove();
    await world.lookAtKey();
    world.time += 6 * MINUTE;
    await world.lookAtKey();
    expect(gone()).toBe(true);
  });

  test("one that never had a key holds nothing up", async () => {
    allow();
    world.addKey({ permission: "write" });
    await world.lookAtKey();
    await remove();
    expect(gone()).toBe(true);
  });
});

describe("a paused CacheKey", () => {
  test("is not rotated, and is deleted all the same", async () => {
    const key = await issued({ rotation: { every: "30d", overlap: "1d" } });
    world.cluster.edit("CacheKey", "app", { metadata: { annotations: { "stowhouse.dev/reconcile": "disabled" } } });
    world.time += 40 * DAY;
    await world.lookAtKey();
    expect([ready(), token()]).toEqual(["Unknown Paused", key]);
    await world.cluster.remove("CacheKey", "app");
    await world.lookAtKey();
    expect(world.server.works(key)).toBe(false);
  });
});
