import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { KEYS, startApp, type TestApp } from "../test/fixtures/app.ts";
import { pullClaims, startIssuer, type FakeIssuer } from "../test/fixtures/issuer.ts";
import { Loopback } from "../test/fixtures/loopback.ts";
import { situationOf } from "./event.ts";
import { authenticate, credentials, type Identity } from "./identity.ts";
import { serverInputs } from "./inputs.ts";
import type { Payload } from "./toolkit.ts";

let issuer: FakeIssuer;
let app: TestApp;
let url: string;
const loopback = new Loopback();

beforeAll(async () => {
  issuer = await startIssuer();
  app = await startApp({
    auth: { githubRuntime: { enabled: true }, github: { issuer: issuer.url, audience: "https://cache.example.com", rules: [{ repositoryId: 1_296_269, cache: "default", defaultBranch: "main", trustedRefs: ["refs/heads/main"] }] } },
  });
  url = await app.listen();
});
afterAll(async () => {
  await Promise.all([app.close(), issuer.close(), loopback.close()]);
});

let secrets: string[];
beforeEach(() => {
  secrets = [];
  issuer.idClaims = {};
});

const oidc = () => ({ ACTIONS_ID_TOKEN_REQUEST_URL: issuer.requestUrl, ACTIONS_ID_TOKEN_REQUEST_TOKEN: issuer.requestToken });
const dependabot = { GITHUB_ACTOR: "dependabot[bot]" };
const fork: Payload = { pull_request: { head: { repo: { full_name: "mallory/app" } } } };

function ask(inputs: Record<string, string>, env: Record<string, string> = {}, payload: Payload = {}): Promise<Identity> {
  const whole = { GITHUB_EVENT_NAME: "push", GITHUB_REPOSITORY: "acme/app", ...env };
  const given: Record<string, string> = { server: url, audience: "https://cache.example.com", ...inputs };
  return authenticate(serverInputs((name) => given[name] ?? "", "key"), situationOf(whole, payload), whole, { setSecret: (value) => void secrets.push(value) });
}

const granted = ({ mode, sessions: [session] }: Identity) => [session?.kind, mode, session?.scope];

test("credentials are tried from the strongest to none", () => {
  const env = { ...oidc(), ACTIONS_RUNTIME_TOKEN: "t" };
  const tried = (auth: string, keys = { key: "k", readKey: "r" }) => credentials({ auth: auth as "auto", ...keys }, env);
  expect(tried("auto")).toEqual(["oidc", "key", "read-key", "anonymous"]);
  expect(tried("runtime-token")).toEqual(["oidc", "key", "runtime-token", "read-key", "anonymous"]);
  expect([tried("oidc"), tried("key"), tried("anonymous")]).toEqual([["oidc", "read-key", "anonymous"], ["key", "read-key", "anonymous"], ["anonymous"]]);
  expect(credentials({ auth: "auto", key: undefined, readKey: undefined }, {})).toEqual(["anonymous"]);
});

