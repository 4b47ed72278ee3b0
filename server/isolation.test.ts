import { createHash, randomBytes } from "node:crypto";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { startApp, type TestApp } from "../test/fixtures/app.ts";
import { frame, manifestOf, records, startArchive } from "../test/fixtures/archive.ts";
import { AUDIENCE, pullClaims, startIssuer, type FakeIssuer } from "../test/fixtures/issuer.ts";
import { form } from "../test/fixtures/nip.ts";
import { blobsPath, bodyPath, commitPath } from "./protocols/archive/wire.ts";
import { protocols } from "./protocols/index.ts";

/** One holder of a credential, and what the rules say it reads and writes; the server is not asked. */
interface Actor {
  readonly name: string;
  readonly cache: string;
  /** In front of every path. */
  readonly prefix: string;
  readonly token: string | undefined;
  readonly reads: readonly string[];
  readonly writes: string | null;
}

interface Stored {
  readonly text: string;
  readonly serial: number;
}

interface Answer {
  readonly status: number;
  readonly text: string;
  readonly headers: Headers;
}

const VERSION = "03a1cc8d96e60eab2dc3e5a78264dcd25edf724d68d5bb3805c512e22226336c";
const TWIRP = "/twirp/github.actions.results.api.v1.CacheService";
const V1 = "/_apis/artifactcache";

/** The mark of everything a scope writes: its bodies, its metadata, and some of its keys. */
const secretOf = (cache: string, scope: string) => `x${createHash("sha256").update(`${cache} ${scope}`).digest("hex").slice(0, 16)}x`;

const key = fc.constantFrom("a", "ab", "b", "own");
const who = fc.nat(100);
const command = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: fc.constant("nip put" as const), who, key, look: fc.boolean() }) },
  { weight: 5, arbitrary: fc.record({ do: fc.constant("nip get" as const), who, key, how: fc.constantFrom("lookup", "download", "download", "download", "metadata", "head", "range") }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("nip list" as const), who }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant("gha save" as const), who, key }) },
  { weight: 5, arbitrary: fc.record({ do: fc.constant("gha restore" as const), who, key, restore: fc.array(fc.constantFrom("a", "b"), { maxLength: 2 }), v1: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("gha list" as const), who }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("probe" as const), who, id: fc.integer({ min: 1, max: 60 }) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("admin" as const), who, path: fc.constantFrom("keys", "caches", "caches/other", "entries", "stats", "audit", "fsck") }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("narrow" as const), who, whose: who }) },
);
type Command = typeof command extends fc.Arbitrary<infer C> ? C : never;

/**
 * No sequence of requests by any credentials, through any protocol, list, statistics, administration or error, returns or
 * reveals a mapped entry outside the scopes that credential reads, nor changes what it reads there.
 */
