import type { FastifyRequest } from "fastify";
import { afterEach, describe, expect, test } from "vitest";
import { errors, REFUSALS, StowError } from "../../core/errors.ts";
import { refusals } from "./status.ts";
import { Client, startGha, VERSION, type GhaServer } from "../../../test/fixtures/github-actions.ts";
import { SERVICE } from "./wire.ts";

const request = (url: string, op: string, contentType = "application/json") => ({ url, headers: { "content-type": contentType }, stow: { config: { op } } }) as unknown as FastifyRequest;

describe("every row on every wire", () => {
  const error = new StowError("STOW_TEST", 418, "badRequest", "a <message> & more");

  test.each(REFUSALS.flatMap((refusal) => ["lookup", "reserve", "commit", "other"].map((op) => [refusal, op] as const)))("Twirp: %s of %s is JSON that the toolkit takes at once", (refusal, op) => {
    const refused = refusals[refusal](error, request("/twirp/x", op));
    const body = JSON.parse(String(refused.body)) as { ok?: boolean; code?: string; msg?: string };
    if (refused.status === 200) expect(body.ok).toBe(false);
    else expect(body).toMatchObject({ code: expect.stringMatching(/^[a-z_]+$/), msg: expect.stringContaining("a <message>") });
    // The toolkit tries these again for half a minute.
    if (op !== "other") expect([500, 502, 503, 504]).not.toContain(refused.status);
  });

  test.each(REFUSALS)("blobs: %s is Azure's XML with a request id", (refusal) => {
    const refused = refusals[refusal](error, request("/_blob/write/x", "upload"));
    expect(refused.status).toBeGreaterThanOrEqual(400);
    expect(refused.body).toMatch(/^<\?xml version="1\.0" encoding="utf-8"\?><Error><Code>[A-Za-z]+<\/Code><Message>a &lt;message&gt; &amp; more<\/Message><\/Error>$/);
    expect(refused.headers).toMatchObject({ "x-ms-request-id": expect.any(String), "x-ms-error-code": expect.any(String) });
    if (refused.status === 503) expect(refused.headers).toMatchObject({ "retry-after": "1" });
  });

  test.each(REFUSALS)("v1: %s is JSON with a message, or a miss", (refusal) => {
    const refused = refusals[refusal](error, request("/_apis/artifactcache/cache", "lookup"));
    if (refused.status === 204) expect(refused.body).toBe("");
    else expect(JSON.parse(String(refused.body))).toMatchObject({ message: expect.stringContaining("a <message>"), typeKey: expect.any(String) });
  });

  test("a write that finds no place is declined, a client that comes too often is told when to come again", () => {
    expect(refusals.rateLimited(errors.tooManyUploads(), request("/twirp/x", "reserve")).status).toBe(200);
    expect(refusals.rateLimited(errors.rateLimited(), request("/twirp/x", "reserve")).status).toBe(429);
  });
});

