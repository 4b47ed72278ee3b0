import { hash, randomBytes } from "node:crypto";
import { spawnSync } from "node:child_process";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { KEYS, startApp, type TestApp } from "../../../../test/fixtures/app.ts";
import { CachixClient, CachixError, md5, narInfoCreate, type NarInfoCreate, type Part } from "../../../../test/fixtures/cachix.ts";
import { NixClient, nixKey, STORE, testPath, type TestPath } from "../../../../test/fixtures/nix.ts";
import { nix } from "../index.ts";
import { parsePublicKey } from "../keys.ts";
import { fingerprint, parseNarInfo } from "../narinfo.ts";

let app: TestApp;
let url: string;
let client: CachixClient;
let reader: NixClient;

beforeAll(async () => {
  app = await startApp({
    caches: { default: {}, other: {}, small: { entrySize: "64KiB" }, tight: { quota: "1MiB" }, strict: {}, swap: {} },
    limits: { uploads: 40 },
    protocols: { nix: { caches: { strict: { conflict: "refuse" }, swap: { conflict: "replace" } } } },
  }, [nix]);
  url = await app.listen();
  client = new CachixClient(url, KEYS.write);
  reader = new NixClient(`${url}/nix/default`, KEYS.read);
});
afterAll(() => app.close());

let count = 0;
/** A path of its own, whose file has about so many bytes. */
const fresh = (size = 1_000, more = {}): TestPath => testPath(`cachix-${++count}`, randomBytes(size), more);
const status = (work: Promise<unknown>) => work.then(() => 200, (error: unknown) => (error instanceof CachixError ? error.status : Promise.reject(error)));
const wrong = (path: TestPath, more: Partial<NarInfoCreate>) => ({ ...narInfoCreate(path.info), ...more });
/** An upload whose bytes are all there, in these parts. */
async function sent(path: TestPath, { by = client, cache = "default", size = 300 } = {}) {
  const upload = await by.create(cache);
  const parts: Part[] = [];
  for (let at = 0; at < path.file.length; at += size) parts.push(await by.part(cache, upload, parts.length + 1, path.file.subarray(at, at + size)));
  return { upload, parts };
}
const fileOf = async (path: TestPath, by = reader) => Buffer.from(await (await by.get(`/${path.info.url}`)).arrayBuffer());

describe("a path that is pushed in parts", () => {
  it("is missing before and there after, as it was pushed, with a signature of the cache", async () => {
    const path = fresh(200_000, { references: [testPath("cachix-ref").info.storePath], deriver: `${testPath("cachix-drv").hash}-x.drv` });
    expect(await client.missing("default", [path.hash])).toEqual([path.hash]);
    expect(await client.has("default", path.hash)).toBe(false);
    await client.push("default", path.file, narInfoCreate(path.info), { size: 30_000 });
    expect(await client.missing("default", [path.hash])).toEqual([]);
    expect(await client.has("default", path.hash)).toBe(true);
    const info = parseNarInfo(await reader.text(`/${path.hash}.narinfo`), STORE);
    expect(info).toEqual({ ...path.info, signatures: info.signatures, ca: undefined });
    const [key] = (await client.cache("default")).publicSigningKeys.map(parsePublicKey);
    expect(info.signatures.map((one) => key!.verifies(fingerprint(info, STORE), one))).toEqual([true]);
    expect((await fileOf(path)).equals(path.file)).toBe(true);
    const range = await reader.get(`/${path.info.url}`, { range: "bytes=59990-60009" });
    expect([range.status, Buffer.from(await range.arrayBuffer()).equals(path.file.subarray(59_990, 60_010)), range.headers.get("etag")]).toEqual([206, true, `"${path.fileHash}"`]);
  });

  it("may have one part, or many of any sizes that came in any order", async () => {
    const path = fresh(5_000);
    const cuts = [0, 1, 2, 900, 901, 3_000, path.file.length];
    const upload = await client.create("default");
    const parts = await Promise.all(cuts.slice(1).map((end, i) => client.part("default", upload, i + 1, path.file.subarray(cuts[i], end))).toReversed());
    await client.complete("default", upload, parts.toReversed(), narInfoCreate(path.info));
    expect((await fileOf(path)).equals(path.file)).toBe(true);
  });

  it("may be packed with xz, and its NarHash is verified", async () => {
    const path = testPath("cachix-xz", randomBytes(100_000), { compression: "xz" }, (plain) => spawnSync("xz", ["-c"], { input: plain, maxBuffer: 2 ** 26 }).stdout);
    const push = (create: NarInfoCreate) => client.push("default", path.file, create, { size: 30_000, compression: "xz" });
    expect(await status(push(wrong(path, { cNarSize: path.info.narSize + 1 })))).toBe(400);
    expect(await status(push(narInfoCreate(path.info)))).toBe(200);
    expect(parseNarInfo(await reader.text(`/${path.hash}.narinfo`), STORE).compression).toBe("xz");
  });

  it("is taken from a client that sends a part again, and again with other bytes", async () => {
    const path = fresh(2_000);
    const upload = await client.create("default");
    await client.part("default", upload, 1, randomBytes(10));
    const first = await client.part("default", upload, 1, path.file.subarray(0, 1_000));
    expect(await client.part("default", upload, 1, path.file.subarray(0, 1_000))).toEqual(first);
    const last = await client.part("default", upload, 2, path.file.subarray(1_000));
    await client.complete("default", upload, [first, last], narInfoCreate(path.info));
    expect((await fileOf(path)).equals(path.file)).toBe(true);
  });

  it("is taken from a client that lists no parts, unless one of them is ambiguous", async () => {
    const path = fresh(2_000);
    const { upload } = await sent(path);
    await client.part("default", upload, 1, randomBytes(10));
    expect(await status(client.complete("default", upload, null, narInfoCreate(path.info)))).toBe(400);
    const again = await sent(path);
    expect(await status(client.complete("default", again.upload, null, narInfoCreate(path.info)))).toBe(200);
  });

  it("may be completed twice, also at once: the answer of the first may have been lost", async () => {
    const path = fresh(50_000);
    const { upload, parts } = await sent(path, { size: 20_000 });
    const complete = () => status(client.complete("default", upload, parts, narInfoCreate(path.info)));
    expect(await Promise.all([complete(), complete(), complete()])).toEqual([200, 200, 200]);
    expect(await complete()).toBe(200);
  });

  it("may be pushed again, by the same upload's bytes or by others", async () => {
    const path = fresh();
    for (let i = 0; i < 2; i++) expect(await status(client.push("default", path.file, narInfoCreate(path.info)))).toBe(200);
  });
});

