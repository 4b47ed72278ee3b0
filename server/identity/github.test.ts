import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { decodeProtectedHeader, exportJWK, exportPKCS8, generateKeyPair, importPKCS8, SignJWT } from "jose";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { AUDIENCE, pushClaims, startIssuer, type FakeIssuer } from "../../test/fixtures/issuer.ts";
import { GithubTokens, jwksUrl } from "./github.ts";

let issuer: FakeIssuer;
let github: GithubTokens;
const seconds = () => Math.floor(Date.now() / 1000);
const invalid = expect.objectContaining({ code: "STOW_TOKEN_INVALID", status: 401 });
const unavailable = expect.objectContaining({ code: "STOW_IDENTITY_UNAVAILABLE", status: 503 });

beforeAll(async () => void (issuer = await startIssuer()));
afterAll(() => issuer.close());
beforeEach(() => {
  issuer.mood = "ok";
  github = new GithubTokens({ issuer: issuer.url, audience: AUDIENCE, jwks: { timeout: 300 } });
});
afterEach(() => void vi.useRealTimers());

test("an id token of the issuer for this server is accepted", async () => {
  await expect(github.verifyIdToken(await issuer.idToken())).resolves.toMatchObject({ repository_id: "1296269", event_name: "push" });
});

test.each([
  ["for another audience", { aud: "https://github.com/acme" }],
  ["for an audience that only begins like ours", { aud: `${AUDIENCE}.evil.example` }],
  ["for several audiences", { aud: [AUDIENCE, "https://other.example"] }],
  ["without audience", { aud: undefined }],
  ["of another issuer", { iss: "https://token.actions.githubusercontent.com.evil.example" }],
  ["of the issuer with a slash more", { iss: "/" }],
  ["without exp", { exp: undefined }],
  ["without nbf", { nbf: undefined }],
  ["without iat", { iat: undefined }],
  ["that has an ac", { ac: "[]" }],
  ["that has a scp", { scp: "Actions.Results:1:2" }],
])("an id token %s is refused", async (_, claims) => {
  const change = "iss" in claims && claims.iss === "/" ? { iss: `${issuer.url}/` } : claims;
  await expect(github.verifyIdToken(await issuer.idToken(change))).rejects.toEqual(invalid);
});

test("a minute of skew is forgiven, more isn't", async () => {
  const tokens = (offset: number) => [{ exp: seconds() - offset }, { nbf: seconds() + offset }, { iat: seconds() + offset }];
  for (const claims of tokens(50)) await expect(github.verifyIdToken(await issuer.idToken(claims))).resolves.toBeDefined();
  for (const claims of tokens(75)) await expect(github.verifyIdToken(await issuer.idToken(claims))).rejects.toEqual(invalid);
});

test("a token signed with another key is refused, though it names the issuer's kid", async () => {
  const { privateKey } = await generateKeyPair("RS256");
  const kid = decodeProtectedHeader(await issuer.idToken()).kid!;
  const token = await new SignJWT({ ...pushClaims(issuer.url) }).setProtectedHeader({ alg: "RS256", kid }).sign(privateKey);
  await expect(github.verifyIdToken(token)).rejects.toEqual(invalid);
});

test("a token signed with the public key as shared secret is refused", async () => {
  const kid = decodeProtectedHeader(await issuer.idToken()).kid!;
  const token = await new SignJWT({ ...pushClaims(issuer.url) }).setProtectedHeader({ alg: "HS256", kid }).sign(Buffer.from(await issuer.publicPem()));
  await expect(github.verifyIdToken(token)).rejects.toEqual(invalid);
});

