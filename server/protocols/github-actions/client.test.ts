import { describe, expect, it } from "vitest";
import { client, env, failOpen } from "./client.ts";
import { decode, encode, RESPONSES, SERVICE, type CacheResponse, type Format, type Method } from "./wire.ts";

const rpc = (method: string) => `/twirp/${SERVICE}/${method}`;
const FORMATS: [Format, string][] = [["json", "application/json"], ["protobuf", "application/protobuf"]];
const via = (url: string) => url.replace("https://cache", "http://daemon");

function message<M extends Method>(method: M, format: Format, body: string | Uint8Array): CacheResponse<M> {
  return decode(RESPONSES[method], format, Buffer.from(body as Uint8Array)) as CacheResponse<M>;
}

describe("without a server", () => {
  it.each(FORMATS)("look-ups miss and saves are declined with a reason, in %s", (format, type) => {
    const look = failOpen("POST", rpc("GetCacheEntryDownloadURL"), type);
    expect([look.status, look.type.startsWith(type), message("GetCacheEntryDownloadURL", format, look.body).ok]).toEqual([200, true, false]);
    for (const method of ["CreateCacheEntry", "FinalizeCacheEntryUpload"] as const) {
      const save = message(method, format, failOpen("POST", rpc(method), type).body);
      expect([save.ok, save.message]).toEqual([false, "no cache server answers; the build goes on without"]);
    }
  });

  it("blobs and the legacy API get what no client tries again", () => {
    expect(failOpen("GET", "/_blob/read/default/1/a?se=1").status).toBe(404);
    expect(failOpen("PUT", "/_blob/write/default/1?se=1")).toMatchObject({ status: 507, headers: { "x-ms-request-id": expect.any(String) } });
    expect(failOpen("GET", "/_apis/artifactcache/cache?keys=a&version=b")).toMatchObject({ status: 204, body: "" });
    for (const method of ["POST", "PATCH"]) expect(failOpen(method, "/_apis/artifactcache/caches/1").status).toBe(400);
  });
});

describe("an answer", () => {
  const read = (method: Method, type: string, body: string | Uint8Array, status = 200) => client.read({ method: "POST", path: rpc(method), type }, status, Buffer.from(body as Uint8Array), via);

  it.each(FORMATS)("leads through the daemon where it holds a URL, in %s", (format, type) => {
    const hit = read("GetCacheEntryDownloadURL", type, encode(RESPONSES.GetCacheEntryDownloadURL, format, { ok: true, signedDownloadUrl: "https://cache/x?sig=1", matchedKey: "k" }))!;
    expect([hit.result, message("GetCacheEntryDownloadURL", format, hit.body!)]).toEqual(["hit", { ok: true, signedDownloadUrl: "http://daemon/x?sig=1", matchedKey: "k" }]);
    const reserved = read("CreateCacheEntry", type, encode(RESPONSES.CreateCacheEntry, format, { ok: true, signedUploadUrl: "https://cache/w?sig=1" }))!;
    expect([reserved.result, message("CreateCacheEntry", format, reserved.body!).signedUploadUrl]).toEqual(["other", "http://daemon/w?sig=1"]);
    const v1 = client.read({ method: "GET", path: "/_apis/artifactcache/cache", type: undefined }, 200, Buffer.from('{"archiveLocation":"https://cache/x","cacheKey":"k"}'), via)!;
    expect([v1.result, JSON.parse(v1.body as string)]).toEqual(["hit", { archiveLocation: "http://daemon/x", cacheKey: "k" }]);
  });

  it.each(FORMATS)("says hit, miss and stored, in %s", (format, type) => {
    expect(read("GetCacheEntryDownloadURL", type, encode(RESPONSES.GetCacheEntryDownloadURL, format, { ok: false }))!.result).toBe("miss");
    expect(read("FinalizeCacheEntryUpload", type, encode(RESPONSES.FinalizeCacheEntryUpload, format, { ok: true, entryId: 7 }))!.result).toBe("stored");
    expect(read("CreateCacheEntry", type, '{"code":"already_exists","msg":"…"}', 409)!.result).toBe("other");
    expect(client.read({ method: "GET", path: "/_apis/artifactcache/cache", type: undefined }, 204, Buffer.alloc(0), via)!.result).toBe("miss");
  });

  it("that is none of this protocol is of no use", () => {
    for (const body of ["", "<html>", '{"ok":tr', '{"ok":true}', "[]"]) expect(read("GetCacheEntryDownloadURL", "application/json", body)).toBeUndefined();
    expect(read("GetCacheEntryDownloadURL", "application/json", "not json", 404)).toBeUndefined();
  });
});

it("tools are told with a slash at the end, where v1 wants one", () => {
  expect(env({ url: "http://127.0.0.1:1", token: "t" })).toEqual({ ACTIONS_CACHE_SERVICE_V2: "true", ACTIONS_RESULTS_URL: "http://127.0.0.1:1/", ACTIONS_CACHE_URL: "http://127.0.0.1:1/", ACTIONS_RUNTIME_TOKEN: "t" });
});