describe("a completion", () => {
  it.each<[string, (path: TestPath) => Partial<NarInfoCreate>]>([
    ["another file hash", () => ({ cFileHash: "0".repeat(64) })],
    ["another file size", (path) => ({ cFileSize: path.file.length - 1 })],
    ["another NarHash", () => ({ cNarHash: `sha256:${"0".repeat(52)}` })],
    ["another NarSize", (path) => ({ cNarSize: path.info.narSize - 1 })],
    ["a NarSize of 0", () => ({ cNarSize: 0 })],
    ["a store path that is none", () => ({ cStoreSuffix: "../etc" })],
    ["a reference that is none", () => ({ cReferences: ["/nix/store/x"] })],
    ["a signature of nobody", () => ({ cSig: Buffer.alloc(64).toString("base64") })],
    ["a signature that is none", () => ({ cSig: "AAAA" })],
  ])("with %s is refused, makes nothing known, and may be made right", async (_, more) => {
    const path = fresh();
    const { upload, parts } = await sent(path);
    expect(await status(client.complete("default", upload, parts, wrong(path, more(path))))).toBe(400);
    expect(await client.missing("default", [path.hash])).toEqual([path.hash]);
    expect(await status(client.complete("default", upload, parts, narInfoCreate(path.info)))).toBe(200);
  });

  it.each<[string, (parts: Part[]) => unknown]>([
    ["misses a part that was sent", (parts) => parts.slice(1)],
    ["lists a part that was not sent", (parts) => [...parts, { partNumber: parts.length + 1, eTag: `"${"0".repeat(32)}"` }]],
    ["lists another ETag than was given out", ([first, ...parts]) => [{ ...first, eTag: `"${"0".repeat(32)}"` }, ...parts]],
    ["lists parts out of order", (parts) => parts.toReversed()],
    ["lists a part twice", (parts) => [parts[0], ...parts]],
    ["lists nothing at all", () => []],
    ["lists what is no part", () => [{ partNumber: "x" }]],
  ])("that %s is refused", async (_, change) => {
    const path = fresh(1_000);
    const { upload, parts } = await sent(path);
    expect(await status(client.complete("default", upload, change(parts) as Part[], narInfoCreate(path.info)))).toBe(400);
    expect(await status(client.complete("default", upload, parts, narInfoCreate(path.info)))).toBe(200);
  });

  it("of bytes that are not of the compression they were announced with is refused", async () => {
    const path = fresh();
    const upload = await client.create("default", "xz");
    const part = await client.part("default", upload, 1, path.file);
    expect(await status(client.complete("default", upload, [part], narInfoCreate(path.info)))).toBe(400);
    const junk = randomBytes(1_000);
    const other = await client.create("default");
    const create = wrong(path, { cFileHash: hash("sha256", junk), cFileSize: junk.length });
    expect(await status(client.complete("default", other, [await client.part("default", other, 1, junk)], create))).toBe(400);
  });

  it.each([["default", 200], ["strict", 409], ["swap", 200]])("of a path that cache %s has with another NarHash: %i", async (cache, answer) => {
    const key = await nixKey(app, { permission: "write", caches: [cache] });
    const by = new CachixClient(url, key);
    const first = fresh();
    const second = testPath(`cachix-${count}`, randomBytes(500));
    await by.push(cache, first.file, narInfoCreate(first.info));
    expect(await status(by.push(cache, second.file, narInfoCreate(second.info)))).toBe(answer);
    const now = parseNarInfo(await new NixClient(`${url}/nix/${cache}`, key).text(`/${first.hash}.narinfo`), STORE);
    expect(now.narHash).toBe((cache === "swap" ? second : first).info.narHash);
  });
});

