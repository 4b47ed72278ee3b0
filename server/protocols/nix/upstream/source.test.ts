import { request } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { KEYS, startApp, type TestApp } from "../../../../test/fixtures/app.ts";
import { NixUpstream, pathNamed, testKey, type Fault, type Path } from "../../../../test/fixtures/nix-upstream.ts";
import { nix } from "../index.ts";
import { parsePublicKey } from "../keys.ts";
import { fingerprint, parseNarInfo } from "../narinfo.ts";

const KEY = testKey("upstream-1").public.text;
const FAST = { connectTimeout: "1s", firstByteTimeout: "800ms", stallTimeout: "800ms" };
const path = pathNamed("hello-2.12", { size: 5_000 });
const large = pathNamed("large-1.0", { size: 700_000 });

let a: NixUpstream;
let b: NixUpstream;
let app: TestApp;
let url: string;
const ends: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0)) await end();
});

interface More {
  first?: object;
  second?: object;
  proxy?: object;
  cache?: object;
  nixCache?: object;
}

/** Upstreams of its own for a test; its server is started by `start`. */
function ownUpstreams(): void {
  beforeEach(async () => {
    [a, b] = await Promise.all([new NixUpstream().start(), new NixUpstream().start()]);
    ends.push(async () => void (await Promise.all([a.stop(), b.stop()])));
  });
}

async function start({ first = {}, second, proxy = {}, cache = {}, nixCache = {} }: More = {}): Promise<void> {
  const upstreams = { a: { url: a.url, trustedKeys: [KEY], ...FAST, ...first }, ...(second && { b: { url: b.url, trustedKeys: [KEY], ...FAST, ...second } }) };
  app = await startApp({ caches: { default: { anonymousRead: true, ...cache } }, protocols: { nix: { proxy: { hedge: "100ms", ...proxy }, caches: { default: { upstreams, ...nixCache } } } } }, [nix]);
  ends.unshift(() => app.close());
  url = `${await app.listen()}/nix/default`;
}

const get = (target: string, init: RequestInit = {}) => fetch(`${url}${target}`, init);
const bytes = async (answer: Response) => Buffer.from(await answer.arrayBuffer());
const narinfo = async (of: Path) => parseNarInfo(await (await get(`/${of.hash}.narinfo`)).text(), "/nix/store");
const narOf = (of: Path) => `/${of.info.url.startsWith("nar/") ? of.info.url : ""}`;
/** What a client gets of a body before it leaves. Not by fetch, which opens another connection then and says nothing on it. */
const beginning = (target: string) =>
  new Promise<Buffer>((resolve, reject) => {
    const asking = request(url + target, { agent: false }, (answer) => {
      answer.once("data", (chunk: Buffer) => {
        asking.destroy();
        resolve(chunk);
      });
    });
    asking.on("error", reject).end();
  });
/** As a client: the narinfo, then the NAR it names. */
async function pull(of: Path): Promise<Buffer> {
  const answer = await get(`/${(await narinfo(of)).url}`);
  expect(answer.status).toBe(200);
  return bytes(answer);
}
const stored = async () => (await app.core.database.scan("listEntries", { cache: "default", keyspace: "nix-nar", scopes: ["*"], limit: 100, now: Date.now() } as never)) as unknown[];
async function kept(count: number): Promise<void> {
  for (let i = 0; i < 400 && (await stored()).length < count; i++) await sleep(10);
  expect((await stored()).length).toBe(count);
}

