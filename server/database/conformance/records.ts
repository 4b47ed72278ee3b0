import { describe, expect, test } from "vitest";
import type { KeyRecord } from "../operations/keys.ts";
import { audit, inline, named, newCache, put, type Subject } from "./subject.ts";

let serial = 0;

function key(more: Partial<KeyRecord> = {}): KeyRecord {
  const id = `k${String(++serial).padStart(5, "0")}`;
  return { id, hash: `hash of ${id}`, name: "ci", permission: "write", caches: ["default", "*"], scope: null, reads: null, trusted: true, public: false, created: serial, expires: null, used: null, revoked: null, ...more };
}

export function records(get: () => Subject): void {
  const db = () => get().database;

  describe("audit log", () => {
    test("lines are found newest first, by cache, actor, action and time, page by page", async () => {
      const cache = newCache();
      const line = (at: number, actor: string, action: string) => ({ ...audit(action), at, actor, cache });
      await db().write("appendAudit", { records: [line(10, "key:a", "put"), line(20, "key:b", "put"), line(30, "key:a", "remove")] });
      await db().write("appendAudit", { records: [] });
      const at = async (query: object) => (await db().read("queryAudit", { cache, limit: 10, ...query })).map((record) => record.at);
      expect(await at({})).toEqual([30, 20, 10]);
      expect(await at({ actor: "key:a" })).toEqual([30, 10]);
      expect(await at({ action: "put" })).toEqual([20, 10]);
      expect(await at({ since: 20 })).toEqual([30, 20]);
      const page = await db().read("queryAudit", { cache, limit: 2 });
      expect(await at({ before: page.at(-1)!.id })).toEqual([10]);
      const { id: _, ...record } = page.at(-1)!;
      expect(record).toEqual(line(20, "key:b", "put"));
    });

    test("a line of a write is there exactly when the write happened", async () => {
      const cache = newCache();
      const write = (metadata: string | null) => db().write("putEntry", { ...named(cache), metadata, trusted: true, expires: null, now: 1, overwrite: false, audit: { ...audit(), cache }, blob: inline("x") });
      await write(null);
      await write(null);
      expect(await db().read("queryAudit", { cache, limit: 10 })).toHaveLength(1);
    });

    test("old lines are deleted in bounded batches", async () => {
      const cache = newCache();
      await db().write("appendAudit", { records: Array.from({ length: 501 }, (_, i) => ({ ...audit(), at: i < 500 ? 5 : 6, cache })) });
      const before = async () => Number((await get().query("SELECT count(*) AS n FROM audit"))[0]!["n"]);
      const all = await before();
      const first = await db().write("pruneAudit", { before: 7 });
      expect(first).toBeGreaterThan(0);
      expect(first).toBeLessThanOrEqual(500);
      expect(await before()).toBe(all - first);
      while ((await db().write("pruneAudit", { before: 7 })) > 0);
      expect(await db().read("queryAudit", { cache, limit: 10 })).toEqual([]);
    });
  });

  describe("statistics", () => {
    test("counters add up over days, replicas and flushes", async () => {
      const cache = newCache();
      const row = (name: string, value: number) => ({ cache, keyspace: "gha", name, value });
      await db().write("addStats", { day: 100, rows: [row("hit", 2), row("miss", 1.4)] });
      await db().write("addStats", { day: 100, rows: [row("hit", 3)] });
      await db().write("addStats", { day: 102, rows: [row("hit", 5)] });
      await db().write("addStats", { day: 102, rows: [] });
      const read = async (since: number) => (await db().read("readStats", { since, cache })).toSorted((a, b) => (a.name < b.name ? -1 : 1));
      expect(await read(100)).toEqual([row("hit", 10), row("miss", 1)]);
      expect(await read(101)).toEqual([row("hit", 5)]);
      expect((await db().read("readStats", { since: 101 })).filter((one) => one.cache === cache)).toEqual([row("hit", 5)]);
      await db().write("pruneStats", { before: 102 });
      expect(await read(0)).toEqual([row("hit", 5)]);
    });
  });

  describe("leases", () => {
    test("one holder at a time; it may renew; another takes over when it is late or has let go", async () => {
      const name = newCache();
      const take = (holder: string, now: number) => db().write("acquireLease", { name, holder, now, ttl: 100 });
      expect(await take("a", 1_000)).toBe(true);
      expect(await take("b", 1_050)).toBe(false);
      expect(await take("a", 1_050)).toBe(true);
      expect(await take("b", 1_120)).toBe(false);
      expect(await take("b", 1_151)).toBe(true);
      expect(await take("a", 1_152)).toBe(false);
      await db().write("releaseLease", { name, holder: "a" });
      expect(await take("a", 1_153)).toBe(false);
      await db().write("releaseLease", { name, holder: "b" });
      expect(await take("a", 1_154)).toBe(true);
    });

    test("of many who ask at once one gets it", async () => {
      const name = newCache();
      const { replicas } = get();
      const got = await Promise.all(Array.from({ length: 16 }, (_, i) => replicas[i % replicas.length]!.write("acquireLease", { name, holder: `h${i}`, now: 1, ttl: 100 })));
      expect(got.filter(Boolean)).toHaveLength(1);
    });
  });

  describe("keys", () => {
    test("a key comes back whole by hash and by id, and is made once", async () => {
      const one = key({ scope: "team:ci", reads: ["team:ci", "local:main"], expires: 5, trusted: false, public: true, permission: "read", deploy: { workspace: "prod", may: "agent", agent: "web" } });
      expect(await db().write("createKey", one)).toBe(true);
      expect(await db().write("createKey", { ...one, hash: "another" })).toBe(false);
      expect(await db().write("createKey", { ...one, id: "another" })).toBe(false);
      expect(await db().read("keyByHash", { hash: one.hash })).toEqual(one);
      expect(await db().read("keyById", { id: one.id })).toEqual(one);
      expect(await db().read("keyByHash", { hash: "nobody's" })).toBeUndefined();
    });

    test("keys are listed in order of creation, page by page", async () => {
      const made = [key(), key(), key()];
      for (const one of made.toReversed()) await db().write("createKey", one);
      const before = `k${String(Number(made[0]!.id.slice(1)) - 1).padStart(5, "0")}`;
      const page = await db().read("listKeys", { after: before, limit: 2 });
      expect(page.map((one) => one.id)).toEqual([made[0]!.id, made[1]!.id]);
      expect((await db().read("listKeys", { after: page.at(-1)!.id, limit: 2 })).map((one) => one.id)).toEqual([made[2]!.id]);
    });

    test("revoking keeps the first time, expiring only shortens, uses only go forward", async () => {
      const one = key();
      await db().write("createKey", one);
      expect((await db().write("revokeKey", { id: one.id, now: 10 }))!.revoked).toBe(10);
      expect((await db().write("revokeKey", { id: one.id, now: 20 }))!.revoked).toBe(10);
      expect((await db().write("expireKey", { id: one.id, expires: 500 }))!.expires).toBe(500);
      expect((await db().write("expireKey", { id: one.id, expires: 600 }))!.expires).toBe(500);
      await db().write("touchKeys", { uses: [{ id: one.id, at: 9 }, { id: "nobody", at: 9 }] });
      await db().write("touchKeys", { uses: [{ id: one.id, at: 7 }] });
      await db().write("touchKeys", { uses: [] });
      expect((await db().read("keyById", { id: one.id }))!.used).toBe(9);
      expect(await db().write("revokeKey", { id: "nobody", now: 1 })).toBeUndefined();
      expect(await db().write("expireKey", { id: "nobody", expires: 1 })).toBeUndefined();
    });
  });

  describe("revocations, secrets and caches", () => {
    test("a run or a session is revoked until its last token has expired", async () => {
      const run = String(++serial);
      const revoked = (session: string, ofRun: string | null) => db().read("isRevoked", { run: ofRun, session });
      await db().write("revokeSessions", { kind: "run", value: run, until: 100 });
      await db().write("revokeSessions", { kind: "session", value: `s${run}`, until: 200 });
      expect(await revoked("other", run)).toBe(true);
      expect(await revoked(`s${run}`, null)).toBe(true);
      expect(await revoked("other", null)).toBe(false);
      // The value of one kind is nothing in the other.
      expect(await revoked(run, null)).toBe(false);
      await db().write("pruneRevocations", { now: 150 });
      expect(await revoked("other", run)).toBe(false);
      expect(await revoked(`s${run}`, null)).toBe(true);
    });

    test("all who ask for a secret at once get the same", async () => {
      const name = newCache();
      const { replicas } = get();
      const got = await Promise.all(Array.from({ length: 12 }, (_, i) => replicas[i % replicas.length]!.write("secret", { name, candidate: `candidate ${i}`, now: 1 })));
      expect(new Set(got).size).toBe(1);
    });

    test("what is kept under names with a prefix is listed, oldest first, until it is removed", async () => {
      const prefix = `${newCache()}_%/`;
      const add = (name: string, now: number) => db().write("secret", { name: prefix + name, candidate: `value ${name}`, now });
      await add("b", 1);
      await add("a", 2);
      expect(await db().write("secret", { name: prefix.replace("_", "x"), candidate: "of others", now: 1 })).toBe("of others");
      expect(await db().read("secretsUnder", { prefix })).toEqual(["value b", "value a"]);
      expect([await db().write("removeSecret", { name: `${prefix}b` }), await db().write("removeSecret", { name: `${prefix}b` })]).toEqual([true, false]);
      expect(await db().read("secretsUnder", { prefix })).toEqual(["value a"]);
    });

    test("a cache's settings are kept, changed, and forgotten once it is marked as deleted", async () => {
      const name = newCache();
      const mine = async () => (await db().read("listCaches", {})).filter((row) => row.name === name);
      await db().write("putCache", { name, settings: { quota: 5 }, now: 1 });
      await db().write("putCache", { name, settings: { quota: 6 }, now: 2 });
      expect(await mine()).toEqual([{ name, settings: { quota: 6 }, created: 1, updated: 2 }]);
      expect(await db().write("removeCache", { name })).toBe(false);
      await db().write("putCache", { name, settings: null, now: 3 });
      expect(await db().write("removeCache", { name })).toBe(true);
      expect(await mine()).toEqual([]);
    });
  });

  test("numbers up to 2^53 - 1 and text with quotes come back unchanged", async () => {
    const name = named(newCache(), `it's "quoted" \\ ?1 $1 ; --`);
    const { entry } = await put(db(), name, inline("x"), { now: Number.MAX_SAFE_INTEGER, metadata: '{"q":"\\u0000\'"}' });
    expect(await db().read("entryById", { id: entry.id })).toMatchObject({ ...name, created: Number.MAX_SAFE_INTEGER, metadata: '{"q":"\\u0000\'"}' });
  });

  test("a ping answers", async () => {
    await db().ping();
  });
}
