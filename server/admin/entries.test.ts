import fc from "fast-check";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { startAdmin, type AdminServer } from "../../test/fixtures/admin.ts";

let server: AdminServer;
let serial = 0;
/** A cache no other test uses. */
let cache: string;
beforeAll(async () => void (server = await startAdmin()));
beforeEach(async () => {
  cache = `cache-${++serial}`;
  await server.call("PUT", `/caches/${cache}`, { body: {} });
});
afterAll(() => server.stop());

interface Listed {
  readonly key: string;
  readonly scope: string;
  readonly keyspace: string;
  readonly version: string;
}

const query = (fields: Record<string, unknown>) => `/entries?${new URLSearchParams({ cache, ...(fields as Record<string, string>) }).toString()}`;

/** All pages of a listing. */
async function list(fields: Record<string, unknown> = {}): Promise<Listed[]> {
  const found: Listed[] = [];
  for (let cursor: string | undefined; ; ) {
    const { status, body } = await server.call("GET", query({ ...fields, ...(cursor === undefined ? {} : { cursor }) }));
    expect(status).toBe(200);
    found.push(...body.entries);
    if (body.next === null) return found;
    cursor = body.next;
  }
}
const keys = async (fields: Record<string, unknown> = {}) => (await list(fields)).map((entry) => entry.key);

describe("a listing", () => {
  test("shows all of an entry but its body and where that is", async () => {
    const entry = await server.put("k", { cache, body: "hello", version: "v1", scope: "7:refs/pull/1/merge", trusted: false });
    const { body } = await server.call("GET", query({}));
    expect(body).toEqual({
      entries: [{
        id: entry.id, cache, keyspace: "test", scope: "7:refs/pull/1/merge", key: "k", version: "v1", size: 5, digest: entry.digest, trusted: false,
        created: new Date(entry.created).toISOString(), used: new Date(entry.accessed).toISOString(), expires: null,
      }],
      next: null,
    });
  });

  test("goes by the filter: keyspace, scope, key and prefix", async () => {
    await server.put("app-1", { cache });
    await server.put("app-2", { cache, scope: "team:ci" });
    await server.put("lib-1", { cache, keyspace: "go" });
    await server.put("app", { cache, keyspace: "go", version: "x" });
    expect((await keys()).toSorted()).toEqual(["app", "app-1", "app-2", "lib-1"]);
    expect(await keys({ keyspace: "go" })).toEqual(["lib-1", "app"]);
    expect(await keys({ scope: "team:ci" })).toEqual(["app-2"]);
    expect(await keys({ prefix: "app-" })).toEqual(["app-1", "app-2"]);
    expect(await keys({ key: "app" })).toEqual(["app"]);
    expect(await keys({ key: "app", keyspace: "test" })).toEqual([]);
    expect(await keys({ keyspace: "nowhere" })).toEqual([]);
  });

  test("of recent entries begins with the last used", async () => {
    const entries = [];
    for (const key of ["a", "b", "c"]) entries.push(await server.put(key, { cache, trusted: key !== "b" }));
    const now = Date.now();
    for (const [index, at] of [[0, now + 3_000], [1, now + 9_000], [2, now + 6_000]] as const) server.core.journal.touch(entries[index]!, undefined, at);
    expect(await keys({ recent: true })).toEqual(["b", "c", "a"]);
    expect(await keys({ recent: true, limit: 1 })).toEqual(["b", "c", "a"]);
    expect(await keys({ recent: true, prefix: "a" })).toEqual(["a"]);
  });

  test.each([{ limit: 0 }, { limit: 501 }, { limit: "x" }, { recent: "maybe" }, { cursor: "nonsense" }, { cursor: Buffer.from('["use",1,2]').toString("base64url") }, { scope: "" }])("with %o is refused", async (fields) => {
    expect((await server.call("GET", query(fields))).status).toBe(400);
  });

  test("of a cache that does not exist is not found", async () => {
    expect((await server.call("GET", "/entries?cache=nowhere")).status).toBe(404);
    expect((await server.call("DELETE", "/entries?cache=nowhere&all=true")).status).toBe(404);
  });

  test("has each entry exactly once, whatever the filter, order and page size", async () => {
    const name = fc.record({ key: fc.constantFrom("a", "ab", "b", "ä", "\u{10FFFF}", "a b"), keyspace: fc.constantFrom("go", "gha"), scope: fc.constantFrom("local:main", "team:ci"), version: fc.constantFrom("", "1", "2") });
    const identity = (entry: Listed) => JSON.stringify([entry.keyspace, entry.scope, entry.version, entry.key]);
    const all = fc.sample(fc.uniqueArray(name, { minLength: 25, maxLength: 40, selector: identity }), { numRuns: 1, seed: 7 })[0]!;
    for (const { key, ...rest } of all) await server.put(key, { cache, ...rest });
    await fc.assert(
      fc.asyncProperty(
        fc.record({ keyspace: fc.constantFrom("go", "gha"), scope: fc.constantFrom("local:main", "team:ci"), prefix: fc.constantFrom("a", "ä", "x"), key: fc.constantFrom("a", "ab") }, { requiredKeys: [] }),
        fc.boolean(),
        fc.integer({ min: 1, max: 12 }),
        async (filter, recent, limit) => {
          const fits = all.filter(
            (entry) =>
              (filter.keyspace ?? entry.keyspace) === entry.keyspace && (filter.scope ?? entry.scope) === entry.scope && (filter.key ?? entry.key) === entry.key && entry.key.startsWith(filter.prefix ?? ""),
          );
          const found = await list({ ...filter, recent, limit });
          expect(found.map(identity).toSorted()).toEqual(fits.map(identity).toSorted());
        },
      ),
      { numRuns: 40 },
    );
  });
});

