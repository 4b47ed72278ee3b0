import { expect, test } from "vitest";
import type { KeyRecord } from "../database/operations/keys.ts";
import { anonymous, defaultCache, keyCredential, sessionCredential, type CacheView } from "./credential.ts";

const main: CacheView = { name: "default", defaultScope: "local:main", anonymousRead: false };
const open: CacheView = { name: "open", defaultScope: "1296269:refs/heads/main", anonymousRead: true };

function key(over: Partial<KeyRecord> = {}): KeyRecord {
  return {
    id: "k1", hash: "", name: "ci", permission: "write", caches: ["default"], scope: null, reads: null, trusted: true, public: false,
    created: 0, expires: null, used: null, revoked: null, ...over,
  };
}

test("a write key writes the cache's default scope and reads it", () => {
  expect(keyCredential(key()).grant(main)).toEqual({ cache: "default", read: ["local:main"], write: "local:main", trusted: true, admin: false, actor: "key:k1" });
});

test("a key with a scope writes exactly that scope and reads it", () => {
  expect(keyCredential(key({ scope: "team:ci" })).grant(main)).toMatchObject({ write: "team:ci", read: ["team:ci"] });
});

test("a key reads what it was told to, in that order, and nothing else", () => {
  const grant = keyCredential(key({ scope: "team:ci", reads: ["local:main", "team:other"] })).grant(main);
  expect(grant).toMatchObject({ write: "team:ci", read: ["local:main", "team:other"] });
  expect(keyCredential(key({ reads: [] })).grant(main)).toMatchObject({ write: "local:main", read: [] });
});

test("a read key writes nothing and is never trusted", () => {
  expect(keyCredential(key({ permission: "read" })).grant(main)).toMatchObject({ write: null, read: ["local:main"], trusted: false });
});

test("an admin key administers, and reads and writes like a write key", () => {
  expect(keyCredential(key({ permission: "admin", caches: ["*"] })).grant(main)).toMatchObject({ admin: true, read: ["local:main"], write: "local:main" });
});

test("a public key reads the default scope only, whatever its record says", () => {
  const grant = keyCredential(key({ public: true, permission: "admin", scope: "team:ci", reads: ["team:secret"] })).grant(main);
  expect(grant).toMatchObject({ read: ["local:main"], write: null, trusted: false, admin: false });
});

test("a key has no rights in a cache it doesn't name", () => {
  expect(keyCredential(key()).grant(open)).toBeUndefined();
  expect(keyCredential(key({ caches: ["*"] })).grant(open)).toMatchObject({ cache: "open", write: "1296269:refs/heads/main" });
});

test("nobody reads the default scope where the cache allows it, and nothing elsewhere", () => {
  expect(anonymous.grant(open)).toMatchObject({ read: ["1296269:refs/heads/main"], write: null, trusted: false, admin: false, actor: "anonymous" });
  expect(anonymous.grant(main)).toBeUndefined();
});

test("a session has the rights its token states in its one cache", () => {
  const session = { id: "run-1.x", cache: "default", read: ["1:refs/heads/x"], write: null, trusted: true, public: false, expires: 5 };
  const credential = sessionCredential(session, false);
  expect(credential.grant(main)).toEqual({ cache: "default", read: ["1:refs/heads/x"], write: null, trusted: false, admin: false, actor: "session:run-1.x" });
  expect(credential.grant(open)).toBeUndefined();
  expect(credential).toMatchObject({ kind: "session", permission: "read", caches: ["default"], expires: 5 });
});

test("a session made from no credential ends with the cache's anonymous read", () => {
  const credential = sessionCredential({ id: "anonymous.x", cache: "open", read: ["local:main"], write: null, trusted: false, public: true, expires: 5 }, true);
  expect(credential.grant(open)).toBeDefined();
  expect(credential.grant({ ...open, anonymousRead: false })).toBeUndefined();
});

test("a grant is made once for each cache and can't be changed", () => {
  const credential = keyCredential(key());
  const grant = credential.grant(main)!;
  expect(credential.grant(main)).toBe(grant);
  expect(Object.isFrozen(grant) && Object.isFrozen(grant.read) && Object.isFrozen(credential) && Object.isFrozen(credential.caches)).toBe(true);
});

test("a cache with changed settings gives a new grant", () => {
  const credential = keyCredential(key());
  credential.grant(main);
  expect(credential.grant({ ...main, defaultScope: "local:next" })).toMatchObject({ write: "local:next" });
});

test("a request that names no cache gets the credential's first, or the default one", () => {
  expect(defaultCache(keyCredential(key({ caches: ["team", "other"] })))).toBe("team");
  expect(defaultCache(keyCredential(key({ caches: ["*"] })))).toBe("default");
  expect(defaultCache(anonymous)).toBe("default");
});