describe("the URL of a part", () => {
  it("needs no credential, takes these very bytes, and answers with their ETag", async () => {
    const bytes = randomBytes(500);
    const upload = await client.create("default");
    const target = await client.sign("default", upload, 3, md5(bytes));
    expect(target.startsWith(`${url}/api/v1/`)).toBe(true);
    expect(await client.put(target, bytes)).toBe(`"${hash("md5", bytes)}"`);
    const other = randomBytes(500);
    expect(await status(client.put(target, other))).toBe(400);
    expect(await status(client.put(target, other, md5(bytes)))).toBe(400);
    expect(await status(client.put(target, Buffer.alloc(0), md5(bytes)))).toBe(400);
  });

  it("is refused when anything in it was changed, and when its time is over", async () => {
    const bytes = randomBytes(500);
    const [upload, second] = [await client.create("default"), await client.create("default")];
    const target = await client.sign("default", upload, 1, md5(bytes));
    const other = randomBytes(500);
    const changes: [string, Buffer?][] = [
      [target.replace("/default/", "/other/")], [target.replace(upload.narId, second.narId)], [target.replace(`/1/${hash("md5", bytes)}`, `/2/${hash("md5", bytes)}`)],
      [target.replace(hash("md5", bytes), hash("md5", other)), other], [target.replace(/se=\d+/, "se=99999999999")], [target.replace(/.$/, (last) => (last === "A" ? "B" : "A"))],
      [target.slice(0, target.indexOf("?"))], [target.replace(/\/[^/]+\?/, `/${Buffer.from("key:somebody").toString("base64url")}?`)],
    ];
    for (const [changed, body = bytes] of changes) expect(await status(client.put(changed, body)), changed).toBe(401);
    vi.useFakeTimers({ now: Date.now() + 901_000, toFake: ["Date"] });
    try {
      expect(await status(client.put(target, bytes))).toBe(401);
    } finally {
      vi.useRealTimers();
    }
    expect(await status(client.put(target, bytes))).toBe(200);
  });

  it("dies with its upload, and with the key it was made for", async () => {
    const bytes = randomBytes(500);
    const made = await app.identity.keys.create({ name: "doomed", permission: "write" });
    const doomed = new CachixClient(url, made.key);
    const upload = await doomed.create("default");
    const [one, two] = [await doomed.sign("default", upload, 1, md5(bytes)), await client.sign("default", upload, 2, md5(bytes))];
    await app.identity.keys.revoke(made.info.id);
    expect(await status(client.put(one, bytes))).toBe(401);
    expect(await status(client.put(two, bytes))).toBe(200);
    await client.abort("default", upload);
    expect(await status(client.put(two, bytes))).toBe(404);
  });
});

