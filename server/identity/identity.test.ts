import { decodeJwt } from "jose";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { AUDIENCE, pullClaims, startIssuer, type Claims, type FakeIssuer } from "../../test/fixtures/issuer.ts";
import { temporaryDatabase } from "../../test/fixtures/temporary-database.ts";
import type { Grant } from "../core/grant.ts";
import type { Database } from "../database/database.ts";
import { anonymous, type CacheView } from "./credential.ts";
import { Identity, type GithubOptions, type IdentityOptions } from "./identity.ts";
import type { Rule } from "./rules.ts";

const view: CacheView = { name: "default", defaultScope: "local:main", anonymousRead: false };
const open: CacheView = { name: "open", defaultScope: "1296269:refs/heads/main", anonymousRead: true };
const rule: Rule = { repositoryId: 1296269, cache: "default", defaultBranch: "main", trustedRefs: ["refs/heads/main"] };
const refused = (code: string, status: number) => expect.objectContaining({ code, status });
const tokenInvalid = refused("STOW_TOKEN_INVALID", 401);
const identityRefused = refused("STOW_IDENTITY_REFUSED", 403);

let issuer: FakeIssuer;
let database: Database;
let identity: Identity;
const opened: Identity[] = [];

const githubOf = (over: Partial<GithubOptions> = {}): GithubOptions => ({ issuer: issuer.url, audience: AUDIENCE, rules: [rule], runtimeTokens: true, ...over });

async function server(github: Partial<GithubOptions> = {}, options: Partial<IdentityOptions> = {}): Promise<Identity> {
  const made = await Identity.open({ database, github: githubOf(github), ...options });
  opened.push(made);
  return made;
}

/** The grant the bearer of a token gets here. */
async function grantOf(token: string, where: Identity = identity, cache: CacheView = view): Promise<Grant | undefined> {
  return (await where.authenticator.authenticate(`Bearer ${token}`)).grant(cache);
}

beforeAll(async () => void ([issuer, database] = await Promise.all([startIssuer(), temporaryDatabase()])));
afterAll(() => Promise.all([issuer.close(), database.close()]));
beforeEach(async () => void (identity = await server()));
afterEach(async () => {
  vi.useRealTimers();
  for (const made of opened.splice(0)) await made.close();
});

