import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { startAdmin, type AdminServer } from "../../test/fixtures/admin.ts";
import { CacheSettings, resolveCacheSettings } from "../config.ts";
import { Log } from "../http/log.ts";
import { loadCaches, type ManagedCaches } from "./caches.ts";

let server: AdminServer;
let serial = 0;
/** A name no other test uses. */
let name: string;
beforeAll(async () => void (server = await startAdmin({ caches: { team: { quota: "2GiB" } } })));
beforeEach(() => void (name = `extra-${++serial}`));
afterEach(() => void vi.useRealTimers());
afterAll(() => server.stop());

/** Closes a server and starts another one on the same data. */
async function restarted(first: AdminServer, settings = {}): Promise<AdminServer> {
  await first.close();
  return startAdmin(settings, first.data);
}

const put = (cache: string, body: unknown, to = server) => to.call("PUT", `/caches/${cache}`, { body });
const entriesOf = async (cache: string, of = server) => (await of.core.database.read("usage", { cache })).reduce((sum, row) => sum + row.entries, 0);

/** The caches as another process on the same database sees them. */
function replica(storages = ["default"]): Promise<ManagedCaches> {
  const declarations = { configured: new Set(["default", "team"]), schema: CacheSettings, resolve: (settings: unknown) => resolveCacheSettings(settings, { storages, entrySize: 2 ** 30 }) };
  return loadCaches(server.core, declarations, new Log("silent"));
}

describe("a cache made here", () => {
  test("has its settings, takes entries at once, and is shown with what holds", async () => {
    const made = await put(name, { quota: "1GiB", retention: "7d", anonymousRead: true });
    expect(made).toMatchObject({ status: 201, body: { name, source: "api", state: "ready", settings: { quota: "1GiB" }, effective: { quota: 2 ** 30, retentionSeconds: 604_800, untrustedShare: 0.25, anonymousRead: true } } });
    await server.put("k", { cache: name });
    expect(server.core.caches.get(name)).toMatchObject({ quota: 2 ** 30, storages: ["default"] });
    expect((await server.call("GET", `/caches/${name}`)).body).toEqual(made.body);
  });

  test("is changed by putting other settings, which void what grants were made of the old", async () => {
    await put(name, { quota: "1GiB" });
    const { epoch } = server.core.caches;
    expect(await put(name, { quota: "3GiB" })).toMatchObject({ status: 200, body: { effective: { quota: 3 * 2 ** 30, retentionSeconds: 2_592_000 } } });
    expect(server.core.caches.epoch).toBeGreaterThan(epoch);
    expect(server.core.caches.get(name)!.quota).toBe(3 * 2 ** 30);
  });

  test("needs no settings at all", async () => {
    expect((await server.call("PUT", `/caches/${name}`)).status).toBe(201);
  });

  test("outlives a restart", async () => {
    const first = await startAdmin();
    await put(name, { quota: "1GiB" }, first);
    const second = await restarted(first);
    expect(second.core.caches.get(name)!.quota).toBe(2 ** 30);
    await second.stop();
  });

  test.each([
    [{ quota: "1G" }, "quota: expected a size"],
    [{ quoat: "1GiB" }, "did you mean quota"],
    [{ storages: ["nowhere"] }, "nowhere"],
    [[], "expected an object"],
  ])("with %o is refused, saying why", async (settings, why) => {
    const { status, body } = await put(name, settings);
    expect([status, body.error.code]).toEqual([400, "STOW_BAD_REQUEST"]);
    expect(body.error.message).toContain(why);
    expect((await server.call("GET", `/caches/${name}`)).status).toBe(404);
  });

  test.each(["Extra", "-x", "x".repeat(64)])("is not called %s", async (wrong) => {
    expect((await put(wrong, {})).status).toBe(400);
  });
});

