import { hash } from "node:crypto";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { zstdDecompressSync } from "node:zlib";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { action, bundle, cacheprogPut, record, records, startGo, type GoServer } from "../../../test/fixtures/go.ts";
import { bytesOf } from "../../../test/fixtures/random.ts";
import { formatIds, HAVE_BYTES } from "./wire.ts";

let server: GoServer;
beforeAll(async () => {
  server = await startGo({ caches: { default: {}, open: { anonymousRead: true }, small: { entrySize: "1KiB" }, full: { quota: "2KiB" } } });
});
afterAll(() => server.stop());
afterEach(() => vi.restoreAllMocks());

const SIZES = [0, 5, 70_000, 3_000_000];
const output = (size: number) => bytesOf(`output ${size}`, size);
const post = (path: string, key: string, body: Buffer) => server.fetch(path, key, { method: "POST", body: new Uint8Array(body) });
const bytes = async (answer: Response) => Buffer.from(await answer.arrayBuffer());
const wantObject = { headers: { "Want-Object": "1", "Accept-Encoding": "lz4" } };

describe("cacheprog's wire", () => {
  it.each(SIZES.flatMap((size) => [[size, false], [size, true]] as const))("gives %i bytes back as they were stored (zstd %s)", async (size, zstd) => {
    const [plain, path] = [output(size), `/go/cache/${action(`cacheprog ${size} ${zstd}`)}`];
    const put = cacheprogPut(plain, zstd);
    expect((await server.fetch(path, server.write, put)).status).toBe(200);
    const answer = await server.fetch(path, server.read);
    const body = await bytes(answer);
    expect(answer.status).toBe(200);
    expect(answer.headers.get("content-length")).toBe(String(body.length));
    expect(new Date(answer.headers.get("last-modified")!).getTime()).toBeGreaterThan(Date.now() - 60_000);
    expect(answer.headers.get("content-encoding")).toBeNull();
    expect(Object.fromEntries(["outputid", "compressionalgorithm", "uncompressedsize"].map((name) => [name, answer.headers.get(`x-cacheprog-${name}`)]))).toEqual({
      outputid: hash("sha256", plain), compressionalgorithm: zstd ? "zstd" : "", uncompressedsize: String(size),
    });
    expect((zstd ? zstdDecompressSync(body) : body).equals(plain)).toBe(true);
  });

  it("says 404 for what there is not", async () => {
    expect((await server.fetch(`/go/cache/${action("nobody's")}`, server.read)).status).toBe(404);
  });

  it.each([
    ["another output than it says", { "X-Cacheprog-OutputID": hash("sha256", "other") }],
    ["another size than it says", { "X-Cacheprog-UncompressedSize": "6" }],
    ["no size", { "X-Cacheprog-UncompressedSize": "" }],
    ["an unknown compression", { "X-Cacheprog-CompressionAlgorithm": "lz4" }],
    ["a checksum that is not its own", { "X-Cacheprog-Sha256Sum": hash("sha256", "other") }],
    ["no output", { "X-Cacheprog-OutputID": "" }],
  ])("stores nothing of a body with %s", async (name, headers) => {
    const path = `/go/cache/${action(name)}`;
    const put = cacheprogPut(Buffer.from("hello"), false);
    expect((await server.fetch(path, server.write, { ...put, headers: { ...(put.headers as object), ...headers } })).status).toBe(400);
    expect((await server.fetch(path, server.read)).status).toBe(404);
  });

  it("replaces an action's output, which a compiler may make anew", async () => {
    const path = `/go/cache/${action("again")}`;
    for (const text of ["one", "one", "two"]) {
      expect((await server.fetch(path, server.write, cacheprogPut(Buffer.from(text), false))).status).toBe(200);
      expect(await (await server.fetch(path, server.read)).text()).toBe(text);
    }
  });

  it.each([
    ["a read-only key", "default", 200_000],
    ["a body above the limit", "small", 2_000],
    ["a full cache", "full", 4_000],
  ])("discards what %s sends, because ten errors would turn reads off too", async (_, cache, size) => {
    const key = cache === "default" ? server.read : await server.key({ permission: "write", caches: [cache] });
    const path = `/go/cache/${action(`discarded ${cache}`)}`;
    expect((await server.fetch(path, key, cacheprogPut(output(size), false))).status).toBe(200);
    expect((await server.fetch(path, key)).status).toBe(404);
  });

  it("says a miss when the index can't be read, and the truth to a wrong key", async () => {
    const path = `/go/cache/${action("unreadable")}`;
    vi.spyOn(server.core.database, "read").mockImplementationOnce(() => {
      throw new Error("disk I/O error");
    });
    expect((await server.fetch(path, server.read)).status).toBe(404);
    expect((await server.fetch(path, "stow_ro_wrong")).status).toBe(401);
  });

  it("keeps prefixes apart", async () => {
    const path = `/go/cache/${action("prefixed")}`;
    await server.fetch(`${path}?prefix=golangci-lint`, server.write, cacheprogPut(Buffer.from("lint"), false));
    expect((await server.fetch(path, server.read)).status).toBe(404);
    expect(await (await server.fetch(`${path}?prefix=golangci-lint`, server.read)).text()).toBe("lint");
  });
});

