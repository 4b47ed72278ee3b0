import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import fc from "fast-check";
import { expect, test } from "vitest";
import { StowError } from "../../core/errors.ts";
import { decode, encode, formatOf, REQUESTS, RESPONSES, type Format, type Method } from "./wire.ts";

const methods = Object.keys(REQUESTS) as Method[];
const formats: Format[] = ["json", "protobuf"];
const text = fc.string({ unit: "grapheme", maxLength: 60 });
const request = fc.record({ key: text, version: text, sizeBytes: fc.maxSafeInteger(), restoreKeys: fc.array(text, { maxLength: 10 }) });
const bytes = (value: string | Uint8Array) => Buffer.from(value as Uint8Array);
const pick = (shape: object, from: object) => Object.fromEntries(Object.entries(from).filter(([name]) => name in shape));

test("every request comes out of both formats as it went in", () => {
  fc.assert(fc.property(fc.constantFrom(...methods), fc.constantFrom(...formats), request, (method, format, all) => {
    const message = pick(REQUESTS[method], all);
    expect(decode(REQUESTS[method], format, bytes(encode(REQUESTS[method], format, message)))).toEqual(message);
  }));
});

test("every answer comes out of both formats as it went in", () => {
  const answer = fc.record({ ok: fc.boolean(), message: text, entryId: fc.nat(), signedUploadUrl: text, signedDownloadUrl: text, matchedKey: text });
  fc.assert(fc.property(fc.constantFrom(...methods), fc.constantFrom(...formats), answer, (method, format, all) => {
    const message = pick(RESPONSES[method], all);
    expect(decode(RESPONSES[method], format, bytes(encode(RESPONSES[method], format, message)))).toEqual(message);
  }));
});

test("any bytes decode or are refused as a bad request", () => {
  fc.assert(fc.property(fc.constantFrom(...methods), fc.constantFrom(...formats), fc.uint8Array({ maxLength: 200 }), (method, format, noise) => {
    try {
      decode(REQUESTS[method], format, noise);
    } catch (error) {
      expect(error).toBeInstanceOf(StowError);
      expect((error as StowError).status).toBe(400);
    }
  }), { numRuns: 2_000 });
});

test("any JSON decodes or is refused as a bad request", () => {
  const value = fc.dictionary(fc.constantFrom("key", "version", "size_bytes", "sizeBytes", "restore_keys", "metadata", "__proto__"), fc.jsonValue());
  fc.assert(fc.property(fc.constantFrom(...methods), value, (method, json) => {
    try {
      decode(REQUESTS[method], "json", Buffer.from(JSON.stringify(json)));
    } catch (error) {
      expect((error as StowError).status).toBe(400);
    }
  }));
});

test.each<[object, string]>([
  [{ key: "k", size_bytes: "300380", version: "v" }, "the toolkit writes int64 as text"],
  [{ key: "k", size_bytes: 300380, version: "v" }, "BuildKit writes it as a number"],
  [{ key: "k", sizeBytes: "300380", version: "v" }, "camelCase"],
  [{ key: "k", sizeBytes: 300380, version: "v", metadata: { repository_id: "1", scope: [{ scope: "main", permission: 3 }] }, extra: [1] }, "fields nobody reads"],
])("JSON %j is read (%s)", (json) => {
  expect(decode(REQUESTS.FinalizeCacheEntryUpload, "json", Buffer.from(JSON.stringify(json)))).toEqual({ key: "k", sizeBytes: 300_380, version: "v" });
});

test("fields left out, or null, have their defaults", () => {
  const wanted = { key: "k", restoreKeys: [], version: "" };
  expect(decode(REQUESTS.GetCacheEntryDownloadURL, "json", Buffer.from('{"key":"k","version":null}'))).toEqual(wanted);
  expect(decode(REQUESTS.GetCacheEntryDownloadURL, "protobuf", bytes(encode(REQUESTS.GetCacheEntryDownloadURL, "protobuf", { key: "k" })))).toEqual(wanted);
});

test("protobuf fields nobody reads are skipped, groups and wrong types among them", () => {
  const message = new BinaryWriter()
    .tag(1, WireType.LengthDelimited).bytes(Buffer.from([8, 1]))
    .tag(2, WireType.LengthDelimited).string("k")
    .tag(3, WireType.Varint).int64(7)
    .tag(3, WireType.LengthDelimited).string("v")
    .tag(90, WireType.Bit64).fixed64(1)
    .tag(91, WireType.StartGroup).tag(1, WireType.Varint).int32(1).tag(91, WireType.EndGroup)
    .finish();
  expect(decode(REQUESTS.CreateCacheEntry, "protobuf", message)).toEqual({ key: "k", version: "v" });
});

test("groups can't be nested without end", () => {
  expect(() => decode(REQUESTS.CreateCacheEntry, "protobuf", Buffer.alloc(60_000, 0x5b))).toThrow(StowError);
});

test("answers have their names in snake case, int64 as text, and always ok", () => {
  expect(encode(RESPONSES.GetCacheEntryDownloadURL, "json", { ok: false })).toBe('{"ok":false}');
  expect(encode(RESPONSES.FinalizeCacheEntryUpload, "json", { ok: true, entryId: 42 })).toBe('{"ok":true,"entry_id":"42"}');
  expect(encode(RESPONSES.CreateCacheEntry, "json", { ok: true, signedUploadUrl: "http://h/a/b?c" })).toBe('{"ok":true,"signed_upload_url":"http://h/a/b?c"}');
});

test("the content type tells the format", () => {
  expect(["application/json", "Application/JSON; charset=utf-8", "application/protobuf", "text/plain", "", undefined].map(formatOf)).toEqual(["json", "json", "protobuf", undefined, undefined, undefined]);
});
