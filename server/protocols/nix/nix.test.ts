import { hash, randomBytes } from "node:crypto";
import { spawnSync } from "node:child_process";
import { connect } from "node:net";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { startApp, KEYS, type TestApp } from "../../../test/fixtures/app.ts";
import { nar, NixClient, nixKey, STORE, storeHash, testPath } from "../../../test/fixtures/nix.ts";
import { nix } from "./index.ts";
import { parsePublicKey } from "./keys.ts";
import { fingerprint, parseNarInfo } from "./narinfo.ts";
import { toNix32 } from "./nix32.ts";

let app: TestApp;
let url: string;
let writer: NixClient;
let reader: NixClient;
let admin: NixClient;

beforeAll(async () => {
  app = await startApp({
    caches: { default: {}, open: { anonymousRead: true }, small: { entrySize: "64KiB" }, strict: {}, swap: {} },
    protocols: { nix: { domain: "nix.test", caches: { open: { priority: 12 }, strict: { conflict: "refuse", requireReferences: true }, swap: { conflict: "replace", sign: "never" } } } },
  }, [nix]);
  url = await app.listen();
  writer = new NixClient(`${url}/nix/default`, KEYS.write);
  reader = new NixClient(`${url}/nix/default`, KEYS.read);
  admin = new NixClient(`${url}/nix/default`, KEYS.admin);
});
afterAll(() => app.close());

const all = async (caches: string[], options = {}) => nixKey(app, { permission: "write", caches, ...options });
const tool = (...command: [string, ...string[]]) => (plain: Buffer) => spawnSync(command[0], command.slice(1), { input: plain, maxBuffer: 2 ** 26 }).stdout;