describe("go-cacher's wire", () => {
  const put = (name: string, plain: Buffer, key: string) => server.fetch(`/go/${action(name)}/${hash("sha256", plain)}`, key, { method: "PUT", body: new Uint8Array(plain) });

  it.each(SIZES)("gives %i bytes back in one hop", async (size) => {
    const plain = output(size);
    expect((await put(`cacher ${size}`, plain, server.write)).status).toBe(204);
    const answer = await server.fetch(`/go/action/${action(`cacher ${size}`)}`, server.read, wantObject);
    expect([answer.status, answer.headers.get("content-type"), answer.headers.get("go-output-id"), answer.headers.get("content-length")]).toEqual([200, "application/octet-stream", hash("sha256", plain), String(size)]);
    expect((await bytes(answer)).equals(plain)).toBe(true);
  });

  it.each(SIZES)("gives %i bytes back that another client has compressed", async (size) => {
    const plain = output(size);
    await server.fetch(`/go/cache/${action(`mixed ${size}`)}`, server.write, cacheprogPut(plain, true));
    const answer = await server.fetch(`/go/action/${action(`mixed ${size}`)}`, server.read, wantObject);
    expect([answer.status, answer.headers.get("content-length")]).toEqual([200, String(size)]);
    expect((await bytes(answer)).equals(plain)).toBe(true);
  });

  it("answers 204 to every upload, because anything else ends go build", async () => {
    const plain = Buffer.from("text");
    expect((await put("by nobody", plain, "stow_rw_wrong")).status).toBe(204);
    expect((await put("by a reader", output(200_000), server.read)).status).toBe(204);
    expect((await server.fetch(`/go/${action("poisoned")}/${hash("sha256", "other")}`, server.write, { method: "PUT", body: "text" })).status).toBe(204);
    vi.spyOn(server.core.database, "write").mockRejectedValueOnce(Object.assign(new Error("full"), { code: "ENOSPC" }));
    expect((await put("on a full disk", plain, server.write)).status).toBe(204);
    for (const name of ["by nobody", "by a reader", "poisoned", "on a full disk"]) {
      expect((await server.fetch(`/go/action/${action(name)}`, server.read, wantObject)).status).toBe(404);
    }
  });

  it("has the old two hops where everyone may read, and only there", async () => {
    const plain = Buffer.from("for everyone");
    const open = await server.key({ permission: "write", caches: ["open"] });
    for (const [cache, key] of [["open", open], ["default", server.write]] as const) {
      expect((await server.fetch(`/c/${cache}/go/${action("two hops")}/${hash("sha256", plain)}`, key, { method: "PUT", body: new Uint8Array(plain) })).status).toBe(204);
    }
    const first = await server.fetch(`/c/open/go/action/${action("two hops")}`, open);
    expect(await first.json()).toEqual({ outputID: hash("sha256", plain), size: plain.length });
    expect(await (await server.fetch(`/c/open/go/output/${hash("sha256", plain)}`)).text()).toBe("for everyone");
    expect((await server.fetch(`/go/action/${action("two hops")}`, server.read)).status).toBe(404);
    expect((await server.fetch(`/go/output/${hash("sha256", plain)}`)).status).toBe(401);
  });
});

