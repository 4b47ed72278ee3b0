import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Client, startGha, VERSION, type GhaServer } from "../../../test/fixtures/github-actions.ts";
import { SERVICE } from "./wire.ts";

let server: GhaServer;
let writer: Client;
let reader: Client;

beforeAll(async () => {
  server = await startGha({ caches: { default: {}, team: {} } });
  writer = new Client(server, server.write);
  reader = new Client(server, server.read);
});
afterAll(() => server.stop());

describe("saving and restoring", () => {
  test("what was saved is restored", async () => {
    await writer.save("npm-linux-1", "first");
    expect(await writer.lookup("npm-linux-1")).toMatchObject({ key: "npm-linux-1" });
    expect(await reader.restore("npm-linux-1")).toBe("first");
  });

  test("a miss is 200 with ok false", async () => {
    const response = await writer.twirp("GetCacheEntryDownloadURL", { key: "never", version: VERSION });
    expect([response.statusCode, response.headers["content-type"], response.body]).toEqual([200, "application/json; charset=utf-8", '{"ok":false}']);
  });

  test("another version is a miss", async () => {
    expect(await writer.lookup("npm-linux-1", [], "other")).toBeUndefined();
  });

  test("without an exact key the newest entry with the prefix is a hit, keys in their order", async () => {
    await writer.save("go-a-1", "1");
    await writer.save("go-a-2", "2");
    await writer.save("go-b-1", "3");
    expect(await writer.lookup("go-a-3", ["go-a-", "go-"])).toMatchObject({ key: "go-a-2" });
    expect(await writer.lookup("go-c", ["go-c", "go-"])).toMatchObject({ key: "go-b-1" });
    expect(await writer.lookup("go-a")).toMatchObject({ key: "go-a-2" });
    expect(await writer.lookup("go-a-1", ["go-"])).toMatchObject({ key: "go-a-1" });
  });

  test("keys may hold commas, slashes and any script", async () => {
    const key = "a,b/ç-漢字-🎉%2F";
    await writer.save(key, "x");
    expect(await reader.restore(key)).toBe("x");
  });

  test("finalize answers the entry's id as text", async () => {
    await writer.put(await writer.reserve("id"), "body");
    expect((await writer.finalize("id", 4)).json()).toEqual({ ok: true, entry_id: expect.stringMatching(/^\d+$/) });
  });

  test("finalize asked again, because its answer was lost, answers the same", async () => {
    await writer.put(await writer.reserve("again"), "body");
    const first = await writer.finalize("again", 4);
    expect((await writer.finalize("again", 4)).json()).toEqual(first.json());
    expect((await writer.finalize("again", 5)).statusCode).toBe(409);
  });

  test("both versions of the protocol see the same entries", async () => {
    await writer.save("shared-2", "from v2");
    const found = (await reader.v1("GET", `cache?keys=shared&version=${VERSION}`)).json<{ cacheKey: string; archiveLocation: string }>();
    expect(found).toMatchObject({ cacheKey: "shared-2", scope: "local:main" });
  });

  test("a cache named in the path is the one that is used", async () => {
    const admin = (await server.identity.keys.create({ name: "admin", permission: "admin", caches: ["*"] })).key;
    const team = new Client(server, admin, "/c/team");
    await team.save("only-team", "x");
    expect(await team.lookup("only-team")).toMatchObject({ key: "only-team", url: expect.stringMatching(/^\/_blob\/read\/team\//) });
    expect(await new Client(server, admin).lookup("only-team")).toBeUndefined();
  });
});

describe("protobuf", () => {
  test("saves, hits and misses as JSON does", async () => {
    const reserved = await writer.protobuf("CreateCacheEntry", { key: "sccache/a/b/c", version: VERSION });
    expect(reserved).toEqual({ ok: true, signedUploadUrl: expect.stringMatching(/^http:\/\/cache\.example\/[^/]+\/[^/]+.*\?./), message: "" });
    const { pathname, search } = new URL(reserved.signedUploadUrl);
    expect((await writer.put(pathname + search, "object")).statusCode).toBe(201);
    expect(await writer.protobuf("FinalizeCacheEntryUpload", { key: "sccache/a/b/c", version: VERSION, sizeBytes: 6 })).toEqual({ ok: true, entryId: expect.any(Number), message: "" });
    expect(await reader.protobuf("GetCacheEntryDownloadURL", { key: "sccache/a/b/c", version: VERSION })).toMatchObject({ ok: true, matchedKey: "sccache/a/b/c" });
    expect(await reader.protobuf("GetCacheEntryDownloadURL", { key: "sccache/x", version: VERSION })).toEqual({ ok: false, signedDownloadUrl: "", matchedKey: "" });
  });

  test("a denied write is the method's own answer", async () => {
    expect(await reader.protobuf("CreateCacheEntry", { key: "k", version: VERSION })).toEqual({ ok: false, signedUploadUrl: "", message: expect.stringMatching(/^cache write denied: /) });
  });
});

describe("reservations", () => {
  test("a key that is taken or being saved can't be reserved: 409 already_exists", async () => {
    await writer.reserve("once");
    const response = await writer.twirp("CreateCacheEntry", { key: "once", version: VERSION });
    expect([response.statusCode, response.json()]).toEqual([409, { code: "already_exists", msg: expect.any(String) }]);
    await writer.save("taken", "x");
    expect((await writer.twirp("CreateCacheEntry", { key: "taken", version: VERSION })).statusCode).toBe(409);
  });

  test("one that was left behind expires and the key can be reserved again", async () => {
    const short = await startGha({ limits: { uploadIdle: "1s" } });
    try {
      const client = new Client(short, short.write);
      const url = await client.reserve("crashed");
      await expect.poll(async () => (await client.twirp("CreateCacheEntry", { key: "crashed", version: VERSION })).statusCode, { timeout: 5_000, interval: 200 }).toBe(200);
      expect((await client.put(url, "too late")).statusCode).toBe(404);
    } finally {
      await short.stop();
    }
  });

  test("a size that differs from what was put is refused, and the right one is taken after it", async () => {
    await writer.put(await writer.reserve("size"), "12345");
    const wrong = await writer.finalize("size", 4);
    expect([wrong.statusCode, wrong.json()]).toEqual([400, { code: "invalid_argument", msg: expect.stringContaining("5 bytes were uploaded, 4 were announced") }]);
    expect(await writer.lookup("size")).toBeUndefined();
    expect((await writer.finalize("size", 5)).statusCode).toBe(200);
  });

  test("nothing put, or nothing reserved, can't be finalized", async () => {
    await writer.reserve("nothing");
    expect((await writer.finalize("nothing", 0)).json()).toMatchObject({ code: "invalid_argument" });
    expect((await writer.finalize("unknown", 0)).json()).toMatchObject({ code: "not_found" });
  });

  test("a credential of another scope can't finalize", async () => {
    const other = new Client(server, (await server.identity.keys.create({ name: "other", permission: "write", scope: "team:other" })).key);
    await writer.put(await writer.reserve("mine"), "x");
    expect((await other.finalize("mine", 1)).statusCode).toBe(404);
    expect((await writer.finalize("mine", 1)).statusCode).toBe(200);
    expect(await other.lookup("mine")).toBeUndefined();
  });

  test("two scopes save the same key side by side", async () => {
    const key = (scope: string) => server.identity.keys.create({ name: scope, permission: "write", scope });
    const [a, b] = [new Client(server, (await key("team:a")).key), new Client(server, (await key("team:b")).key)];
    await a.save("same", "a");
    await b.save("same", "b");
    expect([await a.restore("same"), await b.restore("same"), await reader.restore("same")]).toEqual(["a", "b", undefined]);
  });
});

describe("what can't be asked for", () => {
  test("a key has at most 512 characters", async () => {
    await writer.save("🎉".repeat(256), "x");
    expect((await writer.twirp("CreateCacheEntry", { key: "k".repeat(513), version: VERSION })).json()).toMatchObject({ code: "invalid_argument" });
    expect((await writer.twirp("GetCacheEntryDownloadURL", { key: "k", restoreKeys: ["k".repeat(513)], version: VERSION })).statusCode).toBe(400);
  });

  test("at most ten keys; the key itself may be repeated among its restore keys, as BuildKit does", async () => {
    const keys = (count: number) => Array.from({ length: count }, (_, i) => `r${i}`);
    const status = async (restoreKeys: string[]) => (await writer.twirp("GetCacheEntryDownloadURL", { key: "k", restoreKeys, version: VERSION })).statusCode;
    expect([await status(keys(9)), await status(["k", ...keys(9)]), await status(keys(10))]).toEqual([200, 200, 400]);
  });

  test.each([[{ key: "", version: VERSION }], [{ key: "k", version: "" }], [{ key: "a\nb", version: VERSION }], [{ key: "\ud800", version: VERSION }]])("%j is a bad request", async (message) => {
    for (const method of ["CreateCacheEntry", "GetCacheEntryDownloadURL", "FinalizeCacheEntryUpload"] as const) {
      const response = await writer.twirp(method, message);
      expect([response.statusCode, response.json()]).toEqual([400, { code: "invalid_argument", msg: expect.any(String) }]);
    }
  });
});

describe("every error below /twirp is a Twirp error in JSON", () => {
  const lookup = `/twirp/${SERVICE}/GetCacheEntryDownloadURL`;
  const json = { "content-type": "application/json" };
  const protobuf = { "content-type": "application/protobuf" };

  test.each([
    ["an unknown method", "POST", `/twirp/${SERVICE}/DeleteCacheEntry`, json, "{}", 404, "bad_route"],
    ["another service", "POST", "/twirp/github.actions.results.api.v1.ArtifactService/CreateArtifact", json, "{}", 404, "bad_route"],
    ["the folder", "GET", "/twirp/", {}, undefined, 404, "bad_route"],
    ["the bare name", "GET", "/twirp", {}, undefined, 404, "bad_route"],
    ["GET", "GET", lookup, {}, undefined, 404, "bad_route"],
    ["broken JSON", "POST", lookup, json, "{", 400, "invalid_argument"],
    ["JSON that is no object", "POST", lookup, json, "[]", 400, "invalid_argument"],
    ["a field of a wrong type", "POST", lookup, json, '{"key":1}', 400, "invalid_argument"],
    ["broken protobuf", "POST", lookup, protobuf, "\u0012\u00ff", 400, "invalid_argument"],
    ["no body", "POST", lookup, json, undefined, 400, "invalid_argument"],
    ["an unknown content type", "POST", lookup, { "content-type": "text/plain" }, "{}", 415, "invalid_argument"],
    ["too large a body", "POST", lookup, json, `{"key":"${"k".repeat(70_000)}"}`, 413, "invalid_argument"],
  ])("%s", async (_, method, url, headers, body, status, code) => {
    const response = await writer.send(method, url, headers as Record<string, string>, body);
    expect([response.statusCode, response.headers["content-type"], response.json()]).toEqual([status, "application/json; charset=utf-8", { code, msg: expect.any(String) }]);
  });

  test.each([["no credential", undefined], ["a wrong one", "stow_rw_nonsense"], ["a forged token", "eyJhbGciOiJub25lIn0.eyJpc3MiOiJzdG93aG91c2UifQ."]])("%s", async (_, token) => {
    const response = await new Client(server, token).twirp("GetCacheEntryDownloadURL", { key: "k", version: VERSION });
    expect([response.statusCode, response.json()]).toEqual([401, { code: "unauthenticated", msg: expect.any(String) }]);
  });

  test("a cache that isn't the credential's", async () => {
    const response = await new Client(server, server.write, "/c/team").twirp("GetCacheEntryDownloadURL", { key: "k", version: VERSION });
    expect([response.statusCode, response.json()]).toEqual([404, { code: "not_found", msg: expect.any(String) }]);
  });
});
