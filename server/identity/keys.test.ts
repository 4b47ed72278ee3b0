import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { temporaryDatabase } from "../../test/fixtures/temporary-database.ts";
import type { Database } from "../database/database.ts";
import { fixedKeys } from "./fixed-keys.ts";
import { hashKey } from "./key-format.ts";
import { Keys } from "./keys.ts";

const HOUR = 3_600_000;
let database: Database;
let keys: Keys;
let changes = 0;

beforeEach(async () => {
  database = await temporaryDatabase();
  changes = 0;
  keys = new Keys(database, [], () => changes++);
});
afterEach(async () => {
  vi.useRealTimers();
  await keys.close();
  await database.close();
});

test("a new key is found by its text, and only its hash is stored", async () => {
  const { key, info } = await keys.create({ name: "ci", permission: "write" });
  const found = await keys.find(key);
  expect(found).toMatchObject({ id: info.id, permission: "write", caches: ["default"], scope: null, reads: null, trusted: true, public: false, expires: null });
  expect(found!.hash).toBe(hashKey(key));
  expect(JSON.stringify(await database.read("listKeys", { limit: 10 }))).not.toContain(key);
});

test("what administrators see holds neither key nor hash", async () => {
  const { info } = await keys.create({ name: "ci", permission: "write" });
  expect(info).not.toHaveProperty("hash");
  expect((await keys.list())[0]).toEqual(info);
});

test("what a key may do in a workspace is kept over a rotation, and no key may do it that lies open or may do more", async () => {
  const deploy = { workspace: "prod", may: "agent", agent: "web" } as const;
  const { info } = await keys.create({ name: "web", permission: "read", deploy });
  const { key } = await keys.rotate(info.id);
  expect(await keys.find(key)).toMatchObject({ permission: "read", deploy });
  await keys.create({ name: "ci", permission: "write", deploy: { workspace: "prod", may: "activate" } });
  for (const wrong of [
    { permission: "write", deploy }, { permission: "admin", deploy: { workspace: "prod", may: "activate" } }, { permission: "read", public: true, deploy },
    { permission: "read", deploy: { ...deploy, workspace: "Prod" } }, { permission: "read", deploy: { ...deploy, agent: "a b" } }, { permission: "read", deploy: { ...deploy, may: "activate" } },
  ] as const) await expect(keys.create({ name: "x", ...wrong })).rejects.toMatchObject({ code: "STOW_BAD_REQUEST" });
});

test("all options of a key are kept", async () => {
  const expires = Date.now() + HOUR;
  const options = { name: "team", permission: "write", caches: ["team", "*"], scope: "team:ci", reads: ["team:ci", "1296269:refs/heads/main"], trusted: false, expires } as const;
  const { key } = await keys.create(options);
  expect(await keys.find(key)).toMatchObject(options);
});

test("an admin key is good for all caches unless told otherwise", async () => {
  expect((await keys.create({ name: "a", permission: "admin" })).info.caches).toEqual(["*"]);
});

test("keys are listed in order of creation, page by page", async () => {
  vi.useFakeTimers({ toFake: ["Date"] });
  for (const name of ["first", "second", "third"]) {
    vi.setSystemTime(Date.now() + 1);
    await keys.create({ name, permission: "read" });
  }
  const all = await keys.list();
  expect(all.map((key) => key.name)).toEqual(["first", "second", "third"]);
  expect((await keys.list({ after: all[0]!.id, limit: 1 })).map((key) => key.name)).toEqual(["second"]);
});

test("revoking is told at once, and an unknown key is not found", async () => {
  const { info } = await keys.create({ name: "ci", permission: "write" });
  const before = changes;
  expect((await keys.revoke(info.id)).revoked).not.toBeNull();
  expect(changes).toBe(before + 1);
  await expect(keys.revoke("nobody")).rejects.toMatchObject({ code: "STOW_NOT_FOUND" });
});

