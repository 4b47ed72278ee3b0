import { randomBytes } from "node:crypto";
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { startAdmin, type AdminServer } from "../../test/fixtures/admin.ts";

let server: AdminServer;
beforeEach(async () => void (server = await startAdmin()));
afterEach(() => server.stop());

/** The files that hold large bodies. */
function files(): string[] {
  const blobs = join(server.data, "blobs");
  return readdirSync(blobs, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && /[0-9a-f]{64}/.test(entry.name))
    .map((entry) => join(entry.parentPath, entry.name));
}

async function fsck(options = {}) {
  const started = await server.call("POST", "/fsck", { body: options });
  expect(started.status).toBe(202);
  await expect.poll(async () => (await server.call("GET", "/fsck")).body.state).not.toBe("running");
  return (await server.call("GET", "/fsck")).body;
}

describe("gc", () => {
  test("evicts and deletes what is due, and says how much", async () => {
    const entry = await server.put("stale", { body: "12345" });
    await server.put("fresh");
    await server.core.database.write("removeEntries", { ids: [(await server.put("removed", { body: "unlike the others" })).id], now: 0, audit: { at: 0, actor: "", action: "", cache: "", keyspace: "", scope: "", key: "", size: 0, result: "", address: "" } });
    // Not used for longer than the retention.
    server.core.caches.set({ ...server.core.caches.require("default"), retention: -1000, untrustedIdle: -1000 });
    const { status, body } = await server.call("POST", "/gc");
    expect([status, body.evicted, body.evictedBytes, body.uploads]).toEqual([200, 2, 6, 0]);
    expect(body.collected).toBeGreaterThanOrEqual(1);
    expect((await server.call("DELETE", `/entries/${entry.id}`)).status).toBe(404);
    expect((await server.audited("admin.gc"))[0]).toMatchObject({ result: "ok" });
  });

  test("is told beforehand, with sizes and why, and nothing goes for it", async () => {
    const entry = await server.put("stale", { body: "12345" });
    server.core.caches.set({ ...server.core.caches.require("default"), retention: -1000, untrustedIdle: -1000 });
    for (let twice = 0; twice < 2; twice++) {
      const { status, body } = await server.call("GET", "/gc");
      expect(status).toBe(200);
      expect(body).toMatchObject({ entries: 1, bytes: 5, cut: false, sums: [{ cache: "default", reason: "idle", entries: 1, bytes: 5 }], first: [{ key: "stale", scope: entry.scope, size: 5, reason: "idle" }] });
    }
  });

  test("asked for twice at once runs once", async () => {
    await server.put("stale");
    server.core.caches.set({ ...server.core.caches.require("default"), retention: -1000 });
    const [first, second] = await Promise.all([server.call("POST", "/gc"), server.call("POST", "/gc")]);
    expect(first.body).toEqual(second.body);
  });
});

describe("fsck", () => {
  test("of a sound server finds nothing, and nothing has run before", async () => {
    expect((await server.call("GET", "/fsck")).body).toEqual({ number: 0, state: "idle", verify: false, dryRun: false, started: null, finished: null, report: null, error: null });
    await server.put("small");
    await server.put("large", { body: randomBytes(200_000) });
    expect(await fsck({ verify: true })).toMatchObject({ number: 1, state: "done", verify: true, dryRun: false, error: null, report: { blobs: 2, missing: 0, corrupt: 0, orphans: 0 } });
    expect((await server.audited("admin.fsck"))[0]).toMatchObject({ result: "done", key: expect.stringContaining('"blobs":2') });
  });

  test("finds a body that is gone, and one whose bytes were changed only when it reads them", async () => {
    await server.put("gone", { body: randomBytes(200_000) });
    rmSync(files()[0]!);
    const rotten = await server.put("rotten", { body: randomBytes(200_000) });
    const [file] = files();
    const bytes = readFileSync(file!);
    bytes[1000]! ^= 1;
    writeFileSync(file!, bytes);

    expect((await fsck({ dryRun: true })).report).toMatchObject({ missing: 1, corrupt: 0 });
    expect((await fsck({ dryRun: true, verify: true })).report).toMatchObject({ missing: 1, corrupt: 1 });
    expect((await server.call("GET", "/entries")).body.entries).toHaveLength(2);
    expect((await fsck()).report).toMatchObject({ missing: 1, corrupt: 0 });
    expect((await server.call("GET", "/entries")).body.entries).toMatchObject([{ id: rotten.id }]);
    expect((await fsck({ verify: true })).report).toMatchObject({ corrupt: 1 });
    expect((await server.call("GET", "/entries")).body.entries).toEqual([]);
  });

  test("runs once at a time", async () => {
    const gate = Promise.withResolvers<void>();
    for (const store of server.core.stores.values()) vi.spyOn(store, "sweep").mockImplementation(() => gate.promise.then(() => 0));
    expect((await server.call("POST", "/fsck")).body).toMatchObject({ number: 1, state: "running" });
    expect(await server.call("POST", "/fsck")).toMatchObject({ status: 409, body: { error: { code: "STOW_BUSY" } } });
    gate.resolve();
    await expect.poll(async () => (await server.call("GET", "/fsck")).body.state).toBe("done");
  });

  test("that fails says why", async () => {
    for (const store of server.core.stores.values()) vi.spyOn(store, "sweep").mockRejectedValue(new Error("disk on fire"));
    expect(await fsck()).toMatchObject({ state: "failed", error: "disk on fire" });
  });

  test.each([{ verify: "yes" }, { verfiy: true }])("is refused with %o", async (body) => {
    expect((await server.call("POST", "/fsck", { body })).status).toBe(400);
  });
});