describe("a pushed path", () => {
  it("is read as it was pushed, with a signature of the cache", async () => {
    const path = testPath("hello", randomBytes(200_000));
    expect(await writer.push(path)).toBe(204);
    const answer = await reader.get(`/${path.hash}.narinfo`);
    expect(answer.status).toBe(200);
    expect(answer.headers.get("content-type")).toBe("text/x-nix-narinfo");
    const info = parseNarInfo(await answer.text(), STORE);
    expect(info).toEqual({ ...path.info, signatures: info.signatures, deriver: undefined, ca: undefined });
    const key = parsePublicKey((await reader.text("/pubkey")).trim());
    expect(key.name).toBe("default-1");
    expect(info.signatures.map((signature) => key.verifies(fingerprint(info, STORE), signature))).toEqual([true]);
    const file = await reader.get(`/${info.url}`);
    expect(Buffer.from(await file.arrayBuffer()).equals(path.file)).toBe(true);
    expect(Object.fromEntries(["content-type", "accept-ranges", "etag", "content-length", "content-encoding", "cache-control"].map((name) => [name, file.headers.get(name)]))).toEqual({
      "content-type": "application/x-nix-nar", "accept-ranges": "bytes", etag: `"${path.fileHash}"`, "content-length": String(path.file.length), "content-encoding": null, "cache-control": "private, max-age=31536000, immutable",
    });
  });

  it.each([
    ["none", (plain: Buffer) => plain],
    ["xz", tool("xz", "-c")],
    ["bzip2", tool("bzip2", "-c")],
    ["gzip", gzipSync],
    ["zstd", (plain: Buffer) => Buffer.concat([zstdCompressSync(plain.subarray(0, 100)), zstdCompressSync(plain.subarray(100))])],
  ])("may be packed with %s, and its NarHash is verified", async (compression, pack) => {
    const contents = randomBytes(150_000);
    const right = testPath(`packed-${compression}`, contents, { compression }, pack);
    const wrong = testPath(`packed-${compression}`, contents, { compression, narHash: hash("sha256", "else") }, pack);
    const longer = testPath(`packed-${compression}`, contents, { compression, narSize: 7 }, pack);
    expect(await writer.push(wrong)).toBe(400);
    expect(await writer.push(longer)).toBe(400);
    expect(await writer.push(right)).toBe(204);
  });

  it("of a compression nobody here knows is taken unverified", async () => {
    const path = testPath("lz4", "x", { compression: "lz4" }, (plain) => Buffer.concat([Buffer.from("04224d18", "hex"), plain]));
    expect(await writer.push(path)).toBe(204);
  });

  it("answers HEAD, If-None-Match and Range", async () => {
    const path = testPath("ranges", randomBytes(300_000));
    await writer.push(path);
    const [narinfo, file] = [`/${path.hash}.narinfo`, `/${path.info.url}`];
    const head = await reader.send("HEAD", narinfo);
    expect([head.status, head.headers.get("content-length")]).toEqual([200, String((await reader.text(narinfo)).length)]);
    expect(await reader.status("GET", narinfo, undefined, { "if-none-match": head.headers.get("etag")! })).toBe(304);
    expect((await reader.send("HEAD", file)).headers.get("content-length")).toBe(String(path.file.length));
    const rest = await reader.get(file, { range: "bytes=200000-" });
    expect([rest.status, rest.headers.get("content-range")]).toEqual([206, `bytes 200000-${path.file.length - 1}/${path.file.length}`]);
    expect(Buffer.from(await rest.arrayBuffer()).equals(path.file.subarray(200_000))).toBe(true);
    expect(await reader.status("GET", file, undefined, { range: `bytes=${path.file.length}-` })).toBe(416);
    // Named by hex, as Cachix does.
    expect(await reader.status("GET", `/nar/${path.fileHash}.nar.zst`)).toBe(200);
  });

  it("may come with a compressed narinfo", async () => {
    const path = testPath("encoded");
    await writer.status("PUT", `/${path.info.url}`, path.file);
    expect(await writer.status("PUT", `/${path.hash}.narinfo`, zstdCompressSync(Buffer.from(path.text)), { "content-encoding": "zstd" })).toBe(204);
    expect(await reader.text(`/${path.hash}.narinfo`)).toContain(`StorePath: ${STORE}/${path.info.storePath}\n`);
    expect(await writer.status("PUT", `/${path.hash}.narinfo`, "not zstd", { "content-encoding": "zstd" })).toBe(400);
    expect(await writer.status("PUT", `/${path.hash}.narinfo`, path.text, { "content-encoding": "exotic" })).toBe(415);
  });

  it("gets another's signature added when it is pushed with one", async () => {
    const path = testPath("twice-signed");
    await writer.push(path);
    const signed = testPath("twice-signed", undefined, { signatures: ["other-1:AAAA"] });
    expect(await writer.push(signed)).toBe(204);
    expect((await reader.text(`/${path.hash}.narinfo`)).match(/^Sig: [^:]*/gm)).toEqual(["Sig: default-1", "Sig: other-1"]);
  });
});

