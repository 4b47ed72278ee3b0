import { afterAll, beforeAll, expect, test } from "vitest";
import { startAdmin, type AdminServer } from "../../test/fixtures/admin.ts";

const HOUR = 3_600_000;
let server: AdminServer;
beforeAll(async () => {
  server = await startAdmin();
  const now = Date.now();
  const record = { keyspace: "gha", scope: "local:main", size: 5, result: "ok", address: "10.0.0.1" };
  const records = Array.from({ length: 6 }, (_, n) => ({ ...record, at: now - (6 - n) * HOUR, actor: n % 2 === 0 ? "key:even" : "session:odd", action: n < 3 ? "put" : "remove", cache: n === 5 ? "team" : "default", key: `k${n}` }));
  await server.core.database.write("appendAudit", { records });
});
afterAll(() => server.stop());

const keys = async (query: string) => (await server.call("GET", `/audit?${query}`)).body.records.map((record: { key: string }) => record.key);

test("lines come newest first, as they were written", async () => {
  const { status, body } = await server.call("GET", "/audit?actor=key:even");
  expect(status).toBe(200);
  expect(body.records.map((record: { key: string }) => record.key)).toEqual(["k4", "k2", "k0"]);
  expect(body.records[0]).toMatchObject({ at: expect.stringMatching(/Z$/), action: "remove", cache: "default", keyspace: "gha", scope: "local:main", size: 5, result: "ok", address: "10.0.0.1" });
});

test("they are picked by cache, actor, action and time", async () => {
  expect(await keys("cache=team")).toEqual(["k5"]);
  expect(await keys("actor=session:odd&action=put")).toEqual(["k1"]);
  expect(await keys(`action=remove&since=${new Date(Date.now() - 2.5 * HOUR).toISOString()}`)).toEqual(["k5", "k4"]);
});

test("they are read page by page", async () => {
  const seen: string[] = [];
  for (let before: number | null | undefined; before !== null; ) {
    const { body } = await server.call("GET", `/audit?action=put&limit=2${before === undefined ? "" : `&before=${before}`}`);
    seen.push(...body.records.map((record: { key: string }) => record.key));
    before = body.next;
  }
  expect(seen).toEqual(["k2", "k1", "k0"]);
});

test("a line just written is there at once", async () => {
  await server.call("POST", "/gc");
  expect(await server.audited("admin.gc")).toHaveLength(1);
});

test.each(["since=yesterday", "limit=501", "before=x", "before=0"])("%s is refused", async (query) => {
  expect((await server.call("GET", `/audit?${query}`)).status).toBe(400);
});
