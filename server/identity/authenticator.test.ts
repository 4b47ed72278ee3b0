import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { asShared, temporaryDatabase, watched, type WatchedDatabase } from "../../test/fixtures/temporary-database.ts";
import type { Database } from "../database/database.ts";
import { anonymous, type CacheView, type Credential } from "./credential.ts";
import { Identity, type IdentityOptions } from "./identity.ts";
import { generateKey } from "./key-format.ts";

const view: CacheView = { name: "default", defaultScope: "local:main", anonymousRead: false };
const unauthorized = expect.objectContaining({ code: "STOW_UNAUTHORIZED", status: 401 });
const tokenInvalid = expect.objectContaining({ code: "STOW_TOKEN_INVALID", status: 401 });

let base: Database;
let database: WatchedDatabase;
let identity: Identity;
const opened: Identity[] = [];

async function open(over: Database, options: Partial<IdentityOptions> = {}): Promise<Identity> {
  const made = await Identity.open({ database: over, ...options });
  opened.push(made);
  return made;
}
const bearer = (token: string) => `Bearer ${token}`;
const ask = async (header: string | undefined, who: Identity = identity): Promise<Credential> => who.authenticator.authenticate(header);

beforeAll(async () => void (base = await temporaryDatabase()));
afterAll(() => base.close());
beforeEach(async () => {
  database = watched(base);
  identity = await open(database);
});
afterEach(async () => {
  vi.useRealTimers();
  for (const made of opened.splice(0)) await made.close();
});

describe("what is let in", () => {
  test("no header is nobody, at once", () => {
    expect(identity.authenticator.authenticate(undefined)).toBe(anonymous);
  });

  test("a header whose token is empty is nobody: a fork's pull request has no secrets", async () => {
    expect(await ask("Bearer")).toBe(anonymous);
    expect(await ask(`Basic ${Buffer.from(":").toString("base64")}`)).toBe(anonymous);
  });

  test("a key in each form a tool can send", async () => {
    const { key, info } = await identity.keys.create({ name: "ci", permission: "write" });
    for (const header of [bearer(key), `basic ${btoa(`any:${key}`)}`, `Basic ${btoa(`${key}:`)}`, `Basic ${btoa(`${key}:x-oauth-basic`)}`]) {
      expect(await ask(header)).toMatchObject({ kind: "key", actor: `key:${info.id}`, permission: "write" });
    }
  });

  test("a key of the configuration", async () => {
    const fixed = await open(base, { fixedKeys: { write: "a-fixed-key-without-prefix" } });
    expect((await ask(bearer("a-fixed-key-without-prefix"), fixed)).grant(view)).toMatchObject({ write: "local:main" });
  });

  test("a session token", async () => {
    const { key } = await identity.keys.create({ name: "ci", permission: "write" });
    const session = await identity.narrow(await ask(bearer(key)), view, { write: false });
    expect(await ask(bearer(session.token))).toMatchObject({ kind: "session", actor: `session:${session.id}`, expires: session.expires });
  });
});

describe("what is not", () => {
  test.each(["Bearer stow", "Bearer a b", "Token x", "Basic !", `Bearer ${"x".repeat(20_000)}`])("%.20s is refused without a look-up", async (header) => {
    database.calls.length = 0;
    await expect(ask(header)).rejects.toEqual(unauthorized);
    expect(database.calls).toEqual([]);
  });

  test("a mistyped key is refused without a look-up, one that was never made after one", async () => {
    const key = generateKey("write");
    database.calls.length = 0;
    await expect(ask(bearer(`${key.slice(0, -1)}${key.endsWith("0") ? "1" : "0"}`))).rejects.toEqual(unauthorized);
    expect(database.calls).toEqual([]);
    await expect(ask(bearer(key))).rejects.toEqual(unauthorized);
    expect(database.calls).toEqual(["keyByHash"]);
  });

  test("a refusal is kept for two seconds, and ends when a key is made", async () => {
    vi.useFakeTimers({ toFake: ["Date"] });
    const header = bearer(generateKey("write"));
    await expect(ask(header)).rejects.toEqual(unauthorized);
    database.calls.length = 0;
    await expect(ask(header)).rejects.toEqual(unauthorized);
    expect(database.calls).toEqual([]);
    vi.setSystemTime(Date.now() + 2_001);
    await expect(ask(header)).rejects.toEqual(unauthorized);
    expect(database.calls).toEqual(["keyByHash"]);
    await identity.keys.create({ name: "another", permission: "read" });
    await expect(ask(header)).rejects.toEqual(unauthorized);
    expect(database.calls).toEqual(["keyByHash", "keyByHash"]);
  });

  test("a key is refused once it has expired, also one that is known", async () => {
    vi.useFakeTimers({ toFake: ["Date"] });
    const { key } = await identity.keys.create({ name: "ci", permission: "write", expires: Date.now() + 10_000 });
    await ask(bearer(key));
    vi.setSystemTime(Date.now() + 9_999);
    await ask(bearer(key));
    vi.setSystemTime(Date.now() + 1);
    await expect(ask(bearer(key))).rejects.toEqual(unauthorized);
  });

  test("a database that is away is no refusal, and isn't kept", async () => {
    let away = true;
    const flaky = await open({ ...base, read: (name, args) => (away ? Promise.reject(new Error("away")) : base.read(name, args)) });
    const { key } = await identity.keys.create({ name: "ci", permission: "write" });
    await expect(ask(bearer(key), flaky)).rejects.toMatchObject({ code: "STOW_READ_FAILURE" });
    away = false;
    await expect(ask(bearer(key), flaky)).resolves.toBeDefined();
  });
});