describe("our helper's wire", () => {
  const stored = async (names: readonly string[], key: string) => {
    const answer = await post("/go/v1/put", key, Buffer.concat(names.map((name, i) => record(name, Buffer.from(`output of ${name}`), i % 2 === 1))));
    expect(await answer.json()).toEqual({ stored: names.length, refused: [] });
  };

  it("streams what the last build used in the order of its first use", async () => {
    await stored(["x", "y", "z"], server.write);
    const big = output(3_000_000);
    await server.fetch(`/go/cache/${action("big")}`, server.write, cacheprogPut(big, true));
    const used = ["z", "big", "gone", "x"].map(action);
    expect((await post("/go/v1/manifest?label=build", server.write, formatIds(used))).status).toBe(200);
    const { actions, records: sent } = bundle(await bytes(await post("/go/v1/bundle?label=build", server.read, Buffer.alloc(0))));
    expect(actions).toEqual(used);
    expect(sent.map(({ head }) => [head.action, head.found])).toEqual(used.map((one) => [one, one !== action("gone")]));
    expect(zstdDecompressSync(sent[1]!.body).equals(big)).toBe(true);
    expect(sent[0]!.head.time).toBeGreaterThan(Date.now() - 60_000);
  });

  it("leaves out of the bundle what the client has", async () => {
    await stored(["mine", "theirs"], server.write);
    await post("/go/v1/manifest?label=have", server.write, formatIds(["mine", "theirs"].map(action)));
    const have = Buffer.from(action("mine"), "hex").subarray(0, HAVE_BYTES);
    expect(bundle(await bytes(await post("/go/v1/bundle?label=have", server.read, have))).actions).toEqual([action("theirs")]);
  });

  it("gives an action together with what was stored next to it in the same scope, later ones first", async () => {
    const pull = await server.key({ permission: "write", scope: "pull:near", reads: ["pull:near", "local:main"] });
    await stored(["n1"], server.write);
    await stored(["of a pull request"], pull);
    await stored(["n2"], server.write);
    await stored(["n3"], server.write);
    const near = async (key: string, name: string, have = Buffer.alloc(0)) => bundle(await bytes(await post(`/go/v1/bundle?near=${action(name)}`, key, have)));
    const { actions, records: sent } = await near(server.read, "n2");
    expect(actions.slice(0, 3)).toEqual(["n2", "n3", "n1"].map(action));
    expect(actions).not.toContain(action("of a pull request"));
    expect(sent.every(({ head }) => head.found)).toBe(true);
    expect((await near(server.read, "n2", Buffer.from(action("n3"), "hex").subarray(0, HAVE_BYTES))).actions.slice(0, 2)).toEqual(["n2", "n1"].map(action));
    expect((await near(pull, "of a pull request")).actions).toEqual([action("of a pull request")]);
    for (const name of ["never", "of a pull request"]) expect((await post(`/go/v1/bundle?near=${action(name)}`, server.read, Buffer.alloc(0))).status).toBe(404);
    expect((await post("/go/v1/bundle?near=x", server.read, Buffer.alloc(0))).status).toBe(404);
  });

  it("has no bundle before the first build", async () => {
    expect((await post("/go/v1/bundle?label=unheard-of", server.read, Buffer.alloc(0))).status).toBe(404);
  });

  it("gives several entries at once, and says which there are not", async () => {
    await stored(["p", "q"], server.write);
    const sent = records(await bytes(await post("/go/v1/get", server.read, formatIds(["p", "never", "q"].map(action)))));
    expect(sent.map(({ head }) => head.found)).toEqual([true, false, true]);
  });

  it("stores the good ones of several entries and names what is wrong with the others", async () => {
    const bad = record("bad", Buffer.from("body"));
    bad[bad.length - 1]! ^= 1;
    const answer = await post("/go/v1/put", server.write, Buffer.concat([record("good", Buffer.from("body")), bad]));
    expect(await answer.json()).toEqual({ stored: 1, refused: ["STOW_DIGEST_MISMATCH"] });
    expect((await server.fetch(`/go/cache/${action("bad")}`, server.read)).status).toBe(404);
  });

  it("refuses to store for a read-only key", async () => {
    expect((await post("/go/v1/put", server.read, record("r", Buffer.from("r")))).status).toBe(403);
    expect((await post("/go/v1/manifest?label=build", server.read, formatIds([action("x")]))).status).toBe(403);
  });

  it.each(["/go/v1/put", "/go/v1/get", "/go/v1/bundle?label=l", "/go/v1/manifest?label=l", "/go/v1/manifest"])("refuses other bytes at %s", async (path) => {
    expect((await post(path, server.write, Buffer.alloc(33, 7))).status).toBe(400);
  });
});