describe.each([{ front: true }, { front: false }])("credentials are isolated, with memory.front $front", ({ front }) => {
  let issuer: FakeIssuer;
  let app: TestApp;
  let url: string;
  let actors: Actor[];
  const stored = new Map<string, Stored>();
  let serial = 0;

  beforeAll(async () => {
    issuer = await startIssuer();
    app = await startApp(
      {
        memory: { front }, limits: { requestsPerMinute: 0 }, caches: { default: {}, other: { anonymousRead: true, defaultScope: "local:main" } },
        auth: { github: { issuer: issuer.url, audience: AUDIENCE, rules: [{ repositoryId: 1_296_269, defaultBranch: "main" }, { repositoryId: 555, defaultBranch: "main" }] } },
      },
      protocols,
    );
    url = await app.listen();
    const created = async (options: object) => (await app.identity.keys.create({ name: "test", permission: "write", caches: ["default"], ...options } as never)).key;
    const session = async (claims: object) => {
      const answer = await fetch(`${url}/v1/auth/github`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ id_token: await issuer.idToken({ ...claims }) }) });
      return ((await answer.json()) as { token: string }).token;
    };
    const both = await created({ caches: ["default", "other"], scope: "team:both" });
    const second = { repository: "evil/app", repository_id: "555", repository_owner: "evil", repository_owner_id: "777" };
    const one = (ref: string) => `1296269:${ref}`;
    const two = (ref: string) => `555:${ref}`;
    const actor = (name: string, token: string | undefined, reads: string[], writes: string | null, cache = "default", prefix = ""): Actor => ({ name, token, reads, writes, cache, prefix });
    actors = [
      actor("first main", await session({}), [one("refs/heads/main")], one("refs/heads/main")),
      actor("first feature", await session({ ref: "refs/heads/feature" }), [one("refs/heads/feature"), one("refs/heads/main")], one("refs/heads/feature")),
      actor("first pull", await session(pullClaims), [one("refs/pull/7/merge"), one("refs/heads/main")], one("refs/pull/7/merge")),
      actor("first, other event", await session({ event_name: "issue_comment" }), [one("refs/heads/main")], null),
      actor("second main", await session(second), [two("refs/heads/main")], two("refs/heads/main")),
      actor("second pull", await session({ ...second, ...pullClaims }), [two("refs/pull/7/merge"), two("refs/heads/main")], two("refs/pull/7/merge")),
      actor("default key", await created({}), ["local:main"], "local:main"),
      actor("team a", await created({ scope: "team:a" }), ["team:a"], "team:a"),
      actor("team b, reads a", await created({ scope: "team:b", reads: ["team:b", "team:a"] }), ["team:b", "team:a"], "team:b"),
      actor("reader of b", await created({ permission: "read", scope: "team:b" }), ["team:b"], null),
      actor("public reader", await created({ permission: "read", public: true }), ["local:main"], null),
      actor("both, here", both, ["team:both"], "team:both"),
      actor("both, there", both, ["team:both"], "team:both", "other", "/c/other"),
      actor("team a of the other cache", await created({ caches: ["other"], scope: "team:a" }), ["team:a"], "team:a", "other"),
      actor("anybody", undefined, ["local:main"], null, "other", "/c/other"),
      actor("default key of the other cache", await created({ caches: ["other"] }), ["local:main"], "local:main", "other"),
    ];
  });
  afterAll(async () => {
    await app.close();
    await issuer.close();
  });

  async function ask(by: Actor, method: string, path: string, init: { body?: string | Buffer | undefined; headers?: Record<string, string>; signed?: boolean } = {}): Promise<Answer> {
    const headers = { ...(by.token && !init.signed ? { authorization: `Bearer ${by.token}` } : {}), ...init.headers };
    const answer = await fetch(url + (init.signed ? "" : by.prefix) + path, { method, headers, ...(init.body === undefined ? {} : { body: new Uint8Array(Buffer.from(init.body)) }), redirect: "manual" });
    const text = await answer.text();
    const shown = `${answer.status} ${JSON.stringify([...answer.headers])} ${text}`;
    for (const other of actors) {
      if (other.writes === null || (other.cache === by.cache && (by.reads.includes(other.writes) || by.writes === other.writes))) continue;
      if (shown.includes(secretOf(other.cache, other.writes))) throw new Error(`${by.name} is shown what ${other.name} wrote, by ${method} ${path}: ${shown.slice(0, 600)}`);
    }
    expect(answer.status, `${by.name}: ${method} ${path}: ${text.slice(0, 200)}`).not.toBe(500);
    return { status: answer.status, text, headers: answer.headers };
  }

  const json = (by: Actor, path: string, message: object) => ask(by, "POST", path, { body: JSON.stringify(message), headers: { "content-type": "application/json" } });
  const name = (cache: string, keyspace: string, scope: string, of: string) => `${cache} ${keyspace} ${scope} ${of}`;
  const mine = (by: Actor, keyspace: string, of: string) => stored.get(name(by.cache, keyspace, by.writes ?? "nobody's", of));

  /** What the actor's scopes hold, scope by scope in its order. */
  function visible(by: Actor, keyspace: string): Map<string, Stored>[] {
    return by.reads.map((scope) => {
      const start = name(by.cache, keyspace, scope, "");
      return new Map([...stored].filter(([one]) => one.startsWith(start)).map(([one, what]) => [one.slice(start.length), what]));
    });
  }

  async function saveGha(by: Actor, of: string): Promise<void> {
    const text = `${secretOf(by.cache, by.writes ?? by.name)} ${++serial}`;
    const reserved = await json(by, `${TWIRP}/CreateCacheEntry`, { key: of, version: VERSION });
    const { ok, signed_upload_url } = JSON.parse(reserved.text) as { ok?: boolean; signed_upload_url?: string };
    const free = by.writes !== null && mine(by, "gha", of) === undefined;
    expect(ok === true, `${by.name} reserves ${of}: ${reserved.text}`).toBe(free);
    if (!free) return;
    const path = signed_upload_url!.slice(signed_upload_url!.indexOf("/", 8));
    expect((await ask(by, "PUT", path, { body: text, headers: { "x-ms-blob-type": "BlockBlob" }, signed: true })).status).toBe(201);
    // Nobody else can finish or fill what was reserved here.
    for (const other of actors.filter((one) => one !== by && (one.writes !== by.writes || one.cache !== by.cache)).slice(serial % 5, (serial % 5) + 2)) {
      const taken = await json(other, `${TWIRP}/FinalizeCacheEntryUpload`, { key: of, version: VERSION, size_bytes: String(text.length) });
      expect(JSON.parse(taken.text).ok === true, other.name).toBe(mine(other, "gha", of)?.text.length === text.length);
    }
    const done = await json(by, `${TWIRP}/FinalizeCacheEntryUpload`, { key: of, version: VERSION, size_bytes: String(text.length) });
    expect(JSON.parse(done.text).ok, done.text).toBe(true);
    stored.set(name(by.cache, "gha", by.writes!, of), { text, serial });
  }

  async function restoreGha(by: Actor, of: string, prefixes: readonly string[], v1: boolean): Promise<void> {
    const expected = visible(by, "gha")
      .map((scope) => {
        const newest = (prefix: string) => [...scope].filter(([one]) => one.startsWith(prefix)).toSorted(([, a], [, b]) => b.serial - a.serial)[0]?.[1];
        return scope.get(of) ?? [of, ...prefixes].map(newest).find((one) => one !== undefined);
      })
      .find((one) => one !== undefined);
    let location: string | undefined;
    if (v1) {
      const found = await ask(by, "GET", `${V1}/cache?keys=${[of, ...prefixes].map(encodeURIComponent).join(",")}&version=${VERSION}`);
      if (found.status === 200) location = (JSON.parse(found.text) as { archiveLocation: string }).archiveLocation;
    } else {
      const found = await json(by, `${TWIRP}/GetCacheEntryDownloadURL`, { key: of, restore_keys: prefixes, version: VERSION });
      const { ok, signed_download_url } = JSON.parse(found.text) as { ok?: boolean; signed_download_url?: string };
      if (ok) location = signed_download_url;
    }
    expect(location !== undefined, `${by.name} restores ${of}`).toBe(expected !== undefined);
    if (location === undefined) return;
    const path = location.slice(location.indexOf("/", 8));
    for (let i = 0; i < 2; i++) expect((await ask(by, "GET", path, { signed: true })).text).toBe(expected!.text);
    // The signature is for this entry alone.
    const entry = /\/(\d+)\//.exec(path)![1]!;
    for (const id of [Number(entry) - 1, Number(entry) + 1]) expect([401, 403, 404]).toContain((await ask(by, "GET", path.replace(`/${entry}/`, `/${id}/`), { signed: true })).status);
    const elsewhere = path.replace(`/${by.cache}/`, by.cache === "default" ? "/other/" : "/default/");
    expect([401, 403, 404]).toContain((await ask(by, "GET", elsewhere, { signed: true })).status);
  }

  async function getNip(by: Actor, of: string, how: string): Promise<void> {
    const expected = visible(by, "nip").map((scope) => scope.get(of)).find((one) => one !== undefined);
    const path = how === "lookup" ? `/v1/artifacts/${of}` : how === "metadata" ? `/v1/artifacts/${of}/metadata` : `/v1/download/${of}`;
    for (let i = 0; i < 2; i++) {
      const answer = await ask(by, how === "head" ? "HEAD" : "GET", path, how === "range" ? { headers: { range: "bytes=0-3" } } : {});
      if (!expected) expect(answer.status, `${by.name} ${how} ${of}`).toBe(404);
      else if (how === "download") expect([answer.status, answer.text]).toEqual([200, expected.text]);
      else if (how === "range") expect([answer.status, answer.text]).toEqual([206, expected.text.slice(0, 4)]);
      else if (how === "head") expect([answer.status, answer.headers.get("content-length")]).toEqual([200, String(expected.text.length)]);
      else expect(answer.status).toBe(200);
    }
    // What was just answered is where the front could go wrong: others ask for the very same.
    if (how !== "download" || !expected) return;
    const first = serial++ % actors.length;
    const twins = actors.filter((one) => one.token === by.token);
    for (const other of [...twins, ...actors.slice(first), ...actors.slice(0, first)].filter((one) => one !== by).slice(0, 5)) {
      const theirs = visible(other, "nip").map((scope) => scope.get(of)).find((one) => one !== undefined);
      const answer = await ask(other, "GET", path);
      expect([answer.status === 200, answer.status === 200 ? answer.text : undefined], `${other.name} after ${by.name}`).toEqual([theirs !== undefined, theirs?.text]);
    }
  }

  async function run(commands: readonly Command[]): Promise<void> {
    const round = ++serial;
    for (const c of commands) {
      const by = actors[c.who % actors.length]!;
      // Some names are everybody's, some give away whose they are.
      const of = "key" in c ? `r${round}-${c.key === "own" ? secretOf(by.cache, by.writes ?? by.name) : c.key}` : "";
      switch (c.do) {
        case "nip put": {
          const text = `${secretOf(by.cache, by.writes ?? by.name)} ${++serial}`;
          const body = form({ name: "metadata", data: JSON.stringify({ by: secretOf(by.cache, by.writes ?? by.name) }) }, { name: "file", filename: "f", data: text });
          const answer = await ask(by, "POST", `/v1/artifacts/${of}`, { body: body.bytes, headers: { "content-type": body.type } });
          if (by.writes === null) expect([401, 403], by.name).toContain(answer.status);
          else {
            expect(answer.status, answer.text).toBe(201);
            stored.set(name(by.cache, "nip", by.writes, of), { text, serial });
            // Whoever has looked before, and whoever looks now.
            if (c.look) await getNip(by, of, "download");
          }
          break;
        }
        case "nip get":
          await getNip(by, of, c.how);
          break;
        case "nip list": {
          const listed = await ask(by, "GET", "/v1/artifacts?limit=500");
          const keys = (JSON.parse(listed.text) as { artifacts: { key: string }[] }).artifacts.map((one) => one.key).filter((one) => one.startsWith(`r${round}-`));
          expect(keys.toSorted(), by.name).toEqual(visible(by, "nip").flatMap((scope) => [...scope.keys()]).filter((one) => one.startsWith(`r${round}-`)).toSorted());
          break;
        }
        case "gha save":
          await saveGha(by, of);
          break;
        case "gha restore":
          await restoreGha(by, of, c.restore.map((one) => `r${round}-${one}`), c.v1);
          break;
        case "gha list": {
          const listed = await ask(by, "GET", `${V1}/caches?key=r${round}-`);
          const keys = (JSON.parse(listed.text) as { artifactCaches: { cacheKey: string }[] }).artifactCaches.map((one) => one.cacheKey);
          expect(keys.toSorted(), by.name).toEqual(visible(by, "gha").flatMap((scope) => [...scope.keys()]).filter((one) => one.startsWith(`r${round}-`)).toSorted());
          break;
        }
        case "probe":
          // Entries have small numbers: none of these is an archive, nor a reservation of v1.
          expect([401, 404]).toContain((await ask(by, "GET", bodyPath(c.id))).status);
          expect([401, 403, 404]).toContain((await ask(by, "POST", `${V1}/caches/${c.id}`, { body: '{"size":1}', headers: { "content-type": "application/json" } })).status);
          break;
        case "admin":
          // Administration has no cache in its path, so there is none behind a prefix.
          expect(by.prefix ? [404] : [401, 403], `${by.name} ${c.path}`).toContain((await ask(by, "GET", `/v1/admin/${c.path}`)).status);
          expect(by.prefix ? [404] : [401, 403]).toContain((await ask(by, "DELETE", `/v1/admin/entries?cache=${by.cache}`)).status);
          break;
        case "narrow": {
          const whose = actors[c.whose % actors.length]!;
          const asked = whose.reads.filter((scope) => !by.reads.includes(scope));
          const answer = await json(by, "/v1/auth/session", { read: whose.reads });
          if (asked.length > 0 || by.cache !== whose.cache) {
            if (answer.status === 200) expect(by.reads).toEqual(expect.arrayContaining((JSON.parse(answer.text) as { read: string[] }).read));
            else expect([400, 401, 403]).toContain(answer.status);
          }
        }
      }
    }
  }

  test("whatever they ask, in whatever order", { timeout: 120_000 }, async () => {
    await fc.assert(fc.asyncProperty(fc.array(command, { minLength: 25, maxLength: 60 }), run), { numRuns: 4, endOnFailure: true });
    // The test means something: entries were stored, by most of the writers.
    expect(new Set([...stored.keys()].map((one) => one.split(" ")[2])).size).toBeGreaterThan(5);
  });

  test("what another has looks as if nobody had it", async () => {
    const texts = (answer: Answer, of: string) =>
      [answer.status, answer.text.replaceAll(of, "KEY"), [...answer.headers].filter(([header]) => !["date", "content-length", "connection"].includes(header)).map((one) => one.join().replaceAll(of, "KEY"))];
    const owner = actors.find((one) => one.name === "first main")!;
    const held = `held-${"h".repeat(10)}`;
    const none = `none-${"n".repeat(10)}`;
    await run([]);
    const body = form({ name: "metadata", data: "{}" }, { name: "file", filename: "f", data: "x" });
    await ask(owner, "POST", `/v1/artifacts/${held}`, { body: body.bytes, headers: { "content-type": body.type } });
    await saveGha(owner, held);
    for (const by of actors.filter((one) => !(one.cache === owner.cache && one.reads.includes(owner.writes!)))) {
      for (const request of [
        (of: string) => ask(by, "GET", `/v1/artifacts/${of}`), (of: string) => ask(by, "GET", `/v1/download/${of}`), (of: string) => ask(by, "HEAD", `/v1/download/${of}`),
        (of: string) => ask(by, "GET", `/v1/artifacts/${of}/metadata`), (of: string) => ask(by, "GET", `/v1/artifacts?key=${of}`),
        (of: string) => json(by, `${TWIRP}/GetCacheEntryDownloadURL`, { key: of, restore_keys: [of.slice(0, 4)], version: VERSION }),
        (of: string) => ask(by, "GET", `${V1}/cache?keys=${of}&version=${VERSION}`), (of: string) => ask(by, "GET", `${V1}/caches?key=${of}`),
        (of: string) => json(by, `${TWIRP}/FinalizeCacheEntryUpload`, { key: of, version: VERSION, size_bytes: "1" }),
      ]) {
        expect(texts(await request(held), held), by.name).toEqual(texts(await request(none), none));
      }
    }
  });
});

test("a chunk that somebody knows opens no frame with a chunk of others", async () => {
  const server = await startArchive();
  onTestFinished(() => server.stop());
  const scoped = (scope: string) => server.key({ permission: "write", scope });
  const [victim, attacker] = [await scoped("team:victim"), await scoped("team:attacker")];
  // A file everybody has, packed together with one that nobody else may see.
  const [known, secret] = [randomBytes(5_000), randomBytes(5_000)];
  const theirs = frame(known, secret);
  await server.save(victim, "build", [theirs]);
  const upload = await server.reserve(attacker, "build");
  expect(await server.have(attacker, upload, [known, known])).toEqual([undefined, undefined]);
  await server.post(blobsPath(upload), attacker, records([]));
  // Nor does the name of the frame itself.
  const answer = await server.post(commitPath(upload), attacker, manifestOf([theirs]));
  expect(await answer.json()).toEqual({ missing: [theirs.piece.digest] });
  // Who holds all of it need not send it again.
  const own = await server.reserve(attacker, "all of it");
  expect(await server.have(attacker, own, [secret, known])).toMatchObject([{ frame: theirs.piece }, { frame: theirs.piece }]);
});