describe("an upload", () => {
  it("that was aborted is gone, with all its bytes", async () => {
    const path = fresh();
    const { upload, parts } = await sent(path);
    await client.abort("default", upload);
    expect(await status(client.complete("default", upload, parts, narInfoCreate(path.info)))).toBe(404);
    expect(await status(client.part("default", upload, 9, path.file))).toBe(404);
    expect(await status(client.abort("default", upload))).toBe(404);
    expect(await client.missing("default", [path.hash])).toEqual([path.hash]);
  });

  it("belongs to the scope and the cache it began in", async () => {
    const path = fresh();
    const { upload, parts } = await sent(path);
    const [elsewhere, pull] = [await nixKey(app, { permission: "write", caches: ["other"] }), await nixKey(app, { permission: "write", scope: "team:pull", trusted: false })];
    for (const [by, cache] of [[new CachixClient(url, elsewhere), "other"], [new CachixClient(url, pull), "default"]] as const) {
      expect(await status(by.sign(cache, upload, 1, md5(path.file)))).toBe(404);
      expect(await status(by.abort(cache, upload))).toBe(404);
      expect(await status(by.complete(cache, upload, parts, narInfoCreate(path.info)))).toBe(404);
    }
    for (const name of [{ ...upload, uploadId: "1" }, { ...upload, narId: "0".repeat(8) }]) expect(await status(client.complete("default", name, parts, narInfoCreate(path.info)))).toBe(404);
    expect(await status(client.complete("default", upload, parts, narInfoCreate(path.info)))).toBe(200);
  });

  it("is over a day after it began, however busy it is", async () => {
    const path = fresh();
    const { upload, parts } = await sent(path);
    // Kept alive meanwhile.
    await app.core.database.write("renewUpload", { id: upload.narId.replaceAll("-", ""), now: Date.now(), expires: Date.now() + 90_000_000 });
    vi.useFakeTimers({ now: Date.now() + 86_400_000, toFake: ["Date"] });
    try {
      expect(await status(client.complete("default", upload, parts, narInfoCreate(path.info)))).toBe(404);
    } finally {
      vi.useRealTimers();
    }
    expect(await status(client.complete("default", upload, parts, narInfoCreate(path.info)))).toBe(404);
  });

  it("counts against what a credential may have open, and against the largest entry", async () => {
    const few = new CachixClient(url, await nixKey(app, { permission: "write", caches: ["small"] }));
    const large = fresh(100_000);
    const upload = await few.create("small");
    expect(await status(few.part("small", upload, 1, large.file))).toBe(413);
    const parts = [await few.part("small", upload, 1, large.file.subarray(0, 60_000)), await few.part("small", upload, 2, large.file.subarray(60_000))];
    expect(await status(few.complete("small", upload, parts, narInfoCreate(large.info)))).toBe(413);
    await few.abort("small", upload);
    const open = await Promise.all(Array.from({ length: 40 }, () => few.create("small")));
    expect(await status(few.create("small"))).toBe(429);
    for (const one of open) await few.abort("small", one);
    expect(await status(few.create("small"))).toBe(200);
  });
});

describe("a cache without room", () => {
  it("takes what fits once: parts are not counted again as a NAR", async () => {
    const by = new CachixClient(url, await nixKey(app, { permission: "write", caches: ["tight"] }));
    const path = fresh(700_000);
    expect(await status(by.push("tight", path.file, narInfoCreate(path.info), { size: 200_000 }))).toBe(200);
    expect(await by.missing("tight", [path.hash])).toEqual([]);
  });

  it("refuses a pull request's parts beyond its share with 507, and main keeps what it has", async () => {
    const main = new CachixClient(url, await nixKey(app, { permission: "write", caches: ["tight"] }));
    const path = fresh(100_000);
    await main.push("tight", path.file, narInfoCreate(path.info));
    const pull = new CachixClient(url, await nixKey(app, { permission: "write", caches: ["tight"], scope: "team:full", trusted: false }));
    const large = fresh(600_000);
    const upload = await pull.create("tight");
    expect(await status(pull.part("tight", upload, 1, large.file))).toBe(507);
    expect(await main.missing("tight", [path.hash])).toEqual([]);
  });
});

describe("a client from before there were parts", () => {
  it("sends a NAR whole, and what tells of it", async () => {
    const path = fresh(100_000);
    await client.pushWhole("default", path.file, narInfoCreate(path.info));
    expect((await fileOf(path)).equals(path.file)).toBe(true);
  });

  it("is refused what is no NAR of that compression, and a narinfo without its NAR or at another path's place", async () => {
    const path = fresh();
    expect(await status(client.narInfo("default", narInfoCreate(path.info)))).toBe(400);
    expect(await status(client.pushWhole("default", randomBytes(100), narInfoCreate(path.info)))).toBe(400);
    const sending = (body: string) => fetch(`${url}/api/v1/cache/default/${path.hash}.narinfo`, { method: "POST", headers: { authorization: `Bearer ${KEYS.write}` }, body });
    expect((await sending(JSON.stringify(narInfoCreate(fresh().info)))).status).toBe(400);
    expect((await sending("{")).status).toBe(400);
  });
});
