import { createHmac } from "node:crypto";
import { decodeJwt, decodeProtectedHeader, exportSPKI, generateKeyPair, SignJWT } from "jose";
import fc from "fast-check";
import { afterEach, expect, test, vi } from "vitest";
import type { SessionRights } from "./credential.ts";
import { newSessionId, parseSessionId, sessionOf } from "./session-id.ts";
import { MAX_LIFETIME, Tokens } from "./tokens.ts";

const SECRET = "a secret of at least thirty-two characters";
const OTHER = "another secret of at least thirty-two characters";
const tokens = new Tokens("stowhouse", [SECRET]);
const seconds = () => Math.floor(Date.now() / 1000);
const refused = expect.objectContaining({ code: "STOW_TOKEN_INVALID", status: 401 });

afterEach(() => void vi.useRealTimers());

function session(over: Partial<SessionRights> = {}): SessionRights {
  return {
    id: newSessionId({ run: "9876543210", key: null }), cache: "default", read: ["1296269:refs/heads/x", "1296269:refs/heads/main"], write: "1296269:refs/heads/x",
    trusted: false, public: false, expires: (seconds() + 3600) * 1000, ...over,
  };
}

/** A token as ours would be, signed with the key ours are signed with, changed in one place. */
async function forge(change: Record<string, unknown>, header: Record<string, unknown> = {}, key?: Uint8Array): Promise<string> {
  const token = await tokens.mint(session());
  const claims = { ...decodeJwt(token), ...change };
  const secret = key ?? createHmac("sha256", SECRET).update("stowhouse session token key").digest();
  return new SignJWT(claims).setProtectedHeader({ ...decodeProtectedHeader(token), alg: "HS256", ...header }).sign(secret);
}

test("a token says on verification what was minted", async () => {
  const minted = session();
  expect(await tokens.verify(await tokens.mint(minted))).toEqual(minted);
});

test("a token has the shape BuildKit parses: ac as JSON text with bare refs, numeric nbf and exp, run_id", async () => {
  const claims = decodeJwt(await tokens.mint(session()));
  expect(JSON.parse(claims["ac"] as string)).toEqual([{ Scope: "refs/heads/x", Permission: 3 }, { Scope: "refs/heads/main", Permission: 1 }]);
  expect(claims).toMatchObject({ nbf: expect.any(Number), exp: expect.any(Number), run_id: "9876543210", iss: "stowhouse" });
  expect(claims.nbf).toBeLessThan(seconds());
});

test("a write-only session says so in ac, and a named scope stays whole", async () => {
  const claims = decodeJwt(await tokens.mint(session({ read: [], write: "team:ci" })));
  expect(JSON.parse(claims["ac"] as string)).toEqual([{ Scope: "team:ci", Permission: 2 }]);
});

test("two tokens of a session differ in jti", async () => {
  const one = session();
  const [a, b] = [decodeJwt(await tokens.mint(one)).jti!, decodeJwt(await tokens.mint(one)).jti!];
  expect(a).not.toBe(b);
  expect([sessionOf(a), sessionOf(b)]).toEqual([one.id, one.id]);
});

test("the forging in these tests works when nothing is changed", async () => {
  await expect(tokens.verify(await forge({}))).resolves.toMatchObject({ cache: "default" });
});

test.each([
  ["another issuer", { iss: "somebody" }],
  ["no issuer", { iss: undefined }],
  ["no jti", { jti: undefined }],
  ["a jti that isn't ours", { jti: "4d0e1b2c" }],
  ["no iat", { iat: undefined }],
  ["no nbf", { nbf: undefined }],
  ["no exp", { exp: undefined }],
  ["no ac", { ac: undefined }],
  ["no stow claim", { stow: undefined }],
  ["an exp that is text", { exp: "9999999999" }],
  ["an exp in the past", { exp: Math.floor(Date.now() / 1000) - 1 }],
  ["an nbf in the future", { nbf: Math.floor(Date.now() / 1000) + 30 }],
  ["a life longer than six hours", { exp: Math.floor(Date.now() / 1000) + MAX_LIFETIME + 120 }],
  ["a bare ref as scope", { stow: { cache: "default", read: ["refs/heads/main"], write: null, trusted: false, public: false } }],
  ["no cache", { stow: { read: [], write: null, trusted: false, public: false } }],
  ["trusted as text", { stow: { cache: "default", read: [], write: null, trusted: "yes", public: false } }],
])("a token with %s is refused", async (_, change) => {
  await expect(tokens.verify(await forge(change))).rejects.toEqual(refused);
});

test("a token of another secret is refused, though it names our kid", async () => {
  await expect(tokens.verify(await forge({}, {}, createHmac("sha256", OTHER).update("stowhouse session token key").digest()))).rejects.toEqual(refused);
  await expect(tokens.verify(await forge({}, {}, Buffer.from(SECRET)))).rejects.toEqual(refused);
});

test("a token with an unknown kid or none is refused", async () => {
  await expect(tokens.verify(await forge({}, { kid: "other" }))).rejects.toEqual(refused);
  await expect(tokens.verify(await forge({}, { kid: undefined }))).rejects.toEqual(refused);
});