describe("a job on GitHub", () => {
  test("on main gets an hour to read and write main, trusted", async () => {
    const session = await identity.exchangeGithub(await issuer.idToken());
    expect(session).toMatchObject({ cache: "default", read: ["1296269:refs/heads/main"], write: "1296269:refs/heads/main", trusted: true });
    expect(Math.abs(session.expires - Date.now() - 3_600_000)).toBeLessThan(10_000);
    expect(await grantOf(session.token)).toEqual({
      cache: "default", read: ["1296269:refs/heads/main"], write: "1296269:refs/heads/main", trusted: true, admin: false, actor: `session:${session.id}`,
    });
    expect(session.id).toMatch(/^run-9876543210\./);
  });

  test("for a pull request can't write what main reads", async () => {
    const session = await identity.exchangeGithub(await issuer.idToken(pullClaims));
    expect(await grantOf(session.token)).toMatchObject({ read: ["1296269:refs/pull/7/merge", "1296269:refs/heads/main"], write: "1296269:refs/pull/7/merge", trusted: false });
  });

  test("for an event anyone can start only reads", async () => {
    const session = await identity.exchangeGithub(await issuer.idToken({ event_name: "pull_request_target", base_ref: "main" }));
    expect(await grantOf(session.token)).toMatchObject({ read: ["1296269:refs/heads/main"], write: null, trusted: false });
  });

  test("of a repository no rule names is refused, though GitHub signed its token for us", async () => {
    await expect(identity.exchangeGithub(await issuer.idToken({ repository_id: "666", repository: "mallory/app", repository_owner_id: "667" }))).rejects.toEqual(identityRefused);
    await expect(identity.exchangeRuntime(await issuer.runtimeToken(undefined, { repository_id: "666" }))).rejects.toEqual(identityRefused);
  });

  test("shares nothing with another repository's job on the same branch", async () => {
    const both = await server({ rules: [rule, { ...rule, repositoryId: 7 }] });
    const mine = await grantOf((await both.exchangeGithub(await issuer.idToken())).token, both);
    const theirs = await grantOf((await both.exchangeGithub(await issuer.idToken({ repository_id: "7" }))).token, both);
    expect(mine!.read.filter((scope) => theirs!.read.includes(scope))).toEqual([]);
    expect(mine!.write).not.toBe(theirs!.write);
  });

  test("may ask for a shorter or longer session, up to six hours", async () => {
    const life = async (seconds: number) => (await identity.exchangeGithub(await issuer.idToken(), seconds)).expires - Date.now();
    expect(await life(60)).toBeLessThanOrEqual(60_000);
    expect(await life(1e9)).toBeLessThanOrEqual(6 * 3_600_000);
  });

  test("gets the lifetimes this server gives, and never more than six hours", async () => {
    const strict = await server({}, { lifetimes: { default: 300, max: 600 } });
    const life = async (seconds?: number) => (await strict.exchangeGithub(await issuer.idToken(), seconds)).expires - Date.now();
    expect(await life()).toBeLessThanOrEqual(300_000);
    expect(await life()).toBeGreaterThan(290_000);
    expect(await life(1e9)).toBeLessThanOrEqual(600_000);
    expect(await life(1e9)).toBeGreaterThan(590_000);
    const lax = await server({}, { lifetimes: { default: 1e9, max: 1e9 } });
    const session = await lax.exchangeGithub(await issuer.idToken());
    expect(session.expires).toBeLessThanOrEqual(Date.now() + 6 * 3_600_000);
    await grantOf(session.token, lax);
  });

  test("is not let in by default: without rules nobody is, and the issuer isn't even asked", async () => {
    const fresh = await server({ rules: [] });
    const before = issuer.fetches;
    await expect(fresh.exchangeGithub(await issuer.idToken())).rejects.toEqual(identityRefused);
    await expect((await server({}, { github: undefined })).exchangeGithub(await issuer.idToken())).rejects.toEqual(identityRefused);
    expect(issuer.fetches).toBe(before);
  });

  test("whose run was revoked loses its sessions and gets no other", async () => {
    const claims = { run_id: "424242" };
    const session = await identity.exchangeGithub(await issuer.idToken(claims));
    const child = await identity.narrow(await identity.authenticator.authenticate(`Bearer ${session.token}`), view, {});
    await grantOf(session.token);
    await identity.revokeRun("424242");
    for (const { token } of [session, child]) await expect(grantOf(token)).rejects.toEqual(tokenInvalid);
    await expect(identity.exchangeGithub(await issuer.idToken(claims))).rejects.toEqual(tokenInvalid);
    await identity.exchangeGithub(await issuer.idToken({ run_id: "424243" }));
  });

  test("gives up writing and keeps the rest in a narrowed session, no longer than it has itself", async () => {
    const session = await identity.exchangeGithub(await issuer.idToken(), 600);
    const child = await identity.narrow(await identity.authenticator.authenticate(`Bearer ${session.token}`), view, { write: false, lifetime: 3600 });
    expect(await grantOf(child.token)).toMatchObject({ read: ["1296269:refs/heads/main"], write: null, trusted: false });
    expect(child.expires).toBe(session.expires);
    expect(decodeJwt(child.token)["run_id"]).toBe("9876543210");
  });
});