describe("the server decides", () => {
  test("by GitHub's identity, before any key", async () => {
    expect(granted(await ask({ key: KEYS.write, "read-key": KEYS.read }, oidc()))).toEqual(["oidc", "write", "1296269:refs/heads/main"]);
    issuer.idClaims = pullClaims;
    expect(granted(await ask({}, { ...oidc(), GITHUB_EVENT_NAME: "pull_request" }))).toEqual(["oidc", "write", "1296269:refs/pull/7/merge"]);
  });

  test("an identity no rule names falls back to the next credential", async () => {
    issuer.idClaims = { repository_id: "42" };
    expect(granted(await ask({ "read-key": KEYS.read }, oidc()))).toEqual(["read-key", "read", "local:main"]);
  });

  test("a key that is wrong gives nothing, and says so", async () => {
    const identity = await ask({ key: "stow_rw_of-somebody-else-00000" });
    expect(identity).toMatchObject({ sessions: [], mode: "off", dead: [], alone: false });
    expect(identity.reason).toMatch(/gives this job no access \(key: .*; anonymous: /);
  });

  test("GitHub without a token is no reason to stop", async () => {
    const env = { ...oidc(), ACTIONS_ID_TOKEN_REQUEST_TOKEN: "wrong" };
    expect(granted(await ask({ key: KEYS.write }, env))).toEqual(["key", "write", "local:main"]);
  });
});

describe("rights shrink", () => {
  test.each<[string, Record<string, string>, Payload]>([
    ["on a pull request", { GITHUB_EVENT_NAME: "pull_request" }, {}],
    ["on pull_request_target", { GITHUB_EVENT_NAME: "pull_request_target" }, fork],
    ["on a comment", { GITHUB_EVENT_NAME: "issue_comment" }, {}],
    ["for Dependabot", dependabot, {}],
    ["by cache-mode", { ACTIONS_CACHE_MODE: "read" }, {}],
  ])("a key's to reading %s, by a token that can't do more", async (_, env, payload) => {
    const identity = await ask({ key: KEYS.write }, env, payload);
    expect(granted(identity)).toEqual(["key", "read", "local:main"]);
    const whoami = await fetch(`${url}/v1/auth/whoami`, { headers: { authorization: `Bearer ${identity.sessions[0]!.token}` } });
    expect(await whoami.json()).toMatchObject({ kind: "session", write: null });
  });

  test("to what mode asks for", async () => {
    expect(granted(await ask({ mode: "read" }, oidc()))).toEqual(["oidc", "read", "1296269:refs/heads/main"]);
    const writeOnly = await ask({ mode: "write-only" }, oidc());
    expect([writeOnly.mode, writeOnly.sessions[0]!.rights]).toEqual(["write-only", { read: false, write: true }]);
    expect((await ask({ mode: "off" }, oidc())).sessions).toEqual([]);
    expect((await ask({ mode: "write-only" }, { ACTIONS_CACHE_MODE: "read" })).mode).toBe("off");
  });

  test("Dependabot writes at most the scope of its pull request, whatever the token says", async () => {
    expect(granted(await ask({}, { ...oidc(), ...dependabot }))).toEqual(["oidc", "read", "1296269:refs/heads/main"]);
    issuer.idClaims = pullClaims;
    expect(granted(await ask({}, { ...oidc(), ...dependabot, GITHUB_EVENT_NAME: "pull_request" }))).toEqual(["oidc", "write", "1296269:refs/pull/7/merge"]);
  });
});

test("every credential and token is masked, and no key is what the job gets", async () => {
  const { sessions } = await ask({ key: KEYS.write, "read-key": KEYS.read, auth: "key" });
  expect(secrets).toEqual(expect.arrayContaining([KEYS.write, KEYS.read, sessions[0]!.token]));
  expect(sessions[0]!.token).toMatch(/^eyJ/);
  secrets = [];
  await ask({}, oidc());
  expect(secrets.filter((secret) => secret.startsWith("eyJ"))).toHaveLength(2);
});

describe("servers", () => {
  test("one that is away does not keep the job from the other", async () => {
    const dead = (await loopback.dead()).origin;
    const identity = await ask({ server: `${dead} ${url}`, key: KEYS.write });
    expect(identity).toMatchObject({ mode: "write", dead: [dead], alone: false });
    expect(identity.sessions.map((session) => session.url)).toEqual([url]);
  });

  test("no more is promised than all of them give", async () => {
    const other = await startApp({ auth: { writeKey: "stow_rw_another-key-0123456789ab" } });
    // Both know the same read key, only one the write key.
    const both = `${await other.listen()} ${url}`;
    const identity = await ask({ server: both, key: KEYS.write, "read-key": KEYS.read });
    expect(identity.sessions).toHaveLength(2);
    expect(identity.mode).toBe("read");
    await other.close();
  });

  test("hanging ones cost less than four seconds, however many", async () => {
    const hanging = await Promise.all([loopback.hanging(), loopback.hanging(), loopback.http(() => {})]);
    const began = performance.now();
    const identity = await ask({ server: hanging.map(({ origin }) => origin).join(","), key: KEYS.write });
    expect(performance.now() - began).toBeLessThan(4_500);
    expect(identity).toMatchObject({ sessions: [], mode: "off", alone: true });
    expect(identity.dead).toHaveLength(3);
  });

  test.each<[string, number, string]>([["an error page", 404, "<html></html>"], ["a broken server", 500, "{}"], ["something else that speaks JSON", 200, "[]"], ["null", 200, "null"]])("%s is no refusal", async (_, status, body) => {
    const at = await loopback.http((_request, response) => void response.writeHead(status, { "content-type": "text/html" }).end(body));
    expect(await ask({ server: at.origin, key: KEYS.write })).toMatchObject({ sessions: [], dead: [at.origin], alone: true });
  });
});
