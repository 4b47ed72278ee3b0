import { createHash } from "node:crypto";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from "vitest";
import { bytesOf, CAS, FIXED, grant, LOOSE, putText, startCore, textOf, type TestCore, type TestOptions } from "../../test/fixtures/core.ts";
import type { Entry } from "./entry.ts";
import { RecentEntries } from "./recent.ts";

async function core(options: TestOptions = {}): Promise<TestCore> {
  const started = await startCore(options);
  onTestFinished(() => started.remove());
  return started;
}

const main = grant("1:refs/heads/main");
const feature = grant("1:refs/heads/feature", { read: ["1:refs/heads/feature", main.read[0]!], trusted: false });
const pull = grant("1:refs/pull/7/merge", { read: ["1:refs/pull/7/merge", "1:refs/heads/feature", main.read[0]!], trusted: false });
const stranger = grant("2:refs/heads/main");
const audit = { at: 1, actor: "key:test", action: "remove", cache: "default", keyspace: "", scope: "", key: "", size: 0, result: "ok", address: "" };

describe("reading a name", () => {
  test("takes the first scope with a hit, in the grant's order", async () => {
    const { catalog, ...rest } = await core();
    const on = { catalog, ...rest };
    await putText(on, main, FIXED, "k", "main's");
    expect(await textOf(on, pull, FIXED, "k")).toBe("main's");
    await putText(on, feature, FIXED, "k", "feature's");
    expect(await textOf(on, pull, FIXED, "k")).toBe("feature's");
    await putText(on, pull, FIXED, "k", "pull's");
    expect([await textOf(on, pull, FIXED, "k"), await textOf(on, feature, FIXED, "k"), await textOf(on, main, FIXED, "k")]).toEqual(["pull's", "feature's", "main's"]);
    expect(await textOf(on, stranger, FIXED, "k")).toBeUndefined();
    expect(await textOf(on, grant("x:y", { read: [] }), FIXED, "k")).toBeUndefined();
  });

  test("tells versions, keyspaces, caches and upper case apart", async () => {
    const on = await core();
    await putText(on, main, FIXED, "k", "v1", { version: "1" });
    expect(await textOf(on, main, FIXED, "k", "1")).toBe("v1");
    for (const [keyspace, key, version] of [[FIXED, "k", ""], [FIXED, "k", "2"], [FIXED, "K", "1"], [LOOSE, "k", "1"]] as const) expect(await textOf(on, main, keyspace, key, version)).toBeUndefined();
    expect(await textOf(on, { ...main, cache: "other" }, FIXED, "k", "1")).toBeUndefined();
  });

  test("shares content-addressed entries among all scopes of a cache that read anything", async () => {
    const on = await core();
    const key = createHash("sha256").update("content").digest("hex");
    await putText(on, main, CAS, key, "content");
    expect(await textOf(on, stranger, CAS, key)).toBe("content");
    expect(await textOf(on, grant("x:y", { read: [] }), CAS, key)).toBeUndefined();
    expect(await textOf(on, { ...stranger, cache: "other" }, CAS, key)).toBeUndefined();
  });

  test.each([
    ["an empty key", FIXED, "", ""], ["a control character", FIXED, "a\u0000b", ""], ["a line break", FIXED, "a\nb", ""], ["a lone surrogate", FIXED, "a\ud800", ""],
    ["513 bytes", FIXED, "x".repeat(513), ""], ["257 letters of two bytes", FIXED, "é".repeat(257), ""], ["a version with a control character", FIXED, "k", "\u007f"],
    ["a long version", FIXED, "k", "v".repeat(513)], ["a digest in upper case", CAS, "A".repeat(64), ""], ["no digest", CAS, "abc", ""],
  ])("refuses %s", async (_, keyspace, key, version) => {
    const on = await core();
    expect(() => on.catalog.get(main, keyspace, key, version)).toThrow(/The key is not valid/);
    await expect(on.bodies.put(main, keyspace, key, Buffer.from("x"), { version })).rejects.toMatchObject({ status: 400 });
  });

  test("misses an entry from the moment its time is over, in RAM too, and its name is free", async () => {
    vi.useFakeTimers({ now: 1_000_000, toFake: ["Date"] });
    onTestFinished(() => void vi.useRealTimers());
    const on = await core();
    await putText(on, main, FIXED, "k", "short", { expires: 1_000_500 });
    expect(await textOf(on, main, FIXED, "k")).toBe("short");
    await expect(putText(on, main, FIXED, "k", "too early")).rejects.toMatchObject({ code: "STOW_EXISTS" });
    vi.setSystemTime(1_000_500);
    expect(await textOf(on, main, FIXED, "k")).toBeUndefined();
    await putText(on, main, FIXED, "k", "next");
    expect(await textOf(on, main, FIXED, "k")).toBe("next");
  });
});