describe("a runtime token", () => {
  test("is refused by default", async () => {
    const off = await server({ runtimeTokens: undefined });
    await expect(off.exchangeRuntime(await issuer.runtimeToken())).rejects.toEqual(identityRefused);
  });

  test("of a fork's pull request writes its merge ref only", async () => {
    const token = await issuer.runtimeToken([{ Scope: "refs/pull/7/merge", Permission: 3 }, { Scope: "refs/heads/main", Permission: 1 }]);
    const session = await identity.exchangeRuntime(token);
    expect(await grantOf(session.token)).toMatchObject({ read: ["1296269:refs/pull/7/merge", "1296269:refs/heads/main"], write: "1296269:refs/pull/7/merge", trusted: false });
  });

  test("makes no session that outlives it", async () => {
    const exp = Math.floor(Date.now() / 1000) + 120;
    expect((await identity.exchangeRuntime(await issuer.runtimeToken(undefined, { exp }))).expires).toBe(exp * 1000);
  });

  test("doesn't reach a scope that several repositories share", async () => {
    const shared = await server({ rules: [{ ...rule, sharedScope: "team:ci" }] });
    const claims = { event_name: "push", ref: "refs/heads/main" };
    expect(await shared.exchangeRuntime(await issuer.runtimeToken(undefined, claims))).toMatchObject({ read: ["1296269:refs/heads/main"], write: "1296269:refs/heads/main" });
    expect(await shared.exchangeGithub(await issuer.idToken())).toMatchObject({ read: ["1296269:refs/heads/main", "team:ci"], write: "team:ci" });
  });
});

describe("every kind of token at every door", () => {
  type Door = "requests" | "github" | "runtime";
  const doors: Record<Door, (token: string) => Promise<unknown>> = {
    requests: (token) => grantOf(token),
    github: (token) => identity.exchangeGithub(token),
    runtime: (token) => identity.exchangeRuntime(token),
  };
  const idToken = (claims?: Claims) => () => issuer.idToken(claims);
  const kinds: Record<string, [opens: Door | null, make: () => Promise<string>]> = {
    "an OIDC id token": ["github", idToken()],
    "an id token for GitHub itself": [null, idToken({ aud: "https://github.com/acme" })],
    "an id token that has ended": [null, idToken({ exp: Math.floor(Date.now() / 1000) - 3600 })],
    "an id token with ac": ["runtime", idToken({ ac: '[{"Scope":"refs/heads/main","Permission":3}]' })],
    "a runtime token": ["runtime", () => issuer.runtimeToken()],
    "a runtime token for our audience": ["runtime", () => issuer.runtimeToken(undefined, { aud: AUDIENCE, iat: 1 })],
    "a runtime token without ac": [null, () => issuer.runtimeToken(undefined, { ac: undefined })],
    "an id token with the claims of a session": ["github", idToken({ stow: { cache: "default", read: [], write: "local:main", trusted: true, public: false } })],
    "an API key": ["requests", async () => (await identity.keys.create({ name: "k", permission: "admin" })).key],
    "a session of a key": ["requests", async () => (await identity.narrow(await identity.authenticator.authenticate(`Bearer ${(await identity.keys.create({ name: "k", permission: "write" })).key}`), view, {})).token],
    "a session of a job": ["requests", async () => (await identity.exchangeGithub(await issuer.idToken())).token],
    "a session of another server": [null, async () => (await (await server({}, { signingSecrets: ["a secret that this server doesn't know"] })).exchangeGithub(await issuer.idToken())).token],
    "a session of another issuer with our secret": [null, async () => (await (await server({}, { issuer: "other" })).exchangeGithub(await issuer.idToken())).token],
    "nothing": ["requests", async () => ""],
    "noise": [null, async () => "eyJhbGciOiJub25lIn0.e30."],
  };
  const cases = Object.entries(kinds).flatMap(([kind, [opens, make]]) => (Object.keys(doors) as Door[]).map((door) => [kind, door, opens === door, make] as const));

  test.each(cases)("%s at the door for %s: let in is %s", async (_, door, letIn, make) => {
    const outcome = doors[door](await make());
    if (letIn) await outcome;
    else await expect(outcome).rejects.toMatchObject({ status: 401 });
  });
});