describe("a path of an upstream", () => {
  ownUpstreams();
  test("is served with its own signatures and the cache's, under a URL of ours, and asked for once", async () => {
    a.add(path);
    await start();
    const answer = await get(`/${path.hash}.narinfo`);
    expect(answer.status).toBe(200);
    expect(answer.headers.get("content-type")).toBe("text/x-nix-narinfo");
    const info = parseNarInfo(await answer.text(), "/nix/store");
    expect(info).toMatchObject({ storePath: path.info.storePath, url: path.info.url, fileHash: path.digest, fileSize: path.nar.length, narHash: path.info.narHash });
    const own = parsePublicKey((await (await get("/pubkey")).text()).trim());
    const verified = (key: { verifies(text: string, signature: string): boolean }) => info.signatures.some((signature) => key.verifies(fingerprint(info, "/nix/store"), signature));
    expect([verified(parsePublicKey(KEY)), verified(own)]).toEqual([true, true]);
    expect((await pull(path)).equals(path.nar)).toBe(true);
    await kept(1);
    expect((await pull(path)).equals(path.nar)).toBe(true);
    expect(a.requests).toEqual([`GET /${path.hash}.narinfo`, `GET /${path.narUrl}`]);
  });

  test("is served with every upstream offline once it was pulled, also after a restart of theirs only", async () => {
    a.add(path);
    await start();
    await pull(path);
    await kept(1);
    await a.stop();
    expect((await pull(path)).equals(path.nar)).toBe(true);
  });

  test("has one ETag and length, arriving or kept, for GET and HEAD", async () => {
    a.add(large);
    await start();
    await narinfo(large);
    const heads = async () => {
      const answers = [await get(narOf(large), { method: "HEAD" }), await get(narOf(large))];
      return Promise.all(answers.map(async (answer) => (await bytes(answer), [answer.status, ...["etag", "content-length", "accept-ranges", "content-type"].map((name) => answer.headers.get(name))])));
    };
    const expected = [200, `"${large.digest}"`, String(large.nar.length), "bytes", "application/x-nix-nar"];
    expect(await heads()).toEqual([expected, expected]);
    await kept(1);
    expect(await heads()).toEqual([expected, expected]);
  });

  test("is resumed by a client whose connection broke off while it was arriving", async () => {
    a.add(large);
    a.rate = 2_000_000;
    await start();
    await narinfo(large);
    const first = await beginning(narOf(large));
    const rest = await get(narOf(large), { headers: { range: `bytes=${first.length}-`, "if-range": `"${large.digest}"` } });
    expect([rest.status, rest.headers.get("content-range")]).toEqual([206, `bytes ${first.length}-${large.nar.length - 1}/${large.nar.length}`]);
    expect(Buffer.concat([first, await bytes(rest)]).equals(large.nar)).toBe(true);
    expect(a.count("/nar/")).toBe(1);
  });

  test("whose NAR was evicted here is fetched again from where it was", async () => {
    const odd = pathNamed("odd-1.0", { url: "files/xyz?token=1%20a" });
    a.add(odd);
    await start();
    await pull(odd);
    await kept(1);
    const [entry] = (await stored()) as { id: number }[];
    await app.core.catalog.removeIds([entry!.id], { at: Date.now(), actor: "test", action: "evict", cache: "default", keyspace: "nix-nar", scope: "*", key: "", size: 0, result: "ok", address: "" });
    expect((await pull(odd)).equals(odd.nar)).toBe(true);
    expect(a.requests.filter((line) => line.includes("xyz"))).toEqual(["GET /files/xyz?token=1%20a", "GET /files/xyz?token=1%20a"]);
  });

  test("nobody has is 404; its NAR, which was never published, too, without a question", async () => {
    await start({ second: {} });
    expect((await get(`/${path.hash}.narinfo`)).status).toBe(404);
    expect((await get(`/${path.info.url}`)).status).toBe(404);
    expect([a.requests.length, b.requests.length]).toEqual([1, 1]);
  });

  test("that was pushed here is not asked for", async () => {
    a.add(path);
    await start();
    await narinfo(path);
    await narinfo(path);
    const mine = pathNamed("hello-2.12", { size: 6_000, info: { storePath: path.info.storePath }, key: null });
    const headers = { authorization: `Bearer ${KEYS.write}` };
    const text = (await import("../narinfo.ts")).formatNarInfo({ ...mine.info, url: `nar/${mine.narUrl.slice(4)}` }, "/nix/store");
    expect((await get(`/${mine.narUrl}`, { method: "PUT", headers, body: new Uint8Array(mine.nar) })).ok).toBe(true);
    expect((await get(`/${path.hash}.narinfo`, { method: "PUT", headers, body: text })).ok).toBe(true);
    expect((await narinfo(path)).fileHash).toBe(mine.digest);
  });

  test("has no answer for who may not read the cache", async () => {
    a.add(path);
    await start({ cache: { anonymousRead: false } });
    expect((await get(`/${path.hash}.narinfo`)).status).toBe(401);
    expect(a.requests).toEqual([]);
  });
});