describe("what does not fit together is refused", () => {
  const path = testPath("fit", "fit");
  const put = (more: object, name = path.hash) => writer.status("PUT", `/${name}.narinfo`, testPath("fit", "fit", more).text);

  it("a narinfo before its NAR", async () => {
    expect(await put({})).toBe(400);
    expect(await reader.status("GET", `/${path.hash}.narinfo`)).toBe(404);
  });

  it("a NAR of another hash, of other bytes, or cut off", async () => {
    const whole = zstdCompressSync(nar(randomBytes(90_000)));
    const named = (bytes: Buffer) => `/nar/${toNix32(Buffer.from(hash("sha256", bytes), "hex"))}.nar.zst`;
    const cut = whole.subarray(0, 50_000);
    const spoilt = Buffer.concat([whole.subarray(0, 4), randomBytes(1_000)]);
    expect(await writer.status("PUT", named(whole), cut)).toBe(400);
    expect(await writer.status("PUT", named(cut), cut)).toBe(400);
    expect(await writer.status("PUT", named(spoilt), spoilt)).toBe(400);
    for (const bytes of [whole, cut, spoilt]) expect(await reader.status("HEAD", named(bytes))).toBe(404);
    for (const name of ["x.nar", `${"0".repeat(51)}.nar.xz`, `${path.hash}.nar`]) expect(await writer.status("PUT", `/nar/${name}`, whole)).toBe(400);
  });

  it("a narinfo that says something else than its NAR", async () => {
    expect(await writer.status("PUT", `/${path.info.url}`, path.file)).toBe(204);
    for (const more of [
      { fileSize: 3 }, { fileHash: hash("sha256", "x") }, { compression: "xz" }, { narSize: 1 }, { narHash: hash("sha256", "x") }, { url: "nar/x.nar" }, { url: "https://evil.example/x.nar" },
      { url: `../${path.info.url}` }, { ca: "fixed:r:sha256:05kk0nvyzi0j6i46bir1znzhl7hs5dxfck5m75pm88jb9bqm6hhr" },
    ]) expect(await put(more), JSON.stringify(more)).toBe(400);
    expect(await put({}, storeHash("other"))).toBe(400);
    expect(await writer.status("PUT", `/${path.hash}.narinfo`, path.text.replaceAll("/nix/store", "/gnu/store"))).toBe(400);
    expect(await writer.status("PUT", `/${path.hash}.narinfo`, "hello")).toBe(400);
    expect(await writer.status("PUT", `/${path.hash}.narinfo`, "x".repeat(1024 * 1024 + 1))).toBe(413);
    expect(await put({ fileHash: undefined, fileSize: undefined })).toBe(204);
    expect(await reader.text(`/${path.hash}.narinfo`)).toContain(`FileSize: ${path.file.length}\n`);
  });

  it("a NAR that is larger unpacked than the cache takes", async () => {
    const small = new NixClient(`${url}/nix/small`, await all(["small"]));
    expect(await small.push(testPath("bomb", Buffer.alloc(10_000_000)))).toBe(413);
    expect(await small.push(testPath("no-bomb", Buffer.alloc(10_000)))).toBe(204);
  });

  it("a path whose references are not here, where the cache wants them", async () => {
    const strict = new NixClient(`${url}/nix/strict`, await all(["strict"]));
    const dependency = testPath("dependency");
    const path = testPath("dependent", "d", { references: [dependency.info.storePath, `${storeHash("dependent")}-dependent`] });
    expect(await strict.push(path)).toBe(400);
    await strict.push(dependency);
    expect(await strict.push(path)).toBe(204);
  });
});

describe("a path that was built again with other contents", () => {
  const [first, second] = [testPath("again", "first"), testPath("again", "second")];
  const clientOf = async (cache: string) => new NixClient(`${url}/nix/${cache}`, await all([cache]));

  it("stays what it was, and both NARs can be had", async () => {
    expect([await writer.push(first), await writer.push(second)]).toEqual([204, 204]);
    expect(parseNarInfo(await reader.text(`/${first.hash}.narinfo`), STORE).narHash).toBe(first.info.narHash);
    for (const path of [first, second]) expect(await reader.status("GET", `/${path.info.url}`)).toBe(200);
  });

  it("is replaced or refused where the cache says so", async () => {
    const [strict, swap] = [await clientOf("strict"), await clientOf("swap")];
    expect([await strict.push(first), await strict.push(second)]).toEqual([204, 409]);
    expect([await swap.push(first), await swap.push(second)]).toEqual([204, 204]);
    const text = await swap.text(`/${first.hash}.narinfo`);
    expect(parseNarInfo(text, STORE)).toMatchObject({ narHash: second.info.narHash, signatures: [] });
  });

  it("is what it became when the NAR of the first is gone", async () => {
    expect(await admin.status("DELETE", `/${first.info.url}`)).toBe(204);
    for (const method of ["HEAD", "GET"]) expect(await reader.status(method, `/${first.hash}.narinfo`)).toBe(404);
    expect(await writer.push(second)).toBe(204);
    expect(parseNarInfo(await reader.text(`/${first.hash}.narinfo`), STORE).narHash).toBe(second.info.narHash);
  });
});