describe("sessions made from other credentials", () => {
  test("a public key's session is public and dies with it", async () => {
    const { key, info } = await identity.keys.create({ name: "forks", permission: "read", public: true, caches: ["open"] });
    const credential = await identity.authenticator.authenticate(`Bearer ${key}`);
    const session = await identity.narrow(credential, open, {});
    expect(await identity.authenticator.authenticate(`Bearer ${session.token}`)).toMatchObject({ public: true });
    expect(await grantOf(session.token, identity, open)).toMatchObject({ read: ["1296269:refs/heads/main"], write: null });
    await identity.keys.revoke(info.id);
    await expect(grantOf(session.token)).rejects.toEqual(tokenInvalid);
  });

  test("nobody gets a session to read a cache that allows it, for tools that need a JWT", async () => {
    const session = await identity.narrow(anonymous, open, {});
    expect(await grantOf(session.token, identity, open)).toMatchObject({ read: ["1296269:refs/heads/main"], write: null });
    expect(await grantOf(session.token, identity, { ...open, anonymousRead: false })).toBeUndefined();
    await expect(identity.narrow(anonymous, view, {})).rejects.toEqual(refused("STOW_NO_CACHE", 404));
  });

  test("all replicas take each other's sessions, and a restart keeps them", async () => {
    const session = await identity.exchangeGithub(await issuer.idToken());
    await expect(grantOf(session.token, await server())).resolves.toBeDefined();
  });
});

describe("other settings while it runs", () => {
  test("a narrowed rule counts from the next exchange on, and a wrong one changes nothing", async () => {
    const one = await server();
    await one.exchangeGithub(await issuer.idToken());
    await expect(one.configure({ github: githubOf({ rules: [{ ...rule, repositoryId: undefined }] }) })).rejects.toThrow("auth.github.rules[0]");
    await one.exchangeGithub(await issuer.idToken());
    await one.configure({ github: githubOf({ rules: [{ ...rule, repositoryId: 999 }] }) });
    await expect(one.exchangeGithub(await issuer.idToken())).rejects.toEqual(identityRefused);
    await one.configure({});
    await expect(one.exchangeGithub(await issuer.idToken())).rejects.toEqual(identityRefused);
  });

  test("a new key works at once, beside the old one or instead of it; what is gone ends with its sessions", async () => {
    const one = await server({}, { fixedKeys: { write: "the-first-key" } });
    const asks = async (token: string) => grantOf(token, one).then(() => true, () => false);
    const session = await one.narrow(await one.authenticator.authenticate("Bearer the-first-key"), view, {});
    expect([await asks("the-first-key"), await asks("the-second-key"), await asks(session.token)]).toEqual([true, false, true]);
    await one.configure({ fixedKeys: { write: "the-first-key\nthe-second-key" } });
    expect([await asks("the-first-key"), await asks("the-second-key"), await asks(session.token)]).toEqual([true, true, true]);
    await one.configure({ fixedKeys: { write: "the-second-key" } });
    expect([await asks("the-first-key"), await asks("the-second-key"), await asks(session.token)]).toEqual([false, true, false]);
  });

  test("a signing secret of one's own takes the place of the database's, whose tokens end", async () => {
    const one = await server();
    const before = await one.exchangeGithub(await issuer.idToken());
    await one.configure({ github: githubOf(), signingSecrets: ["a secret of one's own, long enough for it"] });
    await expect(grantOf(before.token, one)).rejects.toEqual(tokenInvalid);
    await expect(grantOf((await one.exchangeGithub(await issuer.idToken())).token, one)).resolves.toBeDefined();
  });
});

test("a wrong rule, issuer or signing key is refused at start with its field", async () => {
  await expect(server({ rules: [{ ...rule, repositoryId: undefined }] })).rejects.toThrow("auth.github.rules[0]");
  await expect(server({ issuer: "http://token.example" })).rejects.toThrow("auth.github.issuer");
  await expect(server({}, { signingSecrets: ["short"] })).rejects.toThrow("auth.signingSecret");
  await expect(server({}, { fixedKeys: { read: "short" } })).rejects.toThrow("auth.readKey");
});