describe("finding as GitHub does", () => {
  const find = async (on: TestCore, by: typeof main, key: string, prefixes: string[], version = "") => (await on.catalog.find(by, FIXED, { key, prefixes, version }))?.key;

  test("the scope is the outer loop: a prefix in the own scope beats the exact key in the next", async () => {
    const on = await core();
    await putText(on, main, FIXED, "npm-linux-abc", "exact, in main");
    await putText(on, feature, FIXED, "npm-linux-old", "prefix, in feature");
    expect(await find(on, feature, "npm-linux-abc", ["npm-linux-"])).toBe("npm-linux-old");
    expect(await find(on, feature, "npm-linux-abc", [])).toBe("npm-linux-abc");
    expect(await find(on, main, "npm-linux-abc", ["npm-linux-"])).toBe("npm-linux-abc");
  });

  test("inside a scope: the exact key, then the newest of each prefix in their order", async () => {
    const on = await core();
    for (const key of ["a-1", "a-2", "b-1", "b-2", "a-1-old"]) await putText(on, main, FIXED, key, key);
    expect(await find(on, main, "a-1", ["b-", "a-"])).toBe("a-1");
    expect(await find(on, main, "a-9", ["a-1", "b-"])).toBe("a-1-old");
    expect(await find(on, main, "z", ["none-", "b-", "a-"])).toBe("b-2");
    expect(await find(on, main, "z", ["none-"])).toBeUndefined();
    expect(await find(on, main, "z", ["A-"])).toBeUndefined();
  });

  test("passes over the newest when its time is over", async () => {
    vi.useFakeTimers({ now: 1_000_000, toFake: ["Date"] });
    onTestFinished(() => void vi.useRealTimers());
    const on = await core();
    await putText(on, main, FIXED, "a-1", "older");
    await putText(on, main, FIXED, "a-2", "newest", { expires: 1_000_100 });
    expect(await find(on, main, "a-", ["a-"])).toBe("a-2");
    vi.setSystemTime(1_000_200);
    expect(await find(on, main, "a-", ["a-"])).toBe("a-1");
  });

  test("never finds in other scopes, versions or keyspaces", async () => {
    const on = await core();
    await putText(on, stranger, FIXED, "k-1", "foreign");
    await putText(on, main, FIXED, "k-2", "other version", { version: "2" });
    await putText(on, main, LOOSE, "k-3", "other keyspace");
    expect(await find(on, main, "k-1", ["k-", "k"])).toBeUndefined();
  });
});

