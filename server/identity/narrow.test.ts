import fc from "fast-check";
import { expect, test } from "vitest";
import type { KeyRecord } from "../database/operations/keys.ts";
import { anonymous, keyCredential, sessionCredential, type CacheView, type Credential, type SessionRights } from "./credential.ts";
import { narrow, type NarrowRequest } from "./narrow.ts";
import { newSessionId, parseSessionId } from "./session-id.ts";
import { MAX_LIFETIME, Tokens } from "./tokens.ts";

const tokens = new Tokens("stowhouse", ["a secret of at least thirty-two characters"]);
const views: CacheView[] = [
  { name: "default", defaultScope: "local:main", anonymousRead: true },
  { name: "team", defaultScope: "team:ci", anonymousRead: false },
  { name: "open", defaultScope: "1:refs/heads/main", anonymousRead: true },
];

const scope = fc.constantFrom("local:main", "team:ci", "team:other", "1:refs/heads/main", "1:refs/pull/7/merge", "2:refs/heads/main");
const key: fc.Arbitrary<KeyRecord> = fc.record({
  id: fc.constant("k1"), hash: fc.constant(""), name: fc.constant("k"), permission: fc.constantFrom("read", "write", "admin"),
  caches: fc.uniqueArray(fc.constantFrom("default", "team", "open", "*"), { minLength: 1 }), scope: fc.option(fc.constantFrom("team:ci", "team:other")),
  reads: fc.option(fc.uniqueArray(scope)), trusted: fc.boolean(), public: fc.boolean(), created: fc.constant(0),
  expires: fc.option(fc.integer({ min: 5, max: 40_000 }).map((seconds) => Date.now() + seconds * 1000)), used: fc.constant(null), revoked: fc.constant(null),
});
const session: fc.Arbitrary<SessionRights> = fc.record({
  id: fc.constant(newSessionId({ run: "1", key: null })), cache: fc.constantFrom("default", "team", "open"), read: fc.uniqueArray(scope), write: fc.option(scope),
  trusted: fc.boolean(), public: fc.boolean(), expires: fc.integer({ min: 5, max: MAX_LIFETIME - 5 }).map((seconds) => (Math.floor(Date.now() / 1000) + seconds) * 1000),
});
const parent: fc.Arbitrary<Credential> = fc.oneof(key.map(keyCredential), session.map((rights) => sessionCredential(rights, false)), fc.constant(anonymous));
const request: fc.Arbitrary<NarrowRequest> = fc.record(
  { read: fc.option(fc.array(scope), { nil: undefined }), write: fc.option(fc.boolean(), { nil: undefined }), lifetime: fc.option(fc.integer({ min: 10, max: 100_000 }), { nil: undefined }) },
  { requiredKeys: [] },
);

/** The credential that the bearer of the narrowed token has, through the real token. */
async function throughToken(from: Credential, view: CacheView, wish: NarrowRequest): Promise<Credential> {
  const rights = await tokens.verify(await tokens.mint(narrow(from, view, wish)));
  const origin = parseSessionId(rights.id)!;
  return sessionCredential(rights, origin.run === null && origin.key === null);
}

/** Whether every right of one is a right of the other, in every cache. */
function assertSubset(child: Credential, parent: Credential): void {
  expect(child.expires).not.toBeNull();
  if (parent.expires !== null) expect(child.expires!).toBeLessThanOrEqual(parent.expires);
  expect(child.permission).not.toBe("admin");
  if (parent.public) expect(child.public).toBe(true);
  for (const view of views) {
    const [less, more] = [child.grant(view), parent.grant(view)];
    if (!less) continue;
    expect(more).toBeDefined();
    expect(more!.read.filter((item) => less.read.includes(item))).toEqual(less.read);
    expect([more!.write, null]).toContain(less.write);
    expect(less.admin).toBe(false);
    if (less.trusted) expect(more!.trusted && less.write !== null).toBe(true);
  }
}

test("whatever is asked of whom, and however often, a narrowed session has a subset of its parent's rights", async () => {
  await fc.assert(
    fc.asyncProperty(parent, fc.array(fc.tuple(fc.constantFrom(...views), request), { minLength: 1, maxLength: 4 }), async (root, chain) => {
      let current = root;
      for (const [view, wish] of chain) {
        if (!current.grant(view)) {
          expect(() => narrow(current, view, wish)).toThrow(expect.objectContaining({ code: "STOW_NO_CACHE" }));
          continue;
        }
        const child = await throughToken(current, view, wish);
        assertSubset(child, current);
        assertSubset(child, root);
        current = child;
      }
    }),
    { numRuns: 300 },
  );
});

function writeKey(over: Partial<KeyRecord> = {}): Credential {
  return keyCredential({
    id: "k1", hash: "", name: "k", permission: "write", caches: ["default"], scope: null, reads: ["local:main", "team:ci"], trusted: true, public: false,
    created: 0, expires: null, used: null, revoked: null, ...over,
  });
}

test("without wishes a session has the key's rights for an hour", () => {
  const rights = narrow(writeKey(), views[0]!, {});
  expect(rights).toMatchObject({ cache: "default", read: ["local:main", "team:ci"], write: "local:main", trusted: true });
  expect(Math.abs(rights.expires - Date.now() - 3_600_000)).toBeLessThan(5_000);
  expect(parseSessionId(rights.id)).toEqual({ run: null, key: "k1" });
});

test("a session that gave up writing is not trusted either", () => {
  expect(narrow(writeKey(), views[0]!, { write: false })).toMatchObject({ write: null, trusted: false, read: ["local:main", "team:ci"] });
});

test("scopes the key doesn't read are left out silently, and the key's order is kept", () => {
  expect(narrow(writeKey(), views[0]!, { read: ["team:ci", "team:other", "local:main"] }).read).toEqual(["local:main", "team:ci"]);
});

test("an admin key becomes a session that doesn't administer", () => {
  const rights = narrow(writeKey({ permission: "admin" }), views[0]!, {});
  expect(sessionCredential(rights, false).grant(views[0]!)!.admin).toBe(false);
});

test("no session lives longer than six hours or than its parent", () => {
  expect(narrow(writeKey(), views[0]!, { lifetime: Infinity }).expires).toBeLessThanOrEqual(Date.now() + MAX_LIFETIME * 1000);
  const expires = Date.now() + 90_500;
  expect(narrow(writeKey({ expires }), views[0]!, {}).expires).toBeLessThanOrEqual(expires);
});

test("a session's life is the server's default, or what its holder asks for up to the server's limit", () => {
  const life = (lifetime?: number) => narrow(writeKey(), views[0]!, { lifetime }, { default: 300, max: 600 }).expires - Date.now();
  expect(life()).toBeGreaterThan(298_000);
  expect(life()).toBeLessThanOrEqual(300_000);
  expect(life(10)).toBeLessThanOrEqual(10_000);
  expect(life(100_000)).toBeGreaterThan(598_000);
  expect(life(100_000)).toBeLessThanOrEqual(600_000);
});

test.each([0, -1, Number.NaN])("a lifetime of %d seconds is refused", (lifetime) => {
  expect(() => narrow(writeKey(), views[0]!, { lifetime })).toThrow(expect.objectContaining({ code: "STOW_BAD_REQUEST" }));
});

test("a narrowed session keeps the session's id, so that revoking it ends all of them", () => {
  const first = narrow(writeKey(), views[0]!, {});
  expect(narrow(sessionCredential(first, false), views[0]!, {}).id).toBe(first.id);
});