describe("what is known", () => {
  test("is answered at once, without a promise or a look-up, as the same credential and grant", async () => {
    const { key } = await identity.keys.create({ name: "ci", permission: "write" });
    const first = await ask(bearer(key));
    database.calls.length = 0;
    const second = identity.authenticator.authenticate(bearer(key));
    expect(second).toBe(first);
    expect((second as Credential).grant(view)).toBe(first.grant(view));
    expect(database.calls).toEqual([]);
  });

  test("is looked up once for many requests that come together", async () => {
    const { key } = await identity.keys.create({ name: "ci", permission: "write" });
    database.calls.length = 0;
    await Promise.all(Array.from({ length: 20 }, () => ask(bearer(key))));
    expect(database.calls).toEqual(["keyByHash"]);
  });

  test("notes the last use, of a session that of its key", async () => {
    const { key, info } = await identity.keys.create({ name: "ci", permission: "write" });
    const credential = await ask(bearer(key));
    const used = async () => (await identity.keys.list()).find((item) => item.id === info.id)!.used!;
    expect(Math.abs((await used()) - Date.now())).toBeLessThan(5_000);
    const { token } = await identity.narrow(credential, view, {});
    vi.useFakeTimers({ toFake: ["Date"] });
    vi.setSystemTime(Date.now() + 60_000);
    await ask(bearer(token));
    expect(await used()).toBe(Date.now());
    vi.setSystemTime(Date.now() + 60_000);
    await ask(bearer(token));
    expect(await used()).toBe(Date.now());
  });

  test("notes the last use for answers given elsewhere, too", async () => {
    const { key, info } = await identity.keys.create({ name: "ci", permission: "write" });
    const used = async () => (await identity.keys.list()).find((item) => item.id === info.id)!.used;
    identity.authenticator.used(bearer(key));
    expect(await used()).toBe(null);
    await ask(bearer(key));
    vi.useFakeTimers({ toFake: ["Date"] });
    vi.setSystemTime(Date.now() + 60_000);
    identity.authenticator.used(bearer(key));
    expect(await used()).toBe(Date.now());
  });

  test("is bounded however many keys come", async () => {
    const keys = Array.from({ length: 1_500 }, () => bearer(generateKey("read")));
    for (const header of keys) await expect(ask(header)).rejects.toEqual(unauthorized);
    database.calls.length = 0;
    await expect(ask(keys[0]!)).rejects.toEqual(unauthorized);
    expect(database.calls).toEqual(["keyByHash"]);
  });
});