test("only HS256 is accepted: none, HS512 and RS256 are refused", async () => {
  const token = await tokens.mint(session());
  const [, payload] = token.split(".");
  for (const header of [{ alg: "none" }, { alg: "none", kid: decodeProtectedHeader(token).kid }, { alg: "None" }]) {
    await expect(tokens.verify(`${Buffer.from(JSON.stringify(header)).toString("base64url")}.${payload}.`)).rejects.toEqual(refused);
  }
  const claims = decodeJwt(token);
  const { kid } = decodeProtectedHeader(token) as { kid: string };
  const key = createHmac("sha256", SECRET).update("stowhouse session token key").digest();
  const input = `${Buffer.from(JSON.stringify({ alg: "HS512", typ: "JWT", kid })).toString("base64url")}.${payload}`;
  await expect(tokens.verify(`${input}.${createHmac("sha512", key).update(input).digest("base64url")}`)).rejects.toEqual(refused);
  const { privateKey, publicKey } = await generateKeyPair("RS256", { extractable: true });
  await expect(tokens.verify(await new SignJWT(claims).setProtectedHeader({ alg: "RS256", typ: "JWT", kid }).sign(privateKey))).rejects.toEqual(refused);
  await expect(tokens.verify(await forge({}, {}, Buffer.from(await exportSPKI(publicKey))))).rejects.toEqual(refused);
});

test("a token with any character changed is refused", async () => {
  const token = await tokens.mint(session());
  await fc.assert(
    fc.asyncProperty(fc.nat({ max: token.length - 2 }), fc.constantFrom(..."AZaz09-_."), async (at, character) => {
      fc.pre(token[at] !== character);
      await expect(tokens.verify(token.slice(0, at) + character + token.slice(at + 1))).rejects.toEqual(refused);
    }),
    { numRuns: 50 },
  );
});

test("a token ends with its time", async () => {
  vi.useFakeTimers({ toFake: ["Date"] });
  const token = await tokens.mint(session({ expires: (seconds() + 10) * 1000 }));
  vi.setSystemTime(Date.now() + 9_000);
  await expect(tokens.verify(token)).resolves.toBeDefined();
  vi.setSystemTime(Date.now() + 2_000);
  await expect(tokens.verify(token)).rejects.toThrow(/it has expired/);
});

test("a token that has ended, would live too long or is too large for a header isn't minted", async () => {
  await expect(tokens.mint(session({ expires: (seconds() - 1) * 1000 }))).rejects.toMatchObject({ code: "STOW_BAD_REQUEST" });
  await expect(tokens.mint(session({ expires: (seconds() + MAX_LIFETIME + 10) * 1000 }))).rejects.toMatchObject({ code: "STOW_BAD_REQUEST" });
  const read = Array.from({ length: 100 }, (_, index) => `team:${"x".repeat(100)}${index}`);
  await expect(tokens.mint(session({ read }))).rejects.toMatchObject({ code: "STOW_BAD_REQUEST" });
});

test("after a change of the secret old tokens live on, until the old secret is gone", async () => {
  const old = await tokens.mint(session());
  const both = new Tokens("stowhouse", [OTHER, SECRET]);
  await expect(both.verify(old)).resolves.toBeDefined();
  const next = await both.mint(session());
  await expect(tokens.verify(next)).rejects.toEqual(refused);
  const after = new Tokens("stowhouse", [OTHER]);
  await expect(after.verify(next)).resolves.toBeDefined();
  await expect(after.verify(old)).rejects.toEqual(refused);
});

test("a token is good exactly as long as the secret that signed it is among the secrets", async () => {
  const secrets = Array.from({ length: 4 }, (_, index) => `secret number ${index} of this server, long enough`);
  const lists = fc.array(fc.shuffledSubarray(secrets, { minLength: 1 }), { minLength: 1, maxLength: 6 });
  await fc.assert(
    fc.asyncProperty(lists, async (rotations) => {
      const rotated = new Tokens("stowhouse", secrets);
      const minted: { by: string; token: string }[] = [];
      for (const list of rotations) {
        rotated.use(list);
        minted.push({ by: list[0]!, token: await rotated.mint(session()) });
        for (const { by, token } of minted) expect(await rotated.verify(token).then(() => true, () => false)).toBe(list.includes(by));
      }
    }),
    { numRuns: 50 },
  );
});

test("a short secret, none, or eleven are refused, and nothing changes", async () => {
  const steady = new Tokens("stowhouse", [SECRET]);
  for (const secrets of [["short"], [], Array.from({ length: 11 }, (_, index) => `${SECRET}${index}`)]) {
    expect(() => steady.use(secrets)).toThrow(/auth\.signingSecret/);
    await expect(steady.verify(await tokens.mint(session()))).resolves.toBeDefined();
    expect(() => new Tokens("stowhouse", secrets)).toThrow(/auth\.signingSecret/);
  }
});

test("a session's id tells where it comes from", () => {
  expect(parseSessionId(newSessionId({ run: "12", key: null }))).toEqual({ run: "12", key: null });
  expect(parseSessionId(newSessionId({ run: null, key: "config-write-1f3a9c2b" }))).toEqual({ run: null, key: "config-write-1f3a9c2b" });
  expect(parseSessionId(newSessionId({ run: null, key: null }))).toEqual({ run: null, key: null });
});

test("no other text is a session's id", () => {
  fc.assert(fc.property(fc.string(), (text) => parseSessionId(text) === undefined && parseSessionId(`run-1.${text}/`) === undefined));
});