describe("a pull request", () => {
  it("reads main's actions and manifest, and writes neither", async () => {
    const pull = await server.key({ permission: "write", scope: "pull:7", reads: ["pull:7", "local:main"] });
    const path = `/go/cache/${action("shared")}`;
    await server.fetch(path, server.write, cacheprogPut(Buffer.from("of main"), false));
    await post("/go/v1/manifest?label=trust", server.write, formatIds([action("shared")]));
    expect(await (await server.fetch(path, pull)).text()).toBe("of main");
    expect(bundle(await bytes(await post("/go/v1/bundle?label=trust", pull, Buffer.alloc(0)))).actions).toEqual([action("shared")]);

    await server.fetch(path, pull, cacheprogPut(Buffer.from("poison"), false));
    await post("/go/v1/manifest?label=trust", pull, formatIds([action("evil")]));
    expect(await (await server.fetch(path, server.read)).text()).toBe("of main");
    expect(await (await server.fetch(`/go/action/${action("shared")}`, server.read, wantObject)).text()).toBe("of main");
    expect(bundle(await bytes(await post("/go/v1/bundle?label=trust", server.read, Buffer.alloc(0)))).actions).toEqual([action("shared")]);
  });
});

describe("pushed metrics", () => {
  it("go on to the configured endpoint, cacheprog's GET with a body too", async () => {
    const seen: unknown[] = [];
    const endpoint = createServer((request, response) => {
      let body = "";
      request.on("data", (chunk: Buffer) => (body += chunk)).on("end", () => {
        seen.push([request.method, request.url, request.headers["content-encoding"], request.headers["x-tenant"], request.headers.authorization, body]);
        response.writeHead(202).end();
      });
    });
    await new Promise<void>((done) => endpoint.listen(0, "127.0.0.1", done));
    const url = `http://127.0.0.1:${(endpoint.address() as AddressInfo).port}/metrics/job/go`;
    const proxy = await startGo({ protocols: { go: { metricsProxy: { endpoint: url, headers: { "x-tenant": "ci" } } } } });
    const push = await proxy.app.inject({ method: "GET", url: "/go/metricsproxy", headers: { authorization: `Bearer ${proxy.read}`, "content-encoding": "gzip", "content-type": "text/plain" }, payload: "zipped" });
    expect(push.statusCode).toBe(202);
    expect((await proxy.fetch("/go/metricsproxy", "", { method: "POST", body: "x" })).status).toBe(401);
    expect(seen).toEqual([["POST", "/metrics/job/go", "gzip", "ci", undefined, "zipped"]]);
    await new Promise((done) => endpoint.close(done));
    expect((await proxy.fetch("/go/metricsproxy", proxy.read, { method: "POST", body: "x" })).status).toBe(503);
    await proxy.stop();
    expect((await server.fetch("/go/metricsproxy", server.read, { method: "POST", body: "x" })).status).toBe(404);
  });
});