describe("a path whose NAR is gone", () => {
  it("is a miss at once, however hot it was", async () => {
    const path = testPath("evicted");
    await writer.push(path);
    for (let i = 0; i < 3; i++) expect(await reader.status("GET", `/${path.hash}.narinfo`)).toBe(200);
    await admin.status("DELETE", `/${path.info.url}`);
    for (const method of ["GET", "HEAD"]) expect(await reader.status(method, `/${path.hash}.narinfo`)).toBe(404);
    for (const method of ["GET", "HEAD"]) expect(await reader.status(method, `/${path.info.url}`)).toBe(404);
    expect(await writer.push(path)).toBe(204);
    expect(await reader.status("GET", `/${path.hash}.narinfo`)).toBe(200);
  });

  it("is told of when its bytes are asked for, and then no more", async () => {
    const path = testPath("lost", randomBytes(200_000));
    await writer.push(path);
    const files = spawnSync("find", [app.data, "-name", `*${path.fileHash.slice(4, 40)}*`], { encoding: "utf8" }).stdout.trim();
    expect(files).not.toBe("");
    spawnSync("rm", files.split("\n"));
    expect(await reader.status("HEAD", `/${path.info.url}`)).toBe(404);
    expect(await reader.status("GET", `/${path.hash}.narinfo`)).toBe(404);
    expect(await writer.push(path)).toBe(204);
    expect(await reader.status("GET", `/${path.info.url}`)).toBe(200);
  });
});

describe("a storage that can't be read", () => {
  it("is an error that passes, never a miss which clients remember", async () => {
    const path = testPath("unreadable");
    await writer.push(path);
    const read = vi.spyOn(app.core.database, "read").mockImplementation(() => {
      throw new Error("the disk is away");
    });
    // Nobody has asked for these yet: RAM does not know.
    for (const of of [`/${storeHash("unasked")}.narinfo`, `/nar/${toNix32(randomBytes(32))}.nar`, `/realisations/sha256:${"9".repeat(64)}!out.doi`, `/log/${storeHash("unasked")}-x.drv`]) {
      const answer = await reader.get(of);
      expect([answer.status, Number(answer.headers.get("retry-after"))], of).toEqual([503, expect.toSatisfy((seconds: number) => seconds > 0)]);
    }
    read.mockRestore();
    expect(await reader.status("GET", `/${path.hash}.narinfo`)).toBe(200);
  });
});

describe("a body that nobody may send", () => {
  it("is not asked for: who waits for our word gets a refusal instead", async () => {
    const { hostname, port } = new URL(url);
    const path = testPath("unwanted", randomBytes(50_000));
    const said = await new Promise<string>((resolve, reject) => {
      const socket = connect(Number(port), hostname);
      let text = "";
      socket.on("data", (chunk: Buffer) => (text += chunk.toString())).on("close", () => resolve(text)).on("error", reject);
      socket.write(`PUT /nix/default/${path.info.url} HTTP/1.1\r\nHost: x\r\nContent-Length: ${path.file.length}\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n`);
    });
    expect(said).toMatch(/^HTTP\/1.1 401 /);
    expect(said).not.toContain("100 Continue");
  });
});

