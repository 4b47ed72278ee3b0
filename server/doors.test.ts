import { createHmac, hash } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startApp, KEYS, type TestApp } from "../test/fixtures/app.ts";
import { AUDIENCE, pullClaims, pushClaims, startIssuer, type FakeIssuer } from "../test/fixtures/issuer.ts";
import { Tokens } from "./identity/tokens.ts";
import { protocols } from "./protocols/index.ts";

/** Every kind of token is tried at every door; the table below says who gets in, and nobody else does. */

const VERSION = "0".repeat(64);
const TWIRP = "/c/default/twirp/github.actions.results.api.v1.CacheService/";
const V1 = "/c/default/_apis/artifactcache/";
const CACHIX = "/api/v1/cache/default/";
/** Agents and those who activate come by the domain below which caches are. */
const DEPLOY = { host: "deploy.test" };

let issuer: FakeIssuer;
let app: TestApp;
/** What one may hold, by name. */
const tokens: Record<string, string> = {};
let readUrl: URL;
let writeUrl: URL;
let partUrl: URL;

beforeAll(async () => {
  issuer = await startIssuer();
  app = await startApp(
    {
      caches: { default: {}, other: {}, open: { anonymousRead: true } },
      auth: { github: { issuer: issuer.url, audience: AUDIENCE, rules: [{ repositoryId: 1296269, cache: "default", defaultBranch: "main" }] }, githubRuntime: { enabled: true } },
      protocols: { nix: { domain: DEPLOY.host, deploy: { workspaces: { prod: { cache: "default" } } } } },
    },
    protocols,
  );
  await makeTokens();
});

afterAll(async () => {
  await app.close();
  await issuer.close();
});

interface Call {
  readonly method: "GET" | "POST" | "PUT" | "DELETE" | "PATCH" | "HEAD";
  readonly url: string;
  readonly json?: object;
  readonly body?: string;
  readonly headers?: Record<string, string>;
}

async function ask({ method, url, json, body, headers }: Call, bearer?: string): Promise<{ status: number; text: string }> {
  const payload = json === undefined ? body : JSON.stringify(json);
  const response = await app.app.inject({
    method, url,
    headers: { ...(bearer === undefined ? {} : { authorization: `Bearer ${bearer}` }), ...(json === undefined ? {} : { "content-type": "application/json" }), ...headers },
    ...(payload === undefined ? {} : { payload }),
  });
  return { status: response.statusCode, text: response.body };
}

/** The token of a session that a credential is exchanged for. */
async function session(url: string, json: object, bearer?: string): Promise<string> {
  const { status, text } = await ask({ method: "POST", url, json }, bearer);
  if (status !== 200) throw new Error(`${url}: ${status} ${text}`);
  return (JSON.parse(text) as { token: string }).token;
}

const base64 = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
const payloadOf = (jwt: string) => JSON.parse(Buffer.from(jwt.split(".")[1]!, "base64url").toString("utf8")) as Record<string, unknown>;