describe("revocation", () => {
  test("of a key is felt by the next request, and by all sessions made from it", async () => {
    const { key, info } = await identity.keys.create({ name: "ci", permission: "write" });
    const first = await identity.narrow(await ask(bearer(key)), view, {});
    const second = await identity.narrow(await ask(bearer(first.token)), view, { write: false });
    for (const token of [key, first.token, second.token]) await ask(bearer(token));
    await identity.keys.revoke(info.id);
    await expect(ask(bearer(key))).rejects.toEqual(unauthorized);
    for (const { token } of [first, second]) await expect(ask(bearer(token))).rejects.toEqual(tokenInvalid);
  });

  test("of a session by any of its ids ends all tokens narrowed from it, and nothing else", async () => {
    const { key } = await identity.keys.create({ name: "ci", permission: "write" });
    const credential = await ask(bearer(key));
    const other = await identity.narrow(credential, view, {});
    for (const name of [(id: string) => id, (id: string) => `session:${id}`, (id: string) => `${id}.abcdefgh`]) {
      const session = await identity.narrow(credential, view, {});
      const child = await identity.narrow(await ask(bearer(session.token)), view, {});
      await identity.revokeSession(name(session.id));
      for (const { token } of [session, child]) await expect(ask(bearer(token))).rejects.toEqual(tokenInvalid);
    }
    await ask(bearer(other.token));
    await ask(bearer(key));
    await expect(identity.revokeSession("nonsense")).rejects.toMatchObject({ code: "STOW_BAD_REQUEST" });
    await expect(identity.revokeRun("nonsense")).rejects.toMatchObject({ code: "STOW_BAD_REQUEST" });
  });

  test("by rotation ends the sessions of the old key with it", async () => {
    const { key, info } = await identity.keys.create({ name: "ci", permission: "write" });
    const session = await identity.narrow(await ask(bearer(key)), view, {});
    await ask(bearer(session.token));
    const next = await identity.keys.rotate(info.id, 60_000);
    for (const token of [key, session.token, next.key]) await ask(bearer(token));
    vi.useFakeTimers({ toFake: ["Date"] });
    vi.setSystemTime(Date.now() + 60_001);
    await expect(ask(bearer(key))).rejects.toEqual(unauthorized);
    await expect(ask(bearer(session.token))).rejects.toEqual(tokenInvalid);
    await ask(bearer(next.key));
  });

  test("of a fixed key, by changing the setting, ends its sessions", async () => {
    const before = await open(base, { fixedKeys: { write: "the-fixed-key-before" } });
    const session = await before.narrow(await ask(bearer("the-fixed-key-before"), before), view, {});
    await ask(bearer(session.token), await open(base, { fixedKeys: { write: "the-fixed-key-before" } }));
    await expect(ask(bearer(session.token), await open(base, { fixedKeys: { write: "the-fixed-key-after" } }))).rejects.toEqual(tokenInvalid);
  });

  test("during a look-up leaves nothing behind", async () => {
    const [reached, release] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    let slow = false;
    const gated = await open({
      ...base,
      read: async (name, args) => {
        const result = await base.read(name, args);
        if (slow) {
          reached.resolve();
          await release.promise;
        }
        return result;
      },
    });
    const { key, info } = await gated.keys.create({ name: "ci", permission: "write" });
    slow = true;
    const begun = ask(bearer(key), gated);
    await reached.promise;
    slow = false;
    await gated.keys.revoke(info.id);
    await expect(ask(bearer(key), gated)).rejects.toEqual(unauthorized);
    await gated.keys.create({ name: "drops what is kept", permission: "read" });
    release.resolve();
    await begun;
    await expect(ask(bearer(key), gated)).rejects.toEqual(unauthorized);
  });

  test("by another replica is felt within two seconds", async () => {
    vi.useFakeTimers({ toFake: ["Date"] });
    const here = await open(asShared(base));
    const { key, info } = await identity.keys.create({ name: "ci", permission: "write" });
    const session = await here.narrow(await ask(bearer(key), here), view, {});
    await ask(bearer(session.token), here);
    await identity.keys.revoke(info.id);
    vi.setSystemTime(Date.now() + 2_000);
    await expect(ask(bearer(key), here)).rejects.toEqual(unauthorized);
    await expect(ask(bearer(session.token), here)).rejects.toEqual(tokenInvalid);
  });
});

describe("the actor of a signed URL", () => {
  test("lives as long as its key, its session and its run, and answers at once when known", async () => {
    const { authenticator, keys } = identity;
    const { key, info } = await keys.create({ name: "ci", permission: "write" });
    const session = await identity.narrow(await ask(bearer(key)), view, {});
    const actors = [`key:${info.id}`, `session:${session.id}`, "session:run-55.abcdefghijklmnop", "anonymous"];
    for (const actor of actors) expect(await authenticator.alive(actor)).toBe(true);
    for (const actor of actors) expect(authenticator.alive(actor)).toBe(true);

    await identity.revokeRun("55");
    expect(await authenticator.alive("session:run-55.abcdefghijklmnop")).toBe(false);
    expect(await authenticator.alive("session:run-56.abcdefghijklmnop")).toBe(true);
    await keys.revoke(info.id);
    expect(await authenticator.alive(`key:${info.id}`)).toBe(false);
    expect(await authenticator.alive(`session:${session.id}`)).toBe(false);
  });

  test("ends with the expiry of its key", async () => {
    vi.useFakeTimers({ toFake: ["Date"] });
    const { info } = await identity.keys.create({ name: "ci", permission: "write", expires: Date.now() + 5_000 });
    expect(await identity.authenticator.alive(`key:${info.id}`)).toBe(true);
    vi.setSystemTime(Date.now() + 5_000);
    expect(await identity.authenticator.alive(`key:${info.id}`)).toBe(false);
  });

  test.each(["", "key:", "key:nobody", "session:", "session:x", "session:run-1", "other:x", "key"])("%j is nobody alive", async (actor) => {
    expect(await identity.authenticator.alive(actor)).toBe(false);
  });

  test("is asked for again within two seconds where other replicas revoke", async () => {
    vi.useFakeTimers({ toFake: ["Date"] });
    const here = await open(asShared(base));
    const { info } = await identity.keys.create({ name: "ci", permission: "write" });
    expect(await here.authenticator.alive(`key:${info.id}`)).toBe(true);
    await identity.keys.revoke(info.id);
    vi.setSystemTime(Date.now() + 2_000);
    expect(await here.authenticator.alive(`key:${info.id}`)).toBe(false);
  });
});
