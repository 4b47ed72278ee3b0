import { setTimeout } from "node:timers/promises";
import { beforeEach, describe, expect, onTestFinished, test } from "vitest";
import { KEYS, startApp, type TestApp } from "../test/fixtures/app.ts";
import { defaultConfig } from "./app.ts";

const AUTH = { adminKey: KEYS.admin, writeKey: KEYS.write, readKey: KEYS.read };
const bearer = (key: string) => ({ authorization: `Bearer ${key}` });

let app: TestApp;
beforeEach(async () => void (app = await start()));

async function start(config: object = {}): Promise<TestApp> {
  const started = await startApp(config);
  onTestFinished(() => started.close());
  return started;
}
const take = (config: object = {}, on = app) => on.reconfiguration.take(defaultConfig({ data: on.data, ...config, auth: { ...AUTH, ...(config as { auth?: object }).auth } }));
const put = (name: string, body: Buffer, prefix = "") => app.app.inject({ method: "PUT", url: `${prefix}/plain/plain/${name}`, headers: bearer(KEYS.write), payload: body });
const status = async (url: string, key: string) => (await app.app.inject({ url, headers: bearer(key) })).statusCode;
const metric = async (name: string) => Number(new RegExp(`^${name} (\\d+)`, "m").exec(await app.metrics.text())?.[1]);
async function until(holds: () => Promise<boolean> | boolean): Promise<boolean> {
  for (let i = 0; i < 200; i++) {
    if (await holds()) return true;
    await setTimeout(20);
  }
  return false;
}