async function makeTokens(): Promise<void> {
  const { keys } = app.identity;
  const make = async (options: object) => keys.create({ name: "door", permission: "write", ...options } as never);
  const revoked = await make({});
  const parent = await make({});
  const expiring = await make({ expires: Date.now() + 300 });
  Object.assign(tokens, {
    "admin key": KEYS.admin,
    "write key": KEYS.write,
    "read key": KEYS.read,
    "public key": (await make({ permission: "read", public: true })).key,
    "agent's key": (await make({ permission: "read", deploy: { workspace: "prod", may: "agent" } })).key,
    "activator's key": (await make({ permission: "read", deploy: { workspace: "prod", may: "activate" } })).key,
    "key of another cache": (await make({ caches: ["other"] })).key,
    "revoked key": revoked.key,
    "expired key": expiring.key,
    "session of a write key": await session("/v1/auth/session", {}, KEYS.write),
    "session narrowed to reading": await session("/v1/auth/session", { write: false }, KEYS.write),
    "session of main": await session("/v1/auth/github", { id_token: await issuer.idToken() }),
    "session of a pull request": await session("/v1/auth/github", { id_token: await issuer.idToken(pullClaims) }),
    "session of a foreign event": await session("/v1/auth/github", { id_token: await issuer.idToken({ event_name: "issue_comment" }) }),
    "session of a revoked key": await session("/v1/auth/session", {}, parent.key),
    "revoked session": await session("/v1/auth/session", {}, KEYS.write),
    "expired session": await session("/v1/auth/session", { lifetime: 1 }, KEYS.write),
  });
  const good = tokens["session of a write key"]!;
  const secret = await app.core.database.write("secret", { name: "session-signing", candidate: "", now: 0 });
  const rights = { id: String(payloadOf(good)["jti"]).split(".").slice(0, 2).join("."), cache: "default", read: ["local:main"], write: "local:main", trusted: true, public: false, expires: (Math.floor(Date.now() / 1000) + 600) * 1000 };
  const [header, payload, signature] = good.split(".") as [string, string, string];
  const confused = `${base64({ alg: "HS256", typ: "JWT", kid: (JSON.parse(Buffer.from(header, "base64url").toString()) as { kid: string }).kid })}.${payload}`;
  Object.assign(tokens, {
    "session of another server": await new Tokens("stowhouse", ["another secret of at least 32 characters"]).mint(rights),
    "session of another issuer": await new Tokens("elsewhere", [secret]).mint(rights),
    "session with alg none": `${base64({ alg: "none", typ: "JWT" })}.${payload}.`,
    "session signed with the issuer's public key": `${confused}.${createHmac("sha256", await issuer.publicPem()).update(confused).digest("base64url")}`,
    "session signed by GitHub's issuer": await issuer.sign(payloadOf(good)),
    "session with another payload": `${header}.${base64({ ...payloadOf(good), stow: { ...rights, write: "team:ci" } })}.${signature}`,
    "session without a signature": `${header}.${payload}.`,
    "GitHub's id token": await issuer.idToken(),
    "GitHub's id token for another audience": await issuer.idToken({ aud: "https://elsewhere.example" }),
    "GitHub's id token of a foreign repository": await issuer.idToken({ repository_id: "666", repository_owner_id: "666" }),
    "expired id token of GitHub": await issuer.idToken({ exp: Math.floor(Date.now() / 1000) - 120, nbf: Math.floor(Date.now() / 1000) - 900 }),
    "id token with alg none": `${base64({ alg: "none", typ: "JWT" })}.${base64(pushClaims(issuer.url))}.`,
    "GitHub's runtime token": await issuer.runtimeToken(),
  });

  // Signed URLs on behalf of the write key.
  const put = await ask({ method: "POST", url: `${TWIRP}CreateCacheEntry`, json: { key: "door", version: VERSION } }, KEYS.write);
  const upload = new URL((JSON.parse(put.text) as { signed_upload_url: string }).signed_upload_url);
  await ask({ method: "PUT", url: upload.pathname + upload.search, body: "behind the door", headers: { "x-ms-blob-type": "BlockBlob" } });
  await ask({ method: "POST", url: `${TWIRP}FinalizeCacheEntryUpload`, json: { key: "door", version: VERSION, size_bytes: 15 } }, KEYS.write);
  const found = await ask({ method: "POST", url: `${TWIRP}GetCacheEntryDownloadURL`, json: { key: "door", version: VERSION } }, KEYS.write);
  readUrl = new URL((JSON.parse(found.text) as { signed_download_url: string }).signed_download_url);
  const open = await ask({ method: "POST", url: `${TWIRP}CreateCacheEntry`, json: { key: "another door", version: VERSION } }, KEYS.write);
  writeUrl = new URL((JSON.parse(open.text) as { signed_upload_url: string }).signed_upload_url);
  const { narId, uploadId } = JSON.parse((await ask({ method: "POST", url: `${CACHIX}multipart-nar`, json: {} }, KEYS.write)).text) as Record<string, string>;
  const signed = await ask({ method: "POST", url: `${CACHIX}multipart-nar/${narId}?uploadId=${uploadId}&partNumber=1`, json: { contentMD5: hash("md5", "x", "base64") } }, KEYS.write);
  partUrl = new URL((JSON.parse(signed.text) as { uploadUrl: string }).uploadUrl);
  tokens["signature of a part's URL"] = partUrl.searchParams.get("sig")!;
  tokens["signature of a read URL"] = readUrl.searchParams.get("sig")!;
  tokens["signature of a write URL"] = writeUrl.searchParams.get("sig")!;

  await keys.revoke(revoked.info.id);
  await keys.revoke(parent.info.id);
  await app.identity.revokeSession(String(payloadOf(tokens["revoked session"]!)["jti"]));
  await new Promise((resolve) => setTimeout(resolve, 1_100));
}