describe("what belongs to paths", () => {
  const drv = `${storeHash("drv")}-x.drv`;
  const listing = JSON.stringify({ version: 1, root: { type: "regular", size: 1 } });
  const realisation = (id: string, outPath = `${storeHash("out")}-out`) => JSON.stringify({ dependentRealisations: {}, id, outPath, signatures: [] });
  const id = `sha256:${"ab".repeat(32)}!out`;

  it.each([
    [`/${storeHash("x")}.ls`, listing, "application/json"],
    [`/log/${drv}`, "built\n", "text/plain; charset=utf-8"],
    [`/debuginfo/${"ab".repeat(20)}`, JSON.stringify({ archive: "../nar/x.nar.xz", member: "lib/debug/x" }), "application/json"],
  ])("%s is given back as it came", async (path, body, type) => {
    expect(await reader.status("GET", path)).toBe(404);
    expect(await writer.status("PUT", path, zstdCompressSync(Buffer.from(body)), { "content-encoding": "zstd" })).toBe(204);
    const answer = await reader.get(path);
    expect([answer.status, answer.headers.get("content-type"), answer.headers.get("x-content-type-options"), await answer.text()]).toEqual([200, type, "nosniff", body]);
    expect(await reader.status("HEAD", path)).toBe(200);
    expect(await admin.status("DELETE", path)).toBe(204);
    expect(await reader.status("GET", path)).toBe(404);
  });

  it.each([
    ["a log of no derivation", "/log/hello", "x", 404],
    ["debug information elsewhere", `/debuginfo/${"ab".repeat(20)}`, JSON.stringify({ archive: "https://evil.example/x", member: "x" }), 400],
    ["debug information that is none", `/debuginfo/${"ab".repeat(20)}`, "null", 400],
    ["a realisation of another id", `/realisations/${id}.doi`, realisation(`${id}put`), 400],
    ["a realisation outside of the store", `/realisations/${id}.doi`, realisation(id, "../x"), 400],
    ["a realisation without an id", "/realisations/x.doi", realisation("x"), 404],
    ["a trace of no derivation", "/build-trace-v2/x/out.doi", realisation("x"), 404],
  ])("%s is refused", async (_, path, body, status) => {
    expect(await writer.status("PUT", path, body)).toBe(status);
  });

  it("realisations are found with either form of their mark, and are signed", async () => {
    expect(await writer.status("PUT", `/realisations/${id}.doi`, realisation(id))).toBe(204);
    const text = await reader.text(`/realisations/${id}.doi`);
    expect(await reader.text(`/realisations/${id.replace("!", "%21")}.doi`)).toBe(text);
    const key = parsePublicKey((await reader.text("/pubkey")).trim());
    const { signatures, ...rest } = JSON.parse(text) as { signatures: string[] };
    expect(signatures.map((signature) => key.verifies(JSON.stringify(rest), signature))).toEqual([true]);
    // Another build of it does not take its place.
    expect(await writer.status("PUT", `/realisations/${id}.doi`, realisation(id, `${storeHash("else")}-out`))).toBe(204);
    expect(await reader.text(`/realisations/${id}.doi`)).toBe(text);
  });

  it("build traces are kept and signed in their own form", async () => {
    const outPath = `${storeHash("out")}-out`;
    expect(await writer.status("PUT", `/build-trace-v2/${drv}/out.doi`, JSON.stringify({ outPath, signatures: [] }))).toBe(204);
    const read = JSON.parse(await reader.text(`/build-trace-v2/${drv}/out.doi`)) as { outPath: string; signatures: { keyName: string; sig: string }[] };
    const key = parsePublicKey((await reader.text("/pubkey")).trim());
    const [signature] = read.signatures;
    expect(read.outPath).toBe(outPath);
    expect(key.verifies(JSON.stringify({ key: { drvPath: drv, outputName: "out" }, value: { outPath } }), `${signature!.keyName}:${signature!.sig}`)).toBe(true);
  });
});