describe("removing and listing", () => {
  test("a grant removes from its own scope alone, and nothing that all share", async () => {
    const on = await core();
    const key = createHash("sha256").update("c").digest("hex");
    await putText(on, main, FIXED, "k", "main's");
    await putText(on, main, CAS, key, "c");
    expect(await on.catalog.remove(feature, FIXED, "k", "", audit)).toBe(false);
    expect(await on.catalog.remove(main, CAS, key, "", audit)).toBe(false);
    await expect(on.catalog.remove(grant("r:o", { read: main.read, write: null }), FIXED, "k", "", audit)).rejects.toMatchObject({ code: "STOW_FORBIDDEN_WRITE" });
    expect(await textOf(on, feature, FIXED, "k")).toBe("main's");
    expect(await on.catalog.remove(main, FIXED, "k", "", audit)).toBe(true);
    expect(await on.catalog.remove(main, FIXED, "k", "", audit)).toBe(false);
    expect(await textOf(on, feature, FIXED, "k")).toBeUndefined();
    expect(on.audited.filter((line) => line.action === "remove")).toMatchObject([{ key: "k" }]);
  });

  test("a list holds what the grant reads, and no digests of what others have stored", async () => {
    const on = await core();
    const key = createHash("sha256").update("c").digest("hex");
    await putText(on, main, FIXED, "a", "1");
    await putText(on, feature, FIXED, "b", "2");
    await putText(on, stranger, FIXED, "c", "3");
    await putText(on, stranger, CAS, key, "c");
    const keys = async (by: typeof main, query: object = {}) => (await on.catalog.list(by, { limit: 10, ...query })).map((entry) => entry.key);
    expect(await keys(feature)).toEqual(["b", "a"]);
    expect(await keys(main)).toEqual(["a"]);
    expect(await keys(grant("x:y", { read: [] }))).toEqual([]);
    expect(await keys(feature, { prefix: "a" })).toEqual(["a"]);
    expect(await keys(feature, { limit: 1 })).toEqual(["b"]);
    expect(await keys({ ...main, cache: "other" })).toEqual([]);
  });
});

/** The catalog against plain maps: what RAM holds may never show. */
describe("the catalog and a model of it agree", () => {
  beforeEach(() => void vi.useFakeTimers({ now: 1_000_000, toFake: ["Date"] }));
  afterEach(() => void vi.useRealTimers());

  const grants = [main, feature, pull, stranger];
  const who = fc.nat(grants.length - 1);
  const key = fc.constantFrom("a-1", "a-2", "b");
  const command = fc.oneof(
    { weight: 4, arbitrary: fc.record({ do: fc.constant("put" as const), who, key, overwrite: fc.boolean(), life: fc.option(fc.integer({ min: 1, max: 30 }), { freq: 2 }) }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant("remove" as const), who, key }) },
    { weight: 6, arbitrary: fc.record({ do: fc.constant("get" as const), who, key }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant("find" as const), who, key, prefixes: fc.array(fc.constantFrom("a-", "b", "a"), { maxLength: 2 }) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant("list" as const), who }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant("evict" as const), who, key }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant("wait" as const), ms: fc.integer({ min: 1, max: 20 }) }) },
  );

  for (const entryMemory of [0, 2, 1_000]) {
    test(`with room for ${entryMemory} entries in RAM`, { timeout: 60_000 }, async () => {
      const on = await core({ entryMemory });
      let round = 0;
      await fc.assert(
        fc.asyncProperty(fc.array(command, { maxLength: 60 }), async (commands) => {
          // Each run has scopes of its own.
          const run = `r${++round}`;
          const own = grants.map((one) => ({ ...one, read: one.read.map((scope) => `${scope}/${run}`), write: `${one.write}/${run}` }));
          const model = new Map<string, { scope: string; key: string; text: string; expires: number; serial: number }>();
          const alive = () => [...model.values()].filter((one) => one.expires > Date.now());
          let serial = 0;
          for (const c of commands) {
            if (c.do === "wait") {
              vi.advanceTimersByTime(c.ms);
              continue;
            }
            const by = own[c.who]!;
            if (c.do === "put") {
              const name = `${by.write} ${c.key}`;
              const text = `${run}.${++serial}`;
              const expires = c.life === null ? null : Date.now() + c.life;
              const blocked = !c.overwrite && alive().some((one) => one.scope === by.write && one.key === c.key);
              const put = putText(on, by, LOOSE, c.key, text, { overwrite: c.overwrite, expires });
              if (blocked) await expect(put).rejects.toMatchObject({ code: "STOW_EXISTS" });
              else {
                await put;
                model.set(name, { scope: by.write, key: c.key, text, expires: expires ?? Infinity, serial });
              }
            } else if (c.do === "remove") {
              const there = alive().some((one) => one.scope === by.write && one.key === c.key);
              expect(await on.catalog.remove(by, LOOSE, c.key, "", audit)).toBe(there);
              if (there) model.delete(`${by.write} ${c.key}`);
            } else if (c.do === "evict") {
              const { entry } = await on.catalog.get(by, LOOSE, c.key);
              if (entry) await on.catalog.removeIds([entry.id], audit);
              if (entry) model.delete(`${entry.scope} ${c.key}`);
            } else if (c.do === "get") {
              const hit = by.read.map((scope) => alive().find((one) => one.scope === scope && one.key === c.key)).find((one) => one !== undefined);
              expect(await textOf(on, by, LOOSE, c.key)).toBe(hit?.text);
            } else if (c.do === "find") {
              const hit = by.read
                .map((scope) => {
                  const inScope = alive().filter((one) => one.scope === scope);
                  const newest = (prefix: string) => inScope.filter((one) => one.key.startsWith(prefix)).toSorted((a, b) => b.serial - a.serial)[0];
                  return inScope.find((one) => one.key === c.key) ?? c.prefixes.map(newest).find((one) => one !== undefined);
                })
                .find((one) => one !== undefined);
              const found = await on.catalog.find(by, LOOSE, { key: c.key, prefixes: c.prefixes, version: "" });
              expect(found && (await bytesOf(await on.bodies.open(found))).toString()).toBe(hit?.text);
            } else {
              const listed = await on.catalog.list(by, { limit: 500 });
              const expected = alive().filter((one) => by.read.includes(one.scope)).toSorted((a, b) => b.serial - a.serial);
              expect(listed.map((entry) => `${entry.scope} ${entry.key}`)).toEqual(expected.map((one) => `${one.scope} ${one.key}`));
            }
          }
        }),
        { numRuns: 30 },
      );
    });
  }
});