describe("a changed configuration", () => {
  test("with a lower quota makes eviction run, without waiting for the next pass", async () => {
    app.core.maintenance.start();
    for (let i = 0; i < 20; i++) await put(`entry-${i}`, Buffer.alloc(100_000, i));
    expect((await app.core.quota.usage("default", true)).trusted).toBe(2_000_000);
    await take({ caches: { default: { quota: "1MB" } }, eviction: { interval: "1h" } });
    expect(await until(async () => (await app.core.quota.usage("default", true)).trusted <= 950_000)).toBe(true);
    expect((await app.app.inject({ url: "/v1/admin/caches/default", headers: bearer(KEYS.admin) })).json().effective.quota).toBe(1_000_000);
  });

  test("adds and removes caches; those that stay as they are keep what RAM knows of them", async () => {
    const before = app.core.caches.require("default");
    await take({ caches: { second: {} } });
    expect((await app.app.inject({ url: "/v1/admin/caches/second", headers: bearer(KEYS.admin) })).json().source).toBe("configuration");
    expect(app.core.caches.require("default")).toBe(before);
    await take();
    expect(await status("/v1/admin/caches/second", KEYS.admin)).toBe(404);
  });

  test("can take over a cache that was made through the admin API, and give it back", async () => {
    const url = "/v1/admin/caches/mine";
    const headers = bearer(KEYS.admin);
    const quota = async () => (await app.app.inject({ url, headers })).json().effective?.quota;
    await app.app.inject({ method: "PUT", url, headers, payload: { quota: "1GiB" } });
    await take({ caches: { mine: { quota: "2GiB" } } });
    expect(await quota()).toBe(2 ** 31);
    expect((await app.app.inject({ method: "PUT", url, headers, payload: { quota: "3GiB" } })).statusCode).toBe(400);
    await take();
    expect(await until(async () => (await quota()) === 2 ** 30)).toBe(true);
  });

  test("is told by field where it needs a restart; a cache waits for its storage", async () => {
    await take({ memory: { entries: 5 }, storages: { default: {}, more: { path: `${app.data}/more` } }, caches: { default: { quota: "1GiB" }, second: { storages: ["more"] } } });
    expect(app.core.caches.require("default")).toMatchObject({ quota: 2 ** 30, storages: ["default"] });
    expect(app.core.caches.get("second")).toBeUndefined();
    expect(await app.logged()).toContain('"fields":["memory.entries","storages.more"]');
    expect(await metric("stowhouse_config_restart_needed")).toBe(1);
    expect((await put("still", Buffer.from("x"))).statusCode).toBe(201);
  });

  test("opens a cache to readers without a key, and closes it again", async () => {
    await put("shown", Buffer.from("x"));
    const anonymous = async () => (await app.app.inject("/plain/plain/shown")).statusCode;
    expect(await anonymous()).toBe(401);
    await take({ caches: { default: { anonymousRead: true } } });
    expect(await anonymous()).toBe(200);
    await take();
    expect(await anonymous()).toBe(401);
  });

  test("rotates keys and the signing secret: two lines overlap, what is gone is refused at once", async () => {
    const [first, second] = ["a".repeat(40), "b".repeat(40)];
    await take({ auth: { signingSecret: first } });
    const session = async () => (await app.app.inject({ method: "POST", url: "/v1/auth/session", headers: bearer(KEYS.write), payload: {} })).json().token as string;
    const old = await session();
    await take({ auth: { signingSecret: `${second}\n${first}`, writeKey: `the-new-write-key\n${KEYS.write}` } });
    const fresh = await session();
    const whoami = async () => Promise.all([old, fresh, KEYS.write, "the-new-write-key"].map((token) => status("/v1/auth/whoami", token)));
    expect(await whoami()).toEqual([200, 200, 200, 200]);
    await take({ auth: { signingSecret: second, writeKey: `the-new-write-key\n${KEYS.write}` } });
    expect(await whoami()).toEqual([401, 200, 200, 200]);
    await take({ auth: { signingSecret: second, writeKey: "the-new-write-key" } });
    expect(await whoami()).toEqual([401, 401, 401, 200]);
    expect(await app.logged()).not.toContain("the-new-write-key");
  });

  test("changes log level, access log, audit of reads and the rate limit", async () => {
    const limited = { remoteAddress: "192.0.2.1", url: "/plain/plain/none", headers: bearer(KEYS.read) };
    await take({ limits: { requestsPerMinute: 2 } });
    const statuses = async () => [await app.app.inject(limited), await app.app.inject(limited), await app.app.inject(limited)].map((answer) => answer.statusCode);
    expect(await statuses()).toEqual([404, 404, 429]);
    await take({ limits: { requestsPerMinute: 0 }, log: { level: "error" }, audit: { reads: true } });
    const lines = (await app.logged()).length;
    expect(await statuses()).toEqual([404, 404, 404]);
    expect((await app.logged()).length).toBe(lines);
    await put("read", Buffer.from("x"));
    await status("/plain/plain/read", KEYS.read);
    await app.core.journal.flush();
    const audit = (await app.app.inject({ url: "/v1/admin/audit", headers: bearer(KEYS.admin) })).body;
    expect(audit).toContain('"action":"read"');
  });

  test("fails no request while it is taken over", async () => {
    await put("hot", Buffer.from("x"));
    const base = `${await app.listen()}/plain/plain`;
    let asking = true;
    const answers = new Set<number>();
    const loops = Array.from({ length: 4 }, async (_, index) => {
      for (let i = 0; asking; i++) {
        const answer = await (index % 2 ? fetch(`${base}/hot`, { headers: bearer(KEYS.read) }) : fetch(`${base}/hot-${index}-${i}`, { method: "PUT", headers: bearer(KEYS.write), body: "x".repeat(2_000) }));
        await answer.arrayBuffer();
        answers.add(answer.status);
      }
    });
    for (let i = 1; i <= 30; i++) {
      await take({ caches: { default: { quota: `${i}GiB` } }, auth: { adminKey: `${KEYS.admin}\nanother-admin-key-${i}` } });
      await setTimeout(5);
    }
    asking = false;
    await Promise.all(loops);
    expect([...answers].toSorted((a, b) => a - b)).toEqual([200, 201]);
  });

  test("that can't be taken over leaves everything as it was, and says so", async () => {
    const wrong = defaultConfig({ data: app.data, auth: { ...AUTH, writeKey: "the-new-write-key" } });
    (wrong.auth.github.rules as unknown[]).push({ cache: "default", defaultBranch: "main", trustedRefs: [] });
    wrong.auth.github.audience = "https://cache.example.com";
    await app.reconfiguration.take(wrong);
    expect([await status("/v1/auth/whoami", KEYS.write), await status("/v1/auth/whoami", "the-new-write-key")]).toEqual([200, 401]);
    expect([await metric("stowhouse_config_last_reload_successful"), await metric('stowhouse_config_reload_total{result="failure"}')]).toEqual([0, 1]);
    expect(await app.logged()).toContain("auth.github.rules[0]");
    await take();
    expect(await metric("stowhouse_config_last_reload_successful")).toBe(1);
  });
});