let serial = 0;
const nip = (path: string) => `/c/default/v1/${path}`;
const form = { body: '--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nx\r\n--b\r\nContent-Disposition: form-data; name="metadata"\r\n\r\n{}\r\n--b--\r\n', headers: { "content-type": "multipart/form-data; boundary=b" } };
const signedBy = (url: URL, signature: string) => `${url.pathname}?se=${url.searchParams.get("se")}&sig=${encodeURIComponent(signature)}`;

/** What is asked at each door. Where the token goes elsewhere than into Authorization, the door puts it there itself. */
const DOORS: Record<string, (token: string) => Call & { readonly bearer?: false }> = {
  "health": () => ({ method: "GET", url: "/livez" }),
  "whoami": () => ({ method: "GET", url: "/c/default/v1/auth/whoami" }),
  "session": () => ({ method: "POST", url: "/c/default/v1/auth/session", json: {} }),
  "nip look-up": () => ({ method: "GET", url: nip("artifacts/a") }),
  "nip list": () => ({ method: "GET", url: nip("artifacts") }),
  "nip metadata": () => ({ method: "GET", url: nip("artifacts/a/metadata") }),
  "nip download": () => ({ method: "GET", url: nip("download/a") }),
  "nip upload": () => ({ method: "POST", url: nip(`artifacts/new-${serial++}`), ...form }),
  "gha find": () => ({ method: "POST", url: `${TWIRP}GetCacheEntryDownloadURL`, json: { key: "a", version: VERSION } }),
  "gha create": () => ({ method: "POST", url: `${TWIRP}CreateCacheEntry`, json: { key: `new-${serial++}`, version: VERSION } }),
  "gha finalize": () => ({ method: "POST", url: `${TWIRP}FinalizeCacheEntryUpload`, json: { key: "none", version: VERSION, size_bytes: 1 } }),
  "v1 find": () => ({ method: "GET", url: `${V1}cache?keys=a&version=${VERSION}` }),
  "v1 list": () => ({ method: "GET", url: `${V1}caches?key=a` }),
  "v1 reserve": () => ({ method: "POST", url: `${V1}caches`, json: { key: `v1-${serial++}`, version: VERSION } }),
  "archive find": () => ({ method: "POST", url: "/c/default/archive/v1/find", json: { key: "a", version: VERSION } }),
  "archive reserve": () => ({ method: "POST", url: "/c/default/archive/v1/reserve", json: { key: `archive-${serial++}`, version: VERSION } }),
  "archive body": () => ({ method: "GET", url: "/c/default/archive/v1/entries/1/body" }),
  "cachix cache": () => ({ method: "GET", url: CACHIX.slice(0, -1) }),
  "cachix missing": () => ({ method: "POST", url: `${CACHIX}narinfo`, json: [] }),
  "cachix create": () => ({ method: "POST", url: `${CACHIX}multipart-nar?compression=zst` }),
  "cachix abort": () => ({ method: "POST", url: `${CACHIX}multipart-nar/none/abort?uploadId=1` }),
  "cachix key": () => ({ method: "POST", url: `${CACHIX}key`, json: { publicKey: Buffer.alloc(32).toString("base64") } }),
  "cachix part": (token) => ({ method: "PUT", url: signedBy(partUrl, token), body: "x", bearer: false }),
  "deploy agent": () => ({ method: "GET", url: "/ws", headers: DEPLOY }),
  "deploy activate": () => ({ method: "POST", url: "/api/v1/deploy/activate", json: {}, headers: DEPLOY }),
  "deploy status": () => ({ method: "GET", url: "/api/v1/deploy/deployment/none", headers: DEPLOY }),
  "read URL": (token) => ({ method: "GET", url: signedBy(readUrl, token), bearer: false }),
  "write URL": (token) => ({ method: "PUT", url: signedBy(writeUrl, token), body: "x", headers: { "x-ms-blob-type": "BlockBlob" }, bearer: false }),
  "GitHub exchange": (token) => ({ method: "POST", url: "/v1/auth/github", json: { id_token: token }, bearer: false }),
  "runtime exchange": (token) => ({ method: "POST", url: "/v1/auth/github-runtime", json: { token }, bearer: false }),
  "administration": () => ({ method: "GET", url: "/v1/admin/keys" }),
};

const ALL_READ = ["whoami", "session", "nip look-up", "nip list", "nip metadata", "nip download", "gha find", "v1 find", "v1 list", "archive find", "archive body", "cachix cache", "cachix missing"];
const ALL_WRITE = [...ALL_READ, "nip upload", "gha create", "gha finalize", "v1 reserve", "archive reserve", "cachix create", "cachix abort"];

