import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { env, failOpen } from "./client.ts";
import { boundaryOf, FormParser } from "./multipart.ts";
import { artifactPath, downloadPath, formatList, formatLookup, metadataPath, parseList, parseLookup, resolveDownload, uploadForm } from "./wire.ts";

const json = fc.json();

describe("the wire", () => {
  it("keeps any key one segment of a path", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme", minLength: 1 }), (key) => {
        for (const path of [artifactPath(key), downloadPath(key)]) expect([path.split("/").length, decodeURIComponent(path.split("/")[3]!)]).toEqual([4, key]);
        expect(metadataPath(key)).toBe(`${artifactPath(key)}/metadata`);
      }),
    );
  });

  it("reads a look-up back, and takes nothing else for one", () => {
    expect(parseLookup(formatLookup("/v1/download/a"))).toBe("/v1/download/a");
    for (const text of ["", "{", "null", "[]", "{}", '{"downloadUrl":""}', '{"downloadUrl":1}']) expect(parseLookup(text)).toBeUndefined();
    fc.assert(fc.property(json, (text) => void parseLookup(text)));
  });

  it("reads a list back, and takes nothing else for one", () => {
    const artifacts = [{ key: "a", size: 1, created: 1_000, accessed: 2_000 }];
    expect(parseList(formatList({ artifacts, next: "7" }))).toEqual({ artifacts, next: "7" });
    for (const text of ["", "null", "[]", "{}", '{"artifacts":{}}']) expect(parseList(text)).toBeUndefined();
    expect(parseList('{"artifacts":[null,{"key":1,"size":1},{"key":"a"}]}')).toEqual({ artifacts: [], next: null });
    fc.assert(fc.property(json, (text) => void parseList(text)));
  });

  it("writes forms our own parser reads", () => {
    fc.assert(
      fc.property(json, fc.uint8Array(), (metadata, bytes) => {
        const { type, before, after } = uploadForm("boundary-7f3a", metadata);
        const parser = new FormParser(boundaryOf(type)!);
        const events = [before, Buffer.from(bytes), after].flatMap((chunk) => parser.push(chunk));
        const parts = new Map<string, Buffer>();
        let name = "";
        for (const event of events) {
          if (Buffer.isBuffer(event)) parts.set(name, Buffer.concat([parts.get(name)!, event]));
          else parts.set((name = event.name), Buffer.alloc(0));
        }
        expect([parser.complete, parts.get("metadata")?.toString(), parts.get("file")]).toEqual([true, metadata, Buffer.from(bytes)]);
      }),
    );
  });
});

describe("a download URL", () => {
  it.each([
    ["https://host", "/v1/download/a", "https://host/v1/download/a"],
    ["https://host/c/team", "/c/team/v1/download/a", "https://host/c/team/v1/download/a"],
    ["https://host/prefix/", "/v1/download/a", "https://host/prefix/v1/download/a"],
    ["https://host/prefix", "v1/download/a", "https://host/prefix/v1/download/a"],
    ["https://host/prefix", "https://bucket.example.com/a?sig=1", "https://bucket.example.com/a?sig=1"],
    ["https://host", "//other/a", "https://other/a"],
  ])("of %s and %s is %s", (base, path, url) => {
    expect(resolveDownload(base, path)?.href).toBe(url);
  });

  it.each(["file:///etc/passwd", "javascript:alert(1)", "http://", "https://[", "data:,a"])("is not %s", (path) => {
    expect(resolveDownload("https://host", path)).toBeUndefined();
  });

  it("never fails, whatever a server says", () => {
    fc.assert(fc.property(fc.oneof(fc.string(), fc.webUrl()), (path) => void resolveDownload("https://host/c/team", path)));
  });
});

describe("nip's environment", () => {
  it("names server and key", () => {
    expect(env({ url: "https://host/c/team/", token: "key" })).toEqual({ NIP_REMOTE_CACHE_URL: "https://host/c/team", NIP_REMOTE_CACHE_API_KEY: "key", NIP_REMOTE_CACHE_ENABLED: "true" });
    expect(env({ url: "https://host" })).not.toHaveProperty("NIP_REMOTE_CACHE_API_KEY");
  });
});

describe("without a server", () => {
  it.each([
    ["GET", "/v1/artifacts/a", 404],
    ["HEAD", "/nip/v1/artifacts/a", 404],
    ["GET", "/v1/artifacts/a/metadata", 404],
    ["GET", "/v1/download/a?x=1", 404],
    ["GET", "/v1/health", 503],
    ["GET", "/nip/v1/health?x", 503],
    ["POST", "/v1/artifacts/a", 503],
  ])("%s %s is %i, in JSON", (method, path, status) => {
    const answer = failOpen(method, path);
    expect([answer.status, JSON.parse(String(answer.body))]).toEqual([status, { error: status === 404 ? "not found" : "unavailable" }]);
  });
});