describe("what RAM keeps of names", () => {
  const entry = {} as Entry;

  test("is bounded in entries and misses, not in names alone", () => {
    const recent = new RecentEntries(10);
    const slots = Array.from({ length: 30 }, (_, i) => recent.slot(`name ${i}`));
    for (const slot of slots) for (const scope of ["a", "b"]) recent.remember(slot, scope, entry);
    const alive = Array.from({ length: 30 }, (_, i) => recent.slot(`name ${i}`)).filter((slot) => slot.scopes.size > 0);
    expect(alive.length).toBeLessThanOrEqual(5);
    // Whoever holds one that was dropped can tell.
    expect(slots.filter((slot) => slot.live).length).toBeLessThanOrEqual(10);
  });

  test("is bounded for one name that very many scopes ask for, and stays true", () => {
    const recent = new RecentEntries(100_000);
    const slot = recent.slot("hot");
    for (let i = 0; i < 10_000; i++) recent.remember(slot, `1:refs/pull/${i}/merge`, null);
    expect(slot.scopes.size).toBeLessThanOrEqual(256);
    expect(slot.live).toBe(true);
    expect(recent.slot("hot")).toBe(slot);
  });

  test("goes least recently used first", () => {
    const recent = new RecentEntries(4);
    for (const name of ["a", "b", "c", "d"]) recent.remember(recent.slot(name), "s", entry);
    recent.slot("a");
    recent.remember(recent.slot("e"), "s", entry);
    expect(["a", "b", "c", "d", "e"].filter((name) => recent.slot(name).scopes.size > 0)).toContain("a");
  });

  test("is nothing where others write to the database", () => {
    const recent = new RecentEntries(0);
    const slot = recent.slot("a");
    recent.remember(slot, "s", entry);
    expect(slot.live).toBe(false);
    expect(recent.slot("a").scopes.size).toBe(0);
  });
});