/** nix.md §6.2: what goes wrong once, and what clients see of it. One server for all, and a path for each. */
describe("when an upstream fails", () => {
  const [first, second] = [new NixUpstream(), new NixUpstream()];
  let shared: TestApp;
  let origin: string;
  let paths = 0;
  beforeAll(async () => {
    await Promise.all([first.start(), second.start()]);
    const [one, other] = [first, second].map((upstream) => ({ url: upstream.url, trustedKeys: [KEY], ...FAST }));
    shared = await startApp({
      caches: { one: { anonymousRead: true }, two: { anonymousRead: true } },
      protocols: { nix: { proxy: { failures: 1000 }, caches: { one: { upstreams: { a: one } }, two: { upstreams: { a: one, b: other } } } } },
    }, [nix]);
    origin = await shared.listen();
  });
  afterAll(async () => {
    await shared.close();
    await Promise.all([first.stop(), second.stop()]);
  });

  const fresh = () => pathNamed(`faulty-${++paths}`, { size: 300_000 });
  const nar = (cache: string, of: Path) => fetch(`${origin}/nix/${cache}${narOf(of)}`).catch(() => undefined);
  const told = async (cache: string, of: Path) => {
    const answer = await fetch(`${origin}/nix/${cache}/${of.hash}.narinfo`);
    await answer.arrayBuffer();
    return `${answer.status} ${answer.headers.get("retry-after") ?? "-"} ${answer.status === 200 ? "" : answer.headers.get("cache-control")}`.trim();
  };
  const seen = async (of: Path, answer: Response | undefined) => {
    if (!answer) return "200 cut off";
    if (answer.status !== 200) return `${answer.status} ${answer.headers.get("retry-after")}`;
    return bytes(answer).then((got) => (got.equals(of.nar) ? "200 whole" : `200 and a clean end after ${got.length} bytes`), () => "200 cut off");
  };

  const rows: [fault: string, fault_: Fault, outcome: string][] = [
    ["NAR truncated", "truncate", "200 whole"],
    ["NAR truncated with a clean end", "short", "200 whole"],
    ["NAR byte flipped", "flip", "200 cut off"],
    ["NAR 500", { status: 500 }, "503 5"],
    ["NAR 503", { status: 503 }, "503 5"],
    ["NAR 403", { status: 403 }, "503 5"],
    ["NAR hang", "hang", "504 5"],
    ["NAR hang after its head", "hang-body", "504 5"],
    ["NAR hang in the middle", "hang-middle", "200 whole"],
    ["NAR connection reset", "reset", "200 whole"],
  ];
  test.each(rows)("%s once: the narinfo is served all the same, and the next request gets the NAR", async (_, fault, outcome) => {
    const of = fresh();
    first.add(of);
    first.fail(of.narUrl, fault, 1);
    expect(await told("one", of)).toBe("200 -");
    expect(await seen(of, await nar("one", of))).toBe(outcome);
    expect(await told("one", of)).toBe("200 -");
    expect(await seen(of, await nar("one", of))).toBe("200 whole");
  });

  test.each(rows)("%s for good, beside one that has it: the NAR is whole, or never looks so", async (_, fault, outcome) => {
    const of = fresh();
    first.add(of);
    second.add(of);
    first.fail(of.narUrl, fault);
    await told("two", of);
    expect(await seen(of, await nar("two", of))).toBe(outcome === "200 cut off" ? outcome : "200 whole");
    expect(await seen(of, await nar("two", of))).toBe("200 whole");
  });

  test("NAR 404: other upstreams are tried", async () => {
    const of = fresh();
    first.add(of);
    second.add(of);
    first.remove(`/${of.narUrl}`);
    await told("two", of);
    expect(await seen(of, await nar("two", of))).toBe("200 whole");
  });

  test("NAR 404 everywhere: 404, and the narinfo is asked for anew, so that nobody is sent after it again", async () => {
    const of = fresh();
    first.add(of);
    await told("one", of);
    first.remove(`/${of.narUrl}`);
    first.remove(`/${of.hash}.narinfo`);
    expect((await nar("one", of))!.status).toBe(404);
    expect(await told("one", of)).toBe("404 - no-store");
  });

  test("NAR 404 here while another can't be asked: 503", async () => {
    const of = fresh();
    first.add(of);
    await told("two", of);
    first.remove(`/${of.narUrl}`);
    second.fail(of.hash, { status: 500 });
    expect(await seen(of, await nar("two", of))).toBe("503 5");
  });

  test.each<[string, Fault]>([["500", { status: 500 }], ["403", { status: 403 }], ["hang", "hang"], ["half of it", "truncate"]])("narinfo %s once: 503 with Retry-After, and never a 404 that clients would remember", async (_, fault) => {
    const of = fresh();
    first.add(of);
    first.fail(of.hash, fault, 1);
    expect(await told("two", of)).toBe("503 5 no-store");
    expect(await told("two", of)).toBe("200 -");
  });

  test("narinfo connection reset once: nobody notices", async () => {
    const of = fresh();
    first.add(of);
    first.fail(of.hash, "reset", 1);
    expect(await told("one", of)).toBe("200 -");
  });
});