describe("a server in trouble", () => {
  let server: GhaServer;
  const start = async (settings: Record<string, unknown> = {}) => {
    server = await startGha(settings);
    return new Client(server, server.write);
  };
  afterEach(() => server.stop());

  /** Makes operations of the database fail. */
  function fail(kind: "read" | "write", ...names: string[]): void {
    const { database } = server.core;
    const real = database[kind].bind(database) as (name: string, args: unknown) => unknown;
    (database as unknown as Record<string, unknown>)[kind] = (name: string, args: unknown) => (names.includes(name) ? Promise.reject(new Error("disk I/O error")) : real(name, args));
  }

  test("a look-up whose storage fails is a miss, in every form, and not a minute of retries", async () => {
    const client = await start();
    fail("read", "getEntry", "findPrefix");
    const message = { key: "k", version: VERSION };
    expect((await client.twirp("GetCacheEntryDownloadURL", message)).json()).toEqual({ ok: false });
    expect(await client.protobuf("GetCacheEntryDownloadURL", message)).toMatchObject({ ok: false });
    expect((await client.v1("GET", `cache?keys=k&version=${VERSION}`)).statusCode).toBe(204);
  });

  test("a save whose storage fails is declined with the reason", async () => {
    const client = await start();
    const url = await client.reserve("k");
    await client.put(url, "x");
    fail("write", "reserveUpload", "commitUpload", "addPart");
    for (const response of [await client.twirp("CreateCacheEntry", { key: "other", version: VERSION }), await client.finalize("k", 1)]) {
      expect([response.statusCode, response.json()]).toEqual([200, { ok: false, message: expect.stringContaining("could not be written") }]);
    }
    expect(await client.protobuf("CreateCacheEntry", { key: "other", version: VERSION })).toMatchObject({ ok: false, message: expect.stringContaining("could not be written") });
    const put = await client.put(url, "x");
    expect([put.statusCode, put.headers["retry-after"], put.headers["x-ms-error-code"]]).toEqual([503, "1", "ServerBusy"]);
    expect((await client.v1("POST", "caches", { key: "other", version: VERSION })).statusCode).toBe(503);
  });

  test("a download whose storage fails asks to be tried again, one whose bytes are gone is not there", async () => {
    const client = await start();
    await client.save("k", "body");
    const { url } = (await client.lookup("k"))!;
    fail("read", "blobBytes");
    const response = await client.download(url);
    expect([response.statusCode, response.headers["retry-after"], response.headers["x-ms-error-code"]]).toEqual([503, "1", "ServerBusy"]);
  });

  test("over quota, a save is declined with the words the toolkit knows", async () => {
    const client = await start({ caches: { default: { quota: "1KiB" } }, eviction: { interval: "1h" } });
    await client.save("full", "x".repeat(1000));
    const url = await client.reserve("k");
    const put = await client.put(url, "x".repeat(2000));
    expect([put.statusCode, put.headers["x-ms-error-code"]]).toEqual([507, "InsufficientStorage"]);
    const v1 = await client.v1("POST", "caches", { key: "v1", version: VERSION, cacheSize: 2000 });
    expect([v1.statusCode, v1.json()]).toEqual([400, { message: expect.stringMatching(/^insufficient usage: /), typeKey: "STOW_OVER_QUOTA" }]);
  });

  test("a blob larger than an entry may be is 413", async () => {
    const client = await start({ limits: { entrySize: "1KiB" } });
    const put = await client.put(await client.reserve("k"), "x".repeat(1025));
    expect([put.statusCode, put.headers["x-ms-error-code"]]).toEqual([413, "RequestBodyTooLarge"]);
    const v1 = await client.v1("POST", "caches", { key: "v1", version: VERSION, cacheSize: 1025 });
    expect([v1.statusCode, v1.json()]).toMatchObject([400, { typeKey: "STOW_TOO_LARGE" }]);
  });

  test("blocks that together are larger than an entry may be are refused at the end", async () => {
    const client = await start({ limits: { entrySize: "1KiB" } });
    const url = await client.reserve("k");
    for (const id of ["a", "b"]) await client.block(url, id, "x".repeat(1000));
    await client.blockList(url, "a", "b");
    const done = await client.finalize("k", 2000);
    expect([done.statusCode, done.json()]).toMatchObject([413, { code: "invalid_argument" }]);
  });

  test("open uploads of one credential are bounded", async () => {
    const client = await start({ limits: { uploads: 2 } });
    await client.reserve("a");
    await client.reserve("b");
    expect((await client.twirp("CreateCacheEntry", { key: "c", version: VERSION })).json()).toEqual({ ok: false, message: expect.stringContaining("Too many uploads") });
  });

  test("an anonymous reader restores what the default scope holds, and its save is refused", async () => {
    const client = await start({ caches: { default: { anonymousRead: true } } });
    await client.save("k", "body");
    const nobody = new Client(server, undefined);
    expect(await nobody.restore("k")).toBe("body");
    expect((await nobody.twirp("CreateCacheEntry", { key: "n", version: VERSION })).json()).toMatchObject({ code: "unauthenticated" });
  });

  test("a write-only credential is told that it can't read; sccache, which would not start, gets a miss", async () => {
    await start();
    const { key } = await server.identity.keys.create({ name: "write only", permission: "write", reads: [] });
    const client = new Client(server, key);
    await client.save("k", "x");
    const message = { key: "k", version: VERSION };
    const denied = await client.twirp("GetCacheEntryDownloadURL", message);
    expect([denied.statusCode, denied.json()]).toEqual([403, { code: "permission_denied", msg: expect.stringMatching(/^cache read denied: /) }]);
    expect(await client.protobuf("GetCacheEntryDownloadURL", message)).toMatchObject({ ok: false });
    expect((await client.v1("GET", `cache?keys=k&version=${VERSION}`)).statusCode).toBe(204);
  });

  test("a client that comes too often gets 429 in JSON and when to come again", async () => {
    await start({ limits: { requestsPerMinute: 3 }, caches: { default: { anonymousRead: true } } });
    const nobody = new Client(server, undefined);
    let last = await nobody.twirp("GetCacheEntryDownloadURL", { key: "k", version: VERSION });
    for (let i = 0; i < 4; i++) last = await nobody.twirp("GetCacheEntryDownloadURL", { key: "k", version: VERSION });
    expect([last.statusCode, last.json()]).toEqual([429, { code: "resource_exhausted", msg: expect.any(String) }]);
    expect(Number(last.headers["retry-after"])).toBeGreaterThan(0);
  });

  test("refusals reach a client that is still sending", async () => {
    const client = await start({ limits: { entrySize: "1KiB" } });
    const url = await server.app.listen({ host: "127.0.0.1", port: 0 });
    const headers = { authorization: `Bearer ${server.write}`, "content-type": "application/json", "x-ms-blob-type": "BlockBlob" };
    const sent = async (method: string, path: string) => {
      const response = await fetch(url + path, { method, headers, body: Buffer.alloc(4 << 20, " ") });
      return [response.status, response.headers.get("content-type"), await response.text()];
    };
    expect(await sent("POST", `/twirp/${SERVICE}/CreateCacheEntry`)).toEqual([413, "application/json; charset=utf-8", expect.stringContaining('"code":"invalid_argument"')]);
    expect(await sent("POST", "/twirp/unknown")).toEqual([404, "application/json; charset=utf-8", expect.stringContaining('"code":"bad_route"')]);
    expect(await sent("PUT", await client.reserve("k"))).toEqual([413, "application/xml", expect.stringContaining("RequestBodyTooLarge")]);
    expect(await sent("PUT", `${await client.reserve("l")}x`)).toEqual([403, "application/xml", expect.stringContaining("AuthenticationFailed")]);
  });

  test("metrics count what really happened, whatever the client was told", async () => {
    await start();
    fail("read", "getEntry");
    const url = await server.app.listen({ host: "127.0.0.1", port: 0 });
    const ask = (method: string, key: string) =>
      fetch(`${url}/twirp/${SERVICE}/${method}`, { method: "POST", headers: { authorization: `Bearer ${key}`, "content-type": "application/json" }, body: JSON.stringify({ key: "k", version: VERSION }) });
    expect([(await ask("GetCacheEntryDownloadURL", server.write)).status, (await ask("CreateCacheEntry", server.read)).status]).toEqual([200, 200]);
    const counted = async () => (await server.metrics.text()).split("\n").filter((line) => line.startsWith("stowhouse_requests_total{"));
    await expect.poll(counted).toEqual(expect.arrayContaining([
      'stowhouse_requests_total{protocol="github-actions",op="lookup",result="error"} 1',
      'stowhouse_requests_total{protocol="github-actions",op="reserve",result="denied"} 1',
    ]));
  });
});
