import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { audit, expectSound, inline, named, newCache, put, read, textOf, type Subject } from "./subject.ts";

export function entries(get: () => Subject): void {
  describe("entries", () => {
    const db = () => get().database;

    test("an entry comes back as it was put, with its bytes", async () => {
      const name = named(newCache(), "k/ä 1", { version: "v1" });
      const put1 = await put(db(), name, inline("hello"), { metadata: '{"a":1}', trusted: false, expires: 9_000, now: 5_000 });
      expect(put1.status).toBe("created");
      const entry = (await read(db(), name))!;
      expect(entry).toMatchObject({ ...name, size: 5, metadata: '{"a":1}', trusted: false, created: 5_000, accessed: 5_000, expires: 9_000 });
      expect(entry).toEqual(put1.entry);
      expect(await db().read("entryById", { id: entry.id })).toEqual(entry);
      expect(await textOf(db(), entry)).toBe("hello");
    });

    test("an empty body is a body", async () => {
      const name = named(newCache());
      await put(db(), name, inline(""));
      expect(await textOf(db(), (await read(db(), name))!)).toBe("");
    });

    test("each part of a name tells entries apart, byte by byte", async () => {
      const cache = newCache();
      const names = [named(cache, "k"), named(cache, "K"), named(cache, "k "), named(cache, "k", { keyspace: "go" }), named(cache, "k", { scope: "local:other" }), named(cache, "k", { version: "2" }), named(newCache(), "k")];
      for (const [i, name] of names.entries()) expect((await put(db(), name, inline(`body ${i}`))).status).toBe("created");
      for (const [i, name] of names.entries()) expect(await textOf(db(), (await read(db(), name))!)).toBe(`body ${i}`);
    });

    test("an entry that may not be overwritten stays, one that may is replaced", async () => {
      const name = named(newCache());
      const first = await put(db(), name, inline("one"));
      expect(await put(db(), name, inline("two"))).toMatchObject({ status: "exists", entry: { id: first.entry.id } });
      expect(await textOf(db(), (await read(db(), name))!)).toBe("one");
      const third = await put(db(), name, inline("three"), { overwrite: true });
      expect(third.status).toBe("replaced");
      expect(third.entry.id).not.toBe(first.entry.id);
      expect(await textOf(db(), (await read(db(), name))!)).toBe("three");
      await expectSound(get());
    });

    test("an entry whose time is over gives its name to the next writer", async () => {
      const name = named(newCache());
      await put(db(), name, inline("old"), { expires: 2_000 });
      expect((await put(db(), name, inline("new"), { now: 1_999 })).status).toBe("exists");
      expect((await put(db(), name, inline("new"), { now: 2_000 })).status).toBe("replaced");
      expect(await textOf(db(), (await read(db(), name))!)).toBe("new");
      await expectSound(get());
    });

    test("the newest living entry with a prefix is found, in its own scope, keyspace and version", async () => {
      const cache = newCache();
      await put(db(), named(cache, "npm-1"), inline("1"), { now: 1 });
      await put(db(), named(cache, "npm-3"), inline("3"), { now: 3 });
      await put(db(), named(cache, "npm-2"), inline("2"), { now: 2 });
      await put(db(), named(cache, "npm-4"), inline("4"), { now: 4, expires: 10 });
      await put(db(), named(cache, "npm-9", { scope: "local:other" }), inline("x"), { now: 9 });
      await put(db(), named(cache, "npm-9", { version: "2" }), inline("x"), { now: 9 });
      await put(db(), named(cache, "NPM-9"), inline("x"), { now: 9 });
      const find = async (prefix: string, now: number) => (await db().read("findPrefix", { ...named(cache, prefix), now }))?.key;
      expect(await find("npm-", 9)).toBe("npm-4");
      expect(await find("npm-", 10)).toBe("npm-3");
      expect(await find("npm-2", 10)).toBe("npm-2");
      expect(await find("npm-22", 10)).toBeUndefined();
      expect(await find("%", 10)).toBeUndefined();
      expect(await find("npm_", 10)).toBeUndefined();
    });

    test("a prefix finds exactly the keys that start with it, in any script", async () => {
      const character = fc.constantFrom("a", "b", "%", "_", "\u007e", "\u0080", "é", "\ud7ff", "\ue000", "\uffff", "\u{1f600}", "\u{10ffff}");
      const text = fc.array(character, { minLength: 1, maxLength: 4 }).map((parts) => parts.join(""));
      await fc.assert(
        fc.asyncProperty(fc.uniqueArray(text, { minLength: 1, maxLength: 8 }), text, async (keys, prefix) => {
          const cache = newCache();
          await Promise.all(keys.map((key) => put(db(), named(cache, key), inline(key))));
          const listed = (await db().read("listEntries", { cache, prefix, limit: 500 })).map((entry) => entry.key);
          const expected = keys.filter((key) => key.startsWith(prefix));
          expect(listed.toSorted()).toEqual(expected.toSorted());
          const found = await db().read("findPrefix", { ...named(cache, prefix), now: 1 });
          expect(found !== undefined).toBe(expected.length > 0);
        }),
        { numRuns: 40 },
      );
    });

    test("lists go page by page, newest first, filtered by keyspace, scope, version and prefix", async () => {
      const cache = newCache();
      for (let i = 0; i < 7; i++) await put(db(), named(cache, `k${i}`, { scope: i % 2 ? "local:odd" : "local:even", version: i < 5 ? "a" : "b" }), inline(`${i}`));
      await put(db(), named(cache, "other", { keyspace: "go" }), inline("go"));
      const keys = (page: { key: string }[]) => page.map((entry) => entry.key);
      const first = await db().read("listEntries", { cache, keyspace: "gha", limit: 3 });
      expect(keys(first)).toEqual(["k6", "k5", "k4"]);
      const second = await db().read("listEntries", { cache, keyspace: "gha", limit: 3, before: first.at(-1)!.id });
      expect(keys(second)).toEqual(["k3", "k2", "k1"]);
      expect(keys(await db().read("listEntries", { cache, scopes: ["local:odd"], limit: 10 }))).toEqual(["k5", "k3", "k1"]);
      expect(keys(await db().read("listEntries", { cache, scopes: ["local:odd", "local:even"], version: "b", limit: 10 }))).toEqual(["k6", "k5"]);
      expect(keys(await db().read("listEntries", { cache, from: second.at(-1)!.id, before: first[1]!.id, limit: 10 }))).toEqual(["k4", "k3", "k2", "k1"]);
      expect(keys(await db().read("listEntries", { cache, prefix: "k1", limit: 10 }))).toEqual(["k1"]);
      expect(await db().read("listEntries", { cache, scopes: [], limit: 10 })).toEqual([]);
      expect(keys(await db().scan("listEntries", { cache, keyspace: "go", limit: 10 }))).toEqual(["other"]);
    });

    test("removing tells what was there, once, with one audit line a batch", async () => {
      const cache = newCache();
      const a = (await put(db(), named(cache, "a"), inline("a"))).entry;
      const b = (await put(db(), named(cache, "b"), inline("bb"))).entry;
      const record = { ...audit("remove"), cache };
      const gone = await db().write("removeEntries", { ids: [b.id, a.id, b.id, -1], now: 2_000, audit: record });
      expect(gone.map((entry) => entry.key).toSorted()).toEqual(["a", "b"]);
      expect(await db().write("removeEntries", { ids: [a.id], now: 2_000, audit: record })).toEqual([]);
      expect(await read(db(), named(cache, "a"))).toBeUndefined();
      const lines = (await db().read("queryAudit", { cache, action: "remove", limit: 10 }));
      expect(lines).toHaveLength(1);
      expect(lines[0]).toMatchObject({ key: "2 entries", size: 3 });
      await expectSound(get());
    });

    test("the audit line of a single removal names its entry", async () => {
      const cache = newCache();
      const { id } = (await put(db(), named(cache, "one", { scope: "local:x" }), inline("12345"))).entry;
      await db().write("removeEntries", { ids: [id], now: 2_000, audit: { ...audit("evict"), cache, keyspace: "", scope: "", key: "" } });
      expect((await db().read("queryAudit", { cache, action: "evict", limit: 10 }))[0]).toMatchObject({ keyspace: "gha", scope: "local:x", key: "one", size: 5 });
    });

    test("expired entries are found oldest first", async () => {
      const cache = newCache();
      for (const [key, expires] of [["b", 20], ["a", 10], ["c", 30], ["d", null]] as const) await put(db(), named(cache, key), inline(key), { now: 1, expires });
      const expired = async (now: number) => (await db().scan("expiredEntries", { now })).filter((entry) => entry.cache === cache).map((entry) => entry.key);
      expect(await expired(9)).toEqual([]);
      expect(await expired(20)).toEqual(["a", "b"]);
      const ids = (await db().scan("expiredEntries", { now: 100 })).map((entry) => entry.id);
      await db().write("removeEntries", { ids, now: 100, audit: audit("evict") });
    });

    test("eviction takes the least recently used of a class first, page by page", async () => {
      const cache = newCache();
      const ids: number[] = [];
      for (let i = 0; i < 6; i++) ids.push((await put(db(), named(cache, `k${i}`), inline(`${i}`), { now: i < 4 ? 100 : 100 + i, trusted: i !== 2 })).entry.id);
      // Uses reorder, never backwards in time.
      await db().write("touchEntries", { touches: [{ id: ids[0]!, at: 500, trust: false }, { id: ids[5]!, at: 1, trust: false }] });
      const page = (more: object) => db().scan("evictionCandidates", { cache, trusted: true, before: 1_000, limit: 2, ...more });
      const first = await page({});
      expect(first.map((entry) => entry.key)).toEqual(["k1", "k3"]);
      const second = await page({ after: first.at(-1)! });
      expect(second.map((entry) => entry.key)).toEqual(["k4", "k5"]);
      const third = await page({ after: second.at(-1)! });
      expect(third).toMatchObject([{ key: "k0", accessed: 500 }]);
      expect(await page({ after: third.at(-1)! })).toEqual([]);
      expect((await page({ before: 101 })).map((entry) => entry.key)).toEqual(["k1", "k3"]);
      expect((await page({ trusted: false })).map((entry) => entry.key)).toEqual(["k2"]);
    });

    test("a trusted use lifts an entry once, and its usage with it", async () => {
      const cache = newCache();
      const { id } = (await put(db(), named(cache), inline("12345"), { trusted: false })).entry;
      const touch = { id, at: 2_000, trust: true };
      await db().write("touchEntries", { touches: [touch] });
      await db().write("touchEntries", { touches: [touch, { ...touch, trust: false }] });
      expect(await read(db(), named(cache))).toMatchObject({ trusted: true, accessed: 2_000 });
      const usage = (await db().read("usage", { cache })).filter((row) => row.entries > 0);
      expect(usage).toEqual([{ cache, keyspace: "gha", trusted: true, entries: 1, bytes: 5 }]);
      await expectSound(get());
    });

    test("a touch of what is gone does nothing", async () => {
      await db().write("touchEntries", { touches: [{ id: -5, at: 1, trust: true }] });
      await db().write("touchEntries", { touches: [] });
      await expectSound(get());
    });

    test("the digest of a body in parts is remembered once", async () => {
      const name = named(newCache());
      const { entry } = await put(db(), name, inline("x"));
      await db().write("setDigest", { id: entry.id, digest: "0".repeat(64) });
      expect((await read(db(), name))!.digest).toBe(entry.digest);
    });

    test("usage adds up by cache, keyspace and trust, and ages by keyspace", async () => {
      const cache = newCache();
      const { entry: first } = await put(db(), named(cache, "a"), inline("123"), { now: 100 });
      const { entry: second } = await put(db(), named(cache, "b"), inline("12345"), { now: 300, trusted: false });
      const { entry: third } = await put(db(), named(cache, "c", { keyspace: "go" }), inline("1"), { now: 200 });
      const usage = await db().read("usage", { cache });
      expect(usage).toHaveLength(3);
      expect(usage).toEqual(expect.arrayContaining([
        { cache, keyspace: "gha", trusted: true, entries: 1, bytes: 3 },
        { cache, keyspace: "gha", trusted: false, entries: 1, bytes: 5 },
        { cache, keyspace: "go", trusted: true, entries: 1, bytes: 1 },
      ]));
      expect((await db().read("usage", {})).filter((row) => row.cache === cache)).toHaveLength(3);
      const ages = (await db().scan("agesPage", { after: first.id - 1, now: 1_000, limit: 2_000 })).filter((row) => row.cache === cache);
      expect(ages).toEqual(expect.arrayContaining([{ cache, keyspace: "gha", entries: 2, age: 1_600, last: second.id }, { cache, keyspace: "go", entries: 1, age: 800, last: third.id }]));
    });
  });
}