describe("when upstreams are down", () => {
  ownUpstreams();
  test("all upstreams are down: what is kept is served, the rest is 503 with Retry-After", async () => {
    a.add(path, large);
    await start({ second: {} });
    await pull(path);
    await narinfo(large);
    await kept(1);
    await Promise.all([a.stop(), b.stop()]);
    expect((await pull(path)).equals(path.nar)).toBe(true);
    const answers = [await get(narOf(large)), await get(`/${pathNamed("other").hash}.narinfo`)];
    expect(answers.map((answer) => [answer.status, answer.headers.get("retry-after")])).toEqual([[503, "5"], [503, "5"]]);
    expect((await get(narOf(large), { method: "HEAD" })).status).toBe(503);
  });

  test("one hangs after it was healthy: hits on others cost the hedge at most, and misses nothing once it is left alone", async () => {
    a.fail("narinfo", "hang");
    b.add(path);
    await start({ second: {}, proxy: { hedge: "100ms", failures: 2 } });
    const timed = async (of: Path) => {
      const started = performance.now();
      const { status } = await get(`/${of.hash}.narinfo`);
      return [status, performance.now() - started] as const;
    };
    const [status, took] = await timed(path);
    expect(status).toBe(200);
    expect(took).toBeLessThan(1_500);
    for (const name of ["x", "y"]) expect((await timed(pathNamed(name)))[0]).toBe(503);
    a.requests.length = 0;
    expect((await timed(pathNamed("z")))[0]).toBe(503);
    expect(a.requests).toEqual([]);
  });
});

describe("narinfos that say less, or more, than they should", () => {
  ownUpstreams();
  test("no FileHash, compressed: it is served at once, and filled in when the NAR has come", async () => {
    const bare = pathNamed("bare-1.0", { info: { fileHash: undefined, fileSize: undefined }, url: "nar/0123.nar.xz" });
    a.add(bare);
    await start();
    const before = await narinfo(bare);
    expect([before.fileHash, before.url.startsWith("nar/")]).toEqual([undefined, true]);
    expect((await bytes(await get(`/${before.url}`))).equals(bare.nar)).toBe(true);
    await kept(1);
    for (let i = 0; i < 100 && (await narinfo(bare)).fileHash === undefined; i++) await sleep(10);
    const after = await narinfo(bare);
    expect(after).toMatchObject({ fileHash: bare.digest, fileSize: bare.nar.length });
    // Both the old name, which clients remember for a month, and the new one.
    for (const name of [before.url, after.url]) expect((await bytes(await get(`/${name}`))).equals(bare.nar)).toBe(true);
    expect(a.count("/nar/")).toBe(1);
  });

  test.each([
    ["an absolute URL to another host", () => `${b.url}/nar/secret`],
    ["a URL to another port of the same host by a scheme-relative URL", () => `//${new URL(b.url).host}/nar/secret`],
    ["a URL that hides separators", () => "nar/..%2f..%2fsecret"],
    ["a file URL", () => "file:///etc/passwd"],
  ])("%s: we don't go there", async (_, where) => {
    const evil = pathNamed("evil-1.0", { url: where() });
    a.add(evil);
    b.file("/nar/secret", evil.nar);
    await start();
    expect((await get(`/${(await narinfo(evil)).url}`)).status).toBe(503);
    expect(b.requests).toEqual([]);
  });

  test("another host that is listed gets no credentials", async () => {
    const there = pathNamed("there-1.0", { url: `${b.url}/nar/x` });
    a.add(there);
    a.authorization = `Basic ${Buffer.from("ci:secret").toString("base64")}`;
    b.file("/nar/x", there.nar);
    await start({ first: { hosts: [new URL(b.url).host], credentials: { username: "ci", password: "secret" } } });
    expect((await pull(there)).equals(there.nar)).toBe(true);
    expect(b.heads[0]!.authorization).toBeUndefined();
  });

  test("a wrong FileHash is served to nobody, and a wrong NarHash is not told again", async () => {
    const wrong = pathNamed("wrong-1.0", { info: { fileHash: "0".repeat(64) }, url: "nar/x.nar.xz" });
    a.add(wrong);
    await start();
    expect((await get(`/${(await narinfo(wrong)).url}`)).status).toBe(503);
    expect(await stored()).toEqual([]);
  });

  test("Compression none with a Content-Encoding all the same is decoded", async () => {
    const { gzipSync } = await import("node:zlib");
    const plain = pathNamed("plain-1.0", { url: "nar/plain.nar", info: { compression: "none", fileHash: undefined, fileSize: undefined } });
    const info = { ...plain.info, narHash: plain.digest, narSize: plain.nar.length, signatures: [] };
    a.add({ ...plain, info: { ...info, signatures: [testKey("upstream-1").sign(fingerprint(info, "/nix/store"))] } });
    a.fail("plain.nar", { change: (_, response, body) => void response.writeHead(200, { "content-encoding": "gzip" }).end(gzipSync(body)) });
    await start();
    expect(await narinfo(plain)).toMatchObject({ fileHash: plain.digest, fileSize: plain.nar.length });
    expect((await pull(plain)).equals(plain.nar)).toBe(true);
  });
});