describe("a cache of the configuration", () => {
  test("is shown, and changed there only", async () => {
    const { body } = await server.call("GET", "/caches");
    expect(body.caches.filter((cache: { source: string }) => cache.source === "configuration").map((cache: { name: string }) => cache.name)).toEqual(["default", "team"]);
    expect((await server.call("GET", "/caches/team")).body).toMatchObject({ source: "configuration", effective: { quota: 2 * 2 ** 30 } });
    expect((await put("team", { quota: "1GiB" })).status).toBe(400);
    expect((await server.call("DELETE", "/caches/team")).status).toBe(400);
  });

  test("wins over one of the same name that was made here before", async () => {
    const first = await startAdmin();
    await put(name, { quota: "1GiB" }, first);
    const second = await restarted(first, { caches: { [name]: { quota: "5GiB" } } });
    expect(second.core.caches.get(name)!.quota).toBe(5 * 2 ** 30);
    await second.stop();
  });
});

describe("a deleted cache", () => {
  test("ends at once, its entries go, those of others stay", async () => {
    await put(name, {});
    for (let i = 0; i < 120; i++) await server.put(`k${i}`, { cache: name, trusted: i % 2 === 0 });
    await server.put("mine");
    expect(await server.call("DELETE", `/caches/${name}`)).toMatchObject({ status: 202, body: { state: "removing", settings: null } });
    await expect(server.put("late", { cache: name })).rejects.toMatchObject({ code: "STOW_NO_CACHE" });
    await expect.poll(() => entriesOf(name)).toBe(0);
    expect(await entriesOf("default")).toBe(1);
    expect((await server.call("DELETE", `/caches/${name}`)).status).toBe(404);
    expect((await server.audited("purge"))[0]).toMatchObject({ actor: "server", cache: name });
  });

  test("keeps its name until every replica has heard of it", async () => {
    await put(name, {});
    await server.call("DELETE", `/caches/${name}`);
    expect(await put(name, {})).toMatchObject({ status: 409, body: { error: { code: "STOW_BUSY" } } });
    const caches = await replica();
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 60_000 });
    await caches.work();
    await caches.work();
    await caches.close();
    expect((await put(name, {})).status).toBe(201);
  });

  test("whose removal a crash has cut short is removed after the next start", async () => {
    const first = await startAdmin();
    await put(name, {}, first);
    await first.put("k", { cache: name });
    // What a crash right after the mark leaves behind.
    await first.core.database.write("putCache", { name, settings: null, now: Date.now() });
    const second = await restarted(first);
    await expect.poll(() => entriesOf(name, second)).toBe(0);
    await second.stop();
  });
});

describe("what another replica does", () => {
  test("is learnt within ten seconds", async () => {
    vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
    const caches = await replica();
    await caches.work();
    await server.core.database.write("putCache", { name, settings: { quota: "1GiB" }, now: 1 });
    vi.advanceTimersByTime(10_000);
    await caches.work();
    expect(server.core.caches.get(name)!.quota).toBe(2 ** 30);
    await server.core.database.write("putCache", { name, settings: null, now: 2 });
    vi.advanceTimersByTime(10_000);
    await caches.work();
    expect(server.core.caches.get(name)).toBeUndefined();
    await caches.close();
  });

  test("leaves what has not changed as it is: grants hang on it", async () => {
    await put(name, {});
    const { epoch } = server.core.caches;
    const before = server.core.caches.get(name);
    await server.call("GET", "/caches");
    expect(server.core.caches.get(name)).toBe(before);
    expect(server.core.caches.epoch).toBe(epoch);
  });
});

test("a cache whose storage was taken away is left out, and its entries are kept", async () => {
  await put(name, { storages: ["default"] });
  await server.put("k", { cache: name });
  const caches = await replica(["another"]);
  expect(server.core.caches.get(name)).toBeUndefined();
  expect(await entriesOf(name)).toBe(1);
  expect((await server.call("GET", `/caches/${name}`)).body).toMatchObject({ state: "unfit", effective: null });
  await caches.close();
});

test("every change leaves a line in the audit log", async () => {
  await put(name, {});
  await put(name, { quota: "1GiB" });
  await server.call("DELETE", `/caches/${name}`);
  for (const action of ["create", "change", "delete"]) expect((await server.audited(`admin.cache.${action}`))[0], action).toMatchObject({ cache: name, result: "ok" });
});