/** Who gets in where, beside the doors open to all. Whoever is not named gets in nowhere. */
const ENTERS: Record<string, readonly string[]> = {
  "admin key": [...ALL_WRITE, "administration", "cachix key"],
  "write key": ALL_WRITE,
  "read key": ALL_READ,
  "public key": ALL_READ,
  "agent's key": [...ALL_READ, "deploy agent"],
  "activator's key": [...ALL_READ, "deploy activate", "deploy status"],
  "session of a write key": ALL_WRITE,
  "session narrowed to reading": ALL_READ,
  "session of main": ALL_WRITE,
  "session of a pull request": ALL_WRITE,
  "session of a foreign event": ALL_READ,
  "signature of a read URL": ["read URL"],
  "signature of a write URL": ["write URL"],
  "signature of a part's URL": ["cachix part"],
  "GitHub's id token": ["GitHub exchange"],
  "GitHub's runtime token": ["runtime exchange"],
};

const OPEN = ["health"];

/** The refusals of all wires: no credential, none of these rights, a cache one may not even know of. */
function refused({ status, text }: { status: number; text: string }): boolean {
  return status === 401 || status === 403 || (status === 404 && text.includes("no such cache")) || (status === 200 && text.includes("denied"));
}

describe("every kind of token at every door", () => {
  const names = () => ["nothing", ...Object.keys(tokens)];

  test("the table knows only tokens and doors there are", () => {
    expect(names()).toEqual(expect.arrayContaining(Object.keys(ENTERS)));
    for (const doors of Object.values(ENTERS)) expect(Object.keys(DOORS)).toEqual(expect.arrayContaining([...doors]));
    expect(names().length).toBeGreaterThan(30);
  });

  for (const [door, call] of Object.entries(DOORS)) {
    test(door, async () => {
      const table: Record<string, string> = {};
      const expected: Record<string, string> = {};
      for (const name of names()) {
        const token = tokens[name] ?? "nothing";
        const request = call(token);
        const answer = await ask(request, request.bearer === false || name === "nothing" ? undefined : token);
        table[name] = answer.status >= 500 ? `FAILED ${answer.status} ${answer.text}` : refused(answer) ? "refused" : "in";
        expected[name] = OPEN.includes(door) || ENTERS[name]?.includes(door) ? "in" : "refused";
      }
      expect(table).toEqual(expected);
    });
  }
});

test("whoever gets in reads what is his: the scopes of a repository and those of keys are apart", async () => {
  await ask({ method: "POST", url: nip("artifacts/mine"), ...form }, KEYS.write);
  const reads = async (name: string) => (await ask({ method: "GET", url: nip("download/mine") }, tokens[name])).status;
  expect(await reads("read key")).toBe(200);
  expect(await reads("session narrowed to reading")).toBe(200);
  expect(await reads("session of main")).toBe(404);
  expect(await reads("session of a pull request")).toBe(404);
});