describe("redirects", () => {
  ownUpstreams();
  const elsewhere = (target: () => string): Fault => ({ change: (_, response) => void response.writeHead(302, { location: target() }).end() });

  test("are followed, without credentials to another host", async () => {
    a.add(large);
    a.authorization = "Bearer t0ken";
    a.fail("/nar/", elsewhere(() => `${b.url}/bucket/object`));
    b.file("/bucket/object", large.nar);
    await start({ first: { credentials: { token: "t0ken" } } });
    expect((await pull(large)).equals(large.nar)).toBe(true);
    expect(b.heads[0]!.authorization).toBeUndefined();
  });

  test("come to an end", async () => {
    a.add(large);
    a.fail("/nar/", elsewhere(() => `${a.url}/${large.narUrl}`));
    await start();
    await narinfo(large);
    expect((await get(narOf(large))).status).toBe(503);
    expect(a.count("/nar/")).toBe(4);
  });

  test.each([["the metadata service of a cloud", "http://169.254.169.254/latest/meta-data"], ["nowhere", "http://0.0.0.0:1/"], ["a file", "file:///etc/passwd"], ["a host with credentials", "http://u:p@127.0.0.1:1/"]])("to %s are not followed", async (_, target) => {
    a.add(large);
    a.fail("/nar/", elsewhere(() => target));
    await start();
    await narinfo(large);
    expect((await get(narOf(large))).status).toBe(503);
  });
});

describe("all in all", () => {
  ownUpstreams();
  test("a cache without any still hands on what upstreams have", async () => {
    a.add(large);
    await start({ cache: { quota: "1KiB" } });
    expect((await pull(large)).equals(large.nar)).toBe(true);
    expect(await stored()).toEqual([]);
  });

  test("many clients of one NAR are one request upstream, whoever leaves", async () => {
    a.add(large);
    a.rate = 1_500_000;
    await start();
    await narinfo(large);
    const first = beginning(narOf(large));
    const others = Array.from({ length: 6 }, async (_, i) => {
      const answer = await get(narOf(large), i % 2 === 0 ? {} : { headers: { range: `bytes=${i * 1000}-` } });
      return (await bytes(answer)).equals(large.nar.subarray(i % 2 === 0 ? 0 : i * 1000));
    });
    expect((await first).length).toBeGreaterThan(0);
    expect(await Promise.all(others)).toEqual([true, true, true, true, true, true]);
    expect(a.count("/nar/")).toBe(1);
  });

  test("an administrator sees which upstreams are left alone, and nobody else does", async () => {
    a.fail("narinfo", { status: 500 });
    await start({ proxy: { failures: 1 }, second: { priority: 10 } });
    await get(`/${path.hash}.narinfo`);
    const status = (key?: string) => fetch(url.replace("/nix/default", "/v1/admin/nix/upstreams"), key === undefined ? {} : { headers: { authorization: `Bearer ${key}` } });
    expect(await (await status(KEYS.admin)).json()).toEqual({
      caches: [{ cache: "default", arriving: 0, upstreams: [{ name: "b", url: b.url, priority: 10, open: false }, { name: "a", url: a.url, priority: 40, open: true, retryAfter: expect.any(Number) }] }],
    });
    expect([(await status(KEYS.write)).status, (await status()).status]).toEqual([403, 401]);
  });

  test("metrics tell hits, misses and what is left alone", async () => {
    a.add(path);
    await start({ second: {} });
    await pull(path);
    await get(`/${pathNamed("nobody's").hash}.narinfo`);
    await kept(1);
    const text = await app.metrics.text();
    for (const line of [
      'stowhouse_upstream_requests_total{cache="default",upstream="a",kind="narinfo",result="hit"} 1',
      'stowhouse_upstream_requests_total{cache="default",upstream="a",kind="narinfo",result="miss"} 1',
      'stowhouse_upstream_requests_total{cache="default",upstream="a",kind="nar",result="hit"} 1',
      `stowhouse_upstream_received_bytes_total{cache="default",upstream="a"} ${path.nar.length}`,
      'stowhouse_upstream_open{cache="default",upstream="b"} 0',
      "stowhouse_upstream_arriving 0",
    ]) expect(text).toContain(line);
  });
});