describe("removing", () => {
  const remove = (fields: Record<string, unknown>) => server.call("DELETE", query(fields));

  test("one entry takes it from its readers at once", async () => {
    const entry = await server.put("k", { cache });
    const grant = { cache, read: ["local:main"], write: null, trusted: false, admin: false, actor: "key:test" };
    const read = async () => (await server.core.catalog.get(grant, { name: "test", maxKeyLength: 100 }, "k")).entry;
    expect(await read()).toBeDefined();
    expect(await server.call("DELETE", `/entries/${entry.id}`)).toMatchObject({ status: 200, body: { id: entry.id, key: "k" } });
    expect(await read()).toBeUndefined();
    expect((await server.call("DELETE", `/entries/${entry.id}`)).status).toBe(404);
    expect((await server.call("DELETE", "/entries/x")).status).toBe(400);
  });

  test("by filter takes what fits and nothing else", async () => {
    await server.put("app-1", { cache, body: "12345" });
    await server.put("app-2", { cache, scope: "team:ci", body: "123" });
    await server.put("lib-1", { cache });
    expect(await remove({ prefix: "app-" })).toEqual({ status: 200, body: { entries: 2, bytes: 8, next: null } });
    expect(await keys()).toEqual(["lib-1"]);
    expect((await server.audited("admin.entry.remove"))[0]).toMatchObject({ cache, key: "2 entries", size: 8, actor: expect.stringMatching(/^key:/) });
  });

  test("in a dry run takes nothing, and counts the same", async () => {
    for (const key of ["a", "b"]) await server.put(key, { cache, body: "123" });
    expect((await remove({ all: true, dryRun: true })).body).toEqual({ entries: 2, bytes: 6, next: null });
    expect(await keys()).toEqual(["a", "b"]);
    expect((await remove({ all: true })).body).toEqual({ entries: 2, bytes: 6, next: null });
    expect(await keys()).toEqual([]);
  });

  test("everything needs to be said in so many words", async () => {
    await server.put("a", { cache });
    expect((await remove({})).status).toBe(400);
    expect((await remove({ keysapce: "go", all: true })).status).toBe(400);
    expect(await keys()).toEqual(["a"]);
  });

  test("many goes on where it stopped", async () => {
    // As many rows as one answer removes, and some more.
    const rows = 5_100;
    const now = Date.now();
    const audit = { at: now, actor: "key:test", action: "put", cache, keyspace: "go", scope: "local:main", key: "", size: 1, result: "ok", address: "" };
    await Promise.all(
      Array.from({ length: rows }, (_, n) =>
        server.core.database.write("putEntry", {
          cache, keyspace: "go", scope: "local:main", key: `k${n}`, version: "", metadata: null, trusted: true, expires: null, now, overwrite: false, audit,
          blob: { digest: "0".repeat(64), size: 1, store: null, name: null, bytes: Buffer.from("x") },
        }),
      ),
    );
    const first = (await remove({ keyspace: "go" })).body;
    expect([first.entries, first.next === null]).toEqual([5_000, false]);
    expect((await remove({ keyspace: "go", cursor: first.next })).body).toEqual({ entries: 100, bytes: 100, next: null });
    expect(await keys()).toEqual([]);
  });
});