describe("where a cache is", () => {
  const path = testPath("mounted");

  it("at the root, under /nix, by its name there, and behind /c/{cache}", async () => {
    await writer.push(path);
    for (const mount of ["", "/nix", "/nix/default", "/c/default/nix", "/c/default"]) {
      const client = new NixClient(url + mount, KEYS.read);
      expect(await client.text("/nix-cache-info"), mount).toBe("StoreDir: /nix/store\nWantMassQuery: 1\nPriority: 30\n");
      expect(await client.status("GET", `/${path.hash}.narinfo`), mount).toBe(200);
      expect(await client.status("GET", `/${path.info.url}`), mount).toBe(200);
    }
    expect(await new NixClient(`${url}/nix/open`).text("/nix-cache-info")).toContain("Priority: 12\n");
    expect(await new NixClient(`${url}/nix/open`).status("GET", `/${path.hash}.narinfo`)).toBe(404);
    expect(await new NixClient(`${url}/nix/open`).status("GET", `/${path.info.url}`)).toBe(404);
  });

  it("on a host of its own", async () => {
    const at = (host: string) => app.app.inject({ url: "/nix-cache-info", headers: { host } });
    expect((await at("open.nix.test:8420")).payload).toContain("Priority: 12\n");
    for (const host of ["default.nix.test", "a.open.nix.test", "opennix.test", "nix.test"]) expect((await at(host)).statusCode, host).toBe(401);
  });

  it("as one that exists already, for who would make it", async () => {
    expect(await writer.status("PUT", "/nix-cache-info", "StoreDir: /nix/store\n")).toBe(204);
    expect(await writer.status("PUT", "/nix-cache-info", "StoreDir: /gnu/store\n")).toBe(400);
  });

  it.each(["/nar/..%2f..%2fetc%2fpasswd", "/nar/%00.nar", "/%2e%2e/x", `/${"e".repeat(32)}.narinfo`, `/${"a".repeat(33)}.narinfo`, "/log/..%2f..", "/realisations/%2e%2e.doi", "/Default/nix-cache-info"])("%s is nowhere", async (path) => {
    for (const base of [writer, new NixClient(url, KEYS.write)]) expect(await base.status("GET", path)).toBe(404);
  });
});

describe("who may", () => {
  it("read a private cache: 401 for everybody else, never 403 or 404", async () => {
    const others = await all(["open"]);
    for (const client of [new NixClient(`${url}/nix/default`), new NixClient(`${url}/nix/default`, "stow_rw_wrong-wrong-wrong-wrong"), new NixClient(`${url}/nix/default`, others), new NixClient(`${url}/nix/nobody`, others)]) {
      for (const path of ["/nix-cache-info", `/${storeHash("hello")}.narinfo`, `/nar/${"0".repeat(52)}.nar.xz`, `/log/${storeHash("a")}-a.drv`, "/pubkey"]) {
        const answer = await client.get(path);
        expect([answer.status, answer.headers.get("www-authenticate")?.split(" ")[0]], path).toEqual([401, "Basic"]);
      }
    }
  });

  it("write: keys that may, and nobody without one", async () => {
    const path = testPath("forbidden");
    expect(await reader.push(path)).toBe(403);
    expect(await new NixClient(`${url}/nix/open`).push(path)).toBe(401);
    expect(await writer.status("HEAD", `/${path.info.url}`)).toBe(404);
  });

  it("delete: administrators alone", async () => {
    const path = testPath("deleted");
    await writer.push(path);
    for (const client of [writer, reader]) expect(await client.status("DELETE", `/${path.hash}.narinfo`)).toBe(403);
    expect(await admin.status("DELETE", `/${path.hash}.narinfo`)).toBe(204);
    expect(await admin.status("DELETE", `/${path.hash}.narinfo`)).toBe(404);
    expect(await reader.status("GET", `/${path.info.url}`)).toBe(200);
  });

  it("let proxies keep what anybody may read, and nothing else", async () => {
    const path = testPath("public");
    const open = `${url}/nix/open`;
    await new NixClient(open, await all(["open"])).push(path);
    const control = async (client: NixClient, of: string) => (await client.get(of)).headers.get("cache-control");
    expect(await control(new NixClient(open), `/${path.info.url}`)).toBe("public, max-age=31536000, immutable");
    expect(await control(new NixClient(open), `/${path.hash}.narinfo`)).toBe("public, max-age=300");
    expect(await control(new NixClient(open, await all(["open"])), `/${path.hash}.narinfo`)).toBe("private, max-age=300");
    expect(await control(new NixClient(open), `/${storeHash("missing")}.narinfo`)).toBe("no-store");
  });
});