describe("rotation", () => {
  test("makes a key with the same rights, and the old one ends after the overlap", async () => {
    const old = await keys.create({ name: "ci", permission: "write", caches: ["team"], scope: "team:ci", reads: [], trusted: false });
    const next = await keys.rotate(old.info.id, HOUR);
    expect(next.key).not.toBe(old.key);
    expect(next.info).toMatchObject({ name: "ci", permission: "write", caches: ["team"], scope: "team:ci", reads: [], trusted: false, expires: null });
    const expires = (await keys.find(old.key))!.expires!;
    expect(expires).toBeGreaterThan(Date.now() + HOUR - 10_000);
    expect(expires).toBeLessThanOrEqual(Date.now() + HOUR);
  });

  test("never prolongs the old key", async () => {
    const soon = Date.now() + HOUR;
    const old = await keys.create({ name: "ci", permission: "write", expires: soon });
    const next = await keys.rotate(old.info.id, 48 * HOUR);
    expect((await keys.find(old.key))!.expires).toBe(soon);
    expect(next.info.expires).toBe(next.info.created + (soon - old.info.created));
  });

  test("is refused for a key that has ended", async () => {
    const { info } = await keys.create({ name: "ci", permission: "write" });
    await keys.revoke(info.id);
    await expect(keys.rotate(info.id)).rejects.toMatchObject({ code: "STOW_BAD_REQUEST" });
    await expect(keys.rotate("nobody")).rejects.toMatchObject({ code: "STOW_NOT_FOUND" });
  });
});

describe("last use", () => {
  test("is seen at once and written in batches", async () => {
    const { key, info } = await keys.create({ name: "ci", permission: "write" });
    keys.used(info.id, 1_000);
    keys.used(info.id, 2_000);
    expect((await keys.list())[0]!.used).toBe(2_000);
    expect((await keys.find(key))!.used).toBeNull();
    await keys.flush();
    expect((await keys.find(key))!.used).toBe(2_000);
  });

  test("is written when the server closes", async () => {
    const { key, info } = await keys.create({ name: "ci", permission: "write" });
    keys.used(info.id, 3_000);
    await keys.close();
    expect((await keys.find(key))!.used).toBe(3_000);
  });

  test("waits for the next time when the database is away", async () => {
    const { key, info } = await keys.create({ name: "ci", permission: "write" });
    let away = true;
    const flaky = new Keys({ ...database, write: (name, args) => (away ? Promise.reject(new Error("away")) : database.write(name, args)) }, [], () => {});
    flaky.used(info.id, 4_000);
    await flaky.flush();
    away = false;
    await flaky.close();
    expect((await keys.find(key))!.used).toBe(4_000);
  });
});

describe("keys of the configuration", () => {
  const settings = { admin: "admin-password", write: "w:ite-password", read: "stow_rw_looks-like-one" };

  test("get their permission from the setting, whatever they look like", async () => {
    const fixed = new Keys(database, fixedKeys(settings, "secret"), () => {});
    expect(await fixed.find(settings.admin)).toMatchObject({ permission: "admin", caches: ["*"] });
    expect(await fixed.find(settings.write)).toMatchObject({ permission: "write", caches: ["default"], trusted: true });
    expect(await fixed.find(settings.read)).toMatchObject({ permission: "read", caches: ["default"], public: false });
    await fixed.close();
  });

  test("are listed first, never stored, and can't be revoked or rotated", async () => {
    const fixed = new Keys(database, fixedKeys(settings, "secret"), () => {});
    await fixed.create({ name: "stored", permission: "read" });
    const listed = await fixed.list();
    expect(listed.map((key) => key.id.slice(0, 12))).toMatchObject(["config-admin", "config-write", "config-read-", expect.anything()]);
    expect(await database.read("listKeys", { limit: 10 })).toHaveLength(1);
    await expect(fixed.revoke(listed[0]!.id)).rejects.toMatchObject({ code: "STOW_BAD_REQUEST" });
    await expect(fixed.rotate(listed[1]!.id)).rejects.toMatchObject({ code: "STOW_BAD_REQUEST" });
    fixed.used(listed[0]!.id, 5_000);
    await fixed.flush();
    expect((await fixed.list())[0]!.used).toBe(5_000);
    await fixed.close();
  });

  test("have an id of their own for each key, which only this server could make", () => {
    const id = (write: string, secret: string) => fixedKeys({ write }, secret)[0]!.id;
    expect(id("some-write-key", "secret")).toBe(id("some-write-key", "secret"));
    expect(id("some-write-key", "secret")).not.toBe(id("another-write-key", "secret"));
    expect(id("some-write-key", "secret")).not.toBe(id("some-write-key", "another secret"));
  });

  test("are refused when short, or the same for two permissions", () => {
    expect(() => fixedKeys({ read: "short" }, "s")).toThrow(/auth\.readKey: expected 8/);
    expect(() => fixedKeys({ read: "with a space" }, "s")).toThrow(/auth\.readKey/);
    expect(() => fixedKeys({ write: "the-same-key", read: "the-same-key" }, "s")).toThrow(/equals auth\.writeKey/);
  });
});