test("a token of another algorithm is refused, though the issuer's key would fit it", async () => {
  const { privateKey, publicKey } = await generateKeyPair("PS256", { extractable: true });
  const { kty, n, e } = await exportJWK(publicKey);
  const server = createServer((_, response) => response.end(JSON.stringify({ keys: [{ kty, n, e, kid: "any" }] })));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const sign = async (alg: string) => new SignJWT({ ...pushClaims(url) }).setProtectedHeader({ alg, kid: "any" }).sign(await importPKCS8(await exportPKCS8(privateKey), alg));
  const other = new GithubTokens({ issuer: url, audience: AUDIENCE });
  await expect(other.verifyIdToken(await sign("RS256"))).resolves.toBeDefined();
  for (const alg of ["PS256", "RS512"]) await expect(other.verifyIdToken(await sign(alg))).rejects.toEqual(invalid);
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

test("a token without signature is refused", async () => {
  const [, payload] = (await issuer.idToken()).split(".");
  for (const alg of ["none", "None", "NONE"]) {
    const token = `${Buffer.from(JSON.stringify({ alg, typ: "JWT", kid: "key-1" })).toString("base64url")}.${payload}.`;
    await expect(github.verifyIdToken(token)).rejects.toEqual(invalid);
    await expect(github.verifyRuntimeToken(token)).rejects.toEqual(invalid);
  }
});

test.each(["", "abc", "a.b.c", "..", `${"x".repeat(20_000)}.y.z`])("%.20j is refused", async (token) => {
  await expect(github.verifyIdToken(token)).rejects.toEqual(invalid);
});

test("a token that names no key is refused", async () => {
  await expect(github.verifyIdToken(await issuer.sign(pushClaims(issuer.url), { kid: undefined as never }))).rejects.toEqual(invalid);
});

describe("a runtime token", () => {
  test("of the issuer is accepted whatever its audience", async () => {
    await expect(github.verifyRuntimeToken(await issuer.runtimeToken())).resolves.toMatchObject({ repository_id: "1296269" });
  });

  test("without ac or repository is refused, so an id token is", async () => {
    await expect(github.verifyRuntimeToken(await issuer.idToken())).rejects.toEqual(invalid);
    await expect(github.verifyRuntimeToken(await issuer.runtimeToken([], { ac: undefined }))).rejects.toEqual(invalid);
    await expect(github.verifyRuntimeToken(await issuer.runtimeToken([], { repository_id: undefined }))).rejects.toEqual(invalid);
  });

  test("that has ended is refused", async () => {
    await expect(github.verifyRuntimeToken(await issuer.runtimeToken(undefined, { exp: seconds() - 100 }))).rejects.toThrow(/expired/);
  });
});

describe("the issuer's keys", () => {
  test("are fetched once for many tokens", async () => {
    const before = issuer.fetches;
    const token = await issuer.idToken();
    await Promise.all(Array.from({ length: 10 }, () => github.verifyIdToken(token)));
    await github.verifyIdToken(token);
    expect(issuer.fetches).toBe(before + 1);
  });

  test("are fetched again for a new key id, once in a cool-down", async () => {
    vi.useFakeTimers({ toFake: ["Date"] });
    await github.verifyIdToken(await issuer.idToken());
    await issuer.rotate();
    const before = issuer.fetches;
    const token = await issuer.idToken();
    await expect(github.verifyIdToken(token)).rejects.toEqual(invalid);
    expect(issuer.fetches).toBe(before);
    vi.setSystemTime(Date.now() + 11_000);
    await expect(github.verifyIdToken(token)).resolves.toBeDefined();
    expect(issuer.fetches).toBe(before + 1);
  });

  test("that the issuer withdrew are forgotten", async () => {
    vi.useFakeTimers({ toFake: ["Date"] });
    const exp = seconds() + 100_000;
    const old = await issuer.idToken({ exp });
    await github.verifyIdToken(old);
    await issuer.rotate();
    vi.setSystemTime(Date.now() + 11 * 60_000);
    await expect(github.verifyIdToken(old)).rejects.toEqual(invalid);
  });

  test("are still believed while the issuer is away, for a day", async () => {
    vi.useFakeTimers({ toFake: ["Date"] });
    const token = await issuer.idToken({ exp: seconds() + 1_000_000 });
    await github.verifyIdToken(token);
    issuer.mood = "error";
    vi.setSystemTime(Date.now() + 3_600_000);
    await expect(github.verifyIdToken(token)).resolves.toBeDefined();
    vi.setSystemTime(Date.now() + 24 * 3_600_000);
    await expect(github.verifyIdToken(token)).rejects.toEqual(unavailable);
  });

  test.each(["error", "garbage", "huge", "redirect"] as const)("are not had from an answer that is: %s", async (mood) => {
    issuer.mood = mood;
    await expect(github.verifyIdToken(await issuer.idToken())).rejects.toEqual(unavailable);
  });

  test.each(["hang", "stall"] as const)("are not waited for longer than the timeout when the issuer is: %s", async (mood) => {
    issuer.mood = mood;
    const started = performance.now();
    await expect(github.verifyIdToken(await issuer.idToken())).rejects.toEqual(unavailable);
    expect(performance.now() - started).toBeLessThan(5_000);
  });

  test("are asked for once in a cool-down when there is no issuer", async () => {
    issuer.mood = "error";
    const before = issuer.fetches;
    const token = await issuer.idToken();
    for (let attempt = 0; attempt < 5; attempt++) await expect(github.verifyIdToken(token)).rejects.toEqual(unavailable);
    expect(issuer.fetches).toBe(before + 1);
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as AddressInfo;
    await new Promise((resolve) => server.close(resolve));
    const nobody = new GithubTokens({ issuer: `http://127.0.0.1:${port}`, audience: AUDIENCE });
    await expect(nobody.verifyIdToken(token)).rejects.toEqual(unavailable);
  });

  test.each([
    ["https://token.actions.githubusercontent.com", "https://token.actions.githubusercontent.com/.well-known/jwks"],
    ["https://token.actions.githubusercontent.com/acme", "https://token.actions.githubusercontent.com/.well-known/jwks"],
    ["https://token.actions.acme.ghe.com", "https://token.actions.acme.ghe.com/.well-known/jwks"],
    ["https://github.acme.example/_services/token", "https://github.acme.example/_services/token/.well-known/jwks"],
    ["http://127.0.0.1:8080", "http://127.0.0.1:8080/.well-known/jwks"],
    ["http://localhost:8080/", "http://localhost:8080/.well-known/jwks"],
  ])("of %s are at %s", (from, url) => {
    expect(jwksUrl(from).href).toBe(url);
  });

  test.each(["http://token.actions.githubusercontent.com", "http://127.0.0.1.evil.example", "ftp://127.0.0.1", "file:///etc/jwks", "token.actions.githubusercontent.com", ""])(
    "are never asked for at %j",
    (from) => {
      expect(() => jwksUrl(from)).toThrow(/auth\.github\.issuer/);
    },
  );
});

test("the token endpoint of the stand-in answers as the runner's does", async () => {
  const response = await fetch(`${issuer.requestUrl}&audience=${encodeURIComponent(AUDIENCE)}`, { headers: { authorization: `Bearer ${issuer.requestToken}` } });
  const { value } = (await response.json()) as { value: string };
  await expect(github.verifyIdToken(value)).resolves.toMatchObject({ aud: AUDIENCE });
  expect((await fetch(issuer.requestUrl)).status).toBe(404);
});
