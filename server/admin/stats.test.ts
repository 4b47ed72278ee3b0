import { afterAll, beforeAll, expect, test } from "vitest";
import { startAdmin, type AdminServer } from "../../test/fixtures/admin.ts";

let server: AdminServer;
beforeAll(async () => void (server = await startAdmin({ caches: { team: {} } })));
afterAll(() => server.stop());

const stats = async (query = "") => (await server.call("GET", `/stats${query}`)).body;

test("requests just counted and entries just stored are in the figures", async () => {
  await server.put("a", { body: "12345", keyspace: "gha" });
  await server.put("b", { body: "123", keyspace: "gha", trusted: false });
  const counts = { hit: 3, miss: 1, download_ok: 2, download_ms: 30, download_le_25: 2 };
  for (const [name, count] of Object.entries(counts)) server.core.journal.counter("default", "gha", name).value += count;
  const { days, caches } = await stats();
  expect(days).toBe(30);
  expect(caches.map((one: { cache: string }) => one.cache)).toEqual(["default", "team"]);
  expect(caches[0]).toMatchObject({
    quota: 50 * 2 ** 30, entries: 2, bytes: 8, trustedBytes: 5, untrustedBytes: 3, pendingBytes: 0, hitRate: 0.75, downloads: { ok: 2, averageMs: 15 },
    keyspaces: [{ keyspace: "gha", entries: 2, hits: 3, misses: 1 }],
  });
  expect(caches[0].meanAgeSeconds).toBeGreaterThanOrEqual(0);
  expect(caches[0].meanAgeSeconds).toBeLessThan(60);
  expect(caches[0].downloads.p95Ms).toBeLessThanOrEqual(25);
});

test("only the days asked for count", async () => {
  const today = Math.floor(Date.now() / 86_400_000);
  const write = (day: number, value: number) => server.core.database.write("addStats", { day, rows: [{ cache: "team", keyspace: "nip", name: "hit", value }] });
  await write(today - 6, 10);
  await write(today - 7, 100);
  const hits = async (days: number) => (await stats(`?days=${days}&cache=team`)).caches[0].hits;
  expect([await hits(1), await hits(7), await hits(8)]).toEqual([0, 10, 110]);
  expect((await stats("?days=7")).since).toBe(new Date((today - 6) * 86_400_000).toISOString());
});

test("parts that wait for their commit are told beside the entries", async () => {
  const grant = { cache: "team", read: ["local:main"], write: "local:main", trusted: true, admin: false, actor: "key:test" };
  const upload = await server.core.uploads.reserve(grant, { name: "gha", maxKeyLength: 100 }, "k", "v");
  await server.core.uploads.part(upload, "1", 0, Buffer.from("1234"));
  expect((await stats("?cache=team")).caches).toMatchObject([{ cache: "team", entries: 0, bytes: 0, pendingBytes: 4 }]);
});

test("a cache that was deleted is told as long as it holds something", async () => {
  await server.call("PUT", "/caches/gone", { body: {} });
  await server.put("a", { cache: "gone", body: "123" });
  // As on another replica, which has not begun to remove them.
  server.core.caches.delete("gone");
  expect((await stats("?cache=gone")).caches).toMatchObject([{ cache: "gone", quota: null, entries: 1, bytes: 3 }]);
});

test.each(["?days=0", "?days=91", "?days=x", "?cache=Default"])("%s is refused", async (query) => {
  expect((await server.call("GET", `/stats${query}`)).status).toBe(400);
});

test("the version is told, and mean ages may be left out, because every entry is read for them", async () => {
  await server.put("aged", { body: "123" });
  const answer = await stats("?ages=false");
  expect(answer.version).toMatch(/^\d+\.\d+\.\d+/);
  expect(answer.caches.every((cache: { meanAgeSeconds: unknown }) => cache.meanAgeSeconds === null)).toBe(true);
});

test("figures of a cache that does not exist are not found", async () => {
  expect((await server.call("GET", "/stats?cache=nowhere")).status).toBe(404);
});