test("a signature is good for its operation, its object, its holder and its time, and dies with its holder", async () => {
  const status = async (method: Call["method"], url: string) => (await ask({ method, url, ...(method === "PUT" ? { body: "x", headers: { "x-ms-blob-type": "BlockBlob" } } : {}) })).status;
  const [read, write] = [readUrl.pathname, writeUrl.pathname];
  const [readSig, writeSig] = [readUrl.search, writeUrl.search];
  expect(await status("GET", read + readSig)).toBe(200);
  // Clients append and reorder parameters.
  expect(await status("GET", `${read}?x=1&${readSig.slice(1)}&comp=y`)).toBe(200);
  const end = Number(readUrl.searchParams.get("se"));
  const bad = [
    read, `${read}?se=${end}`, `${read}?sig=${readUrl.searchParams.get("sig")}`, read + writeSig,
    read + readSig.replace(`se=${end}`, `se=${end + 1}`), read + readSig.replace(`se=${end}`, `se=${end - 1}`), read + readSig.replace(`se=${end}`, "se=1"), read + readSig.replace(`se=${end}`, "se=99999999999"),
    read + readSig.slice(0, -1), `${read}${readSig}&sig=x`, `${read}${readSig}&se=${end}`,
    read.replace("/default/", "/other/") + readSig, read.replace(/\/(\d+)\//, (_, id: string) => `/${Number(id) + 1}/`) + readSig, read.replace(/[^/]+$/, Buffer.from("anonymous").toString("base64url")) + readSig,
  ];
  for (const url of bad) expect([url, await status("GET", url)]).toEqual([url, 403]);
  expect(await status("PUT", write + readSig)).toBe(403);
  expect(await status("PUT", `${write.slice(0, -1)}${write.endsWith("0") ? "1" : "0"}${writeSig}`)).toBe(404);

  const { key, info } = await app.identity.keys.create({ name: "short-lived", permission: "write" });
  const found = await ask({ method: "POST", url: `${TWIRP}GetCacheEntryDownloadURL`, json: { key: "door", version: VERSION } }, key);
  const url = new URL((JSON.parse(found.text) as { signed_download_url: string }).signed_download_url);
  expect(await status("GET", url.pathname + url.search)).toBe(200);
  await app.identity.keys.revoke(info.id);
  expect(await status("GET", url.pathname + url.search)).toBe(403);
});

test("no token opens administration's doors but an admin key's", async () => {
  const doors = (await ask({ method: "GET", url: "/v1/admin/openapi.json" })).text;
  const paths = (JSON.parse(doors) as { paths: Record<string, Record<string, unknown>> }).paths;
  const admin = Object.entries(paths).filter(([path]) => path.startsWith("/v1/admin/") && !path.endsWith("openapi.json"));
  expect(admin.length).toBeGreaterThan(8);
  for (const [path, methods] of admin) {
    for (const method of Object.keys(methods)) {
      for (const [name, token] of [["nothing", undefined], ...Object.entries(tokens)] as const) {
        if (name === "admin key") continue;
        const { status } = await ask({ method: method.toUpperCase() as "GET", url: path.replaceAll(/\{\w+\}/g, "1") }, token);
        expect([name, method, path, status]).toEqual([name, method, path, expect.toSatisfy((one: number) => one === 401 || one === 403)]);
      }
    }
  }
});

test("without any token no route answers but those that are open to all", async () => {
  const open = ["/healthz", "/livez", "/readyz", "/metrics", "/v1/health", "/nip/v1/health", "/v1/admin/openapi.json"];
  // What go-cacher uploads is taken and dropped: any other answer would end `go build` (protocols/go/README.md).
  const dropped = "/go/:action/:output";
  const answers: Record<string, number> = {};
  for (const { method, url } of routes()) {
    const { status } = await ask({ method, url: url.replaceAll(/:\w+/g, "1").replace("*", "x") });
    if (status < 400) answers[url] = status;
  }
  expect(Object.keys(answers).toSorted()).toEqual([...open, dropped].toSorted());
  expect(answers[dropped]).toBe(204);
  const [action, output] = ["a".repeat(64), hash("sha256", "x")];
  await ask({ method: "PUT", url: `/go/${action}/${output}`, body: "x" });
  expect((await ask({ method: "GET", url: `/go/action/${action}`, headers: { "want-object": "1" } }, KEYS.admin)).status).toBe(404);
});

test("where a cache allows it, nobody in particular reads its default scope and writes nothing", async () => {
  await ask({ method: "POST", url: "/c/open/v1/artifacts/there", ...form }, KEYS.admin);
  expect((await ask({ method: "GET", url: "/c/open/v1/download/there" })).status).toBe(200);
  expect((await ask({ method: "POST", url: "/c/open/v1/artifacts/new", ...form })).status).toBe(401);
  expect((await ask({ method: "GET", url: "/c/default/v1/download/there" })).status).toBe(401);
  expect((await ask({ method: "GET", url: "/c/open/v1/download/there" }, tokens["expired key"])).status).toBe(401);
});

/** All routes there are, from the router's own tree. */
function routes(): { method: Call["method"]; url: string }[] {
  const list: { method: Call["method"]; url: string }[] = [];
  const above: string[] = [];
  for (const line of app.app.printRoutes({ commonPrefix: false }).split("\n")) {
    const match = /^([│ ]*)[├└]── (\S+)(?: \(([A-Z, ]+)\))?$/.exec(line);
    if (!match) continue;
    const depth = match[1]!.length / 4;
    above.length = depth;
    above.push(match[2]!);
    for (const method of match[3]?.split(", ") ?? []) {
      if (["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"].includes(method)) list.push({ method: method as Call["method"], url: above.join("") });
    }
  }
  expect(list.length).toBeGreaterThan(50);
  return list;
}
