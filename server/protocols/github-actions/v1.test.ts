import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { StowError } from "../../core/errors.ts";
import { Client, pathOf, startGha, VERSION, type GhaServer } from "../../../test/fixtures/github-actions.ts";
import { parseContentRange } from "./v1-wire.ts";

let server: GhaServer;
let writer: Client;
let reader: Client;

beforeAll(async () => {
  server = await startGha();
  writer = new Client(server, server.write);
  reader = new Client(server, server.read);
});
afterAll(() => server.stop());

const reserve = async (key: string): Promise<number> => (await writer.v1("POST", "caches", { key, version: VERSION, cacheSize: 6 })).json<{ cacheId: number }>().cacheId;

const chunk = (id: number, start: number, text: string, client = writer) =>
  client.send("PATCH", `/_apis/artifactcache/caches/${id}`, { "content-type": "application/octet-stream", "content-range": `bytes ${start}-${start + text.length - 1}/*` }, text);

async function save(key: string, ...chunks: [start: number, text: string][]): Promise<void> {
  const id = await reserve(key);
  for (const [start, text] of chunks) expect((await chunk(id, start, text)).statusCode).toBe(204);
  const size = chunks.reduce((sum, [, text]) => sum + text.length, 0);
  expect((await writer.v1("POST", `caches/${id}`, { size })).statusCode).toBe(204);
}

async function restore(keys: string, client = reader): Promise<[string, string] | undefined> {
  const response = await client.v1("GET", `cache?keys=${encodeURIComponent(keys)}&version=${VERSION}`);
  if (response.statusCode === 204) return undefined;
  const { cacheKey, archiveLocation } = response.json<{ cacheKey: string; archiveLocation: string }>();
  return [cacheKey, (await client.download(pathOf(archiveLocation))).body];
}

test("chunks sent in any order come back in the order of their bytes", async () => {
  await save("order", [4, "56"], [0, "12"], [2, "34"]);
  expect(await restore("order")).toEqual(["order", "123456"]);
});

test("a miss is 204 without a body", async () => {
  const response = await reader.v1("GET", `cache?keys=never&version=${VERSION}`);
  expect([response.statusCode, response.body]).toEqual([204, ""]);
});

test("keys after the first are prefixes", async () => {
  await save("pre-1", [0, "one"]);
  await save("pre-2", [0, "two"]);
  expect(await restore("pre-3,pre-")).toEqual(["pre-2", "two"]);
});

test("what v2 saved is found, and the other way round", async () => {
  await writer.save("v2", "body");
  expect(await restore("v2")).toEqual(["v2", "body"]);
  await save("v1", [0, "old"]);
  expect(await reader.restore("v1")).toBe("old");
});

test("an answer has all its fields", async () => {
  await save("fields", [0, "x"]);
  expect((await reader.v1("GET", `cache?keys=fields&version=${VERSION}`)).json()).toEqual({
    cacheKey: "fields", scope: "local:main", creationTime: expect.stringMatching(/^\d{4}-.*Z$/), archiveLocation: expect.stringMatching(/^http:\/\/cache\.example\/_blob\/read\//),
  });
});

test("a taken key is 409 with the name BuildKit's library knows", async () => {
  await save("taken", [0, "x"]);
  const response = await writer.v1("POST", "caches", { key: "taken", version: VERSION });
  expect([response.statusCode, response.json()]).toEqual([409, { message: expect.stringContaining("exists already"), typeKey: "ArtifactCacheItemAlreadyExistsException" }]);
});

describe("a commit", () => {
  test.each([
    ["with a gap", [[0, "12"], [4, "56"]], 4],
    ["with an overlap", [[0, "123"], [2, "34"]], 5],
    ["of another size", [[0, "123456"]], 5],
    ["of nothing", [], 6],
  ] as [string, [number, string][], number][])("%s is refused", async (name, chunks, size) => {
    const id = await reserve(name);
    for (const [start, text] of chunks) await chunk(id, start, text);
    const response = await writer.v1("POST", `caches/${id}`, { size });
    expect([response.statusCode, response.json()]).toEqual([400, { message: expect.any(String), typeKey: "STOW_BAD_REQUEST" }]);
  });

  test("takes the last of a chunk sent twice", async () => {
    const id = await reserve("twice");
    await chunk(id, 0, "old");
    await chunk(id, 0, "new");
    await writer.v1("POST", `caches/${id}`, { size: 3 });
    expect(await restore("twice")).toEqual(["twice", "new"]);
  });
});

test("a chunk whose length isn't that of its range is refused", async () => {
  const id = await reserve("length");
  const response = await writer.send("PATCH", `/_apis/artifactcache/caches/${id}`, { "content-range": "bytes 0-9/*" }, "short");
  expect([response.statusCode, response.json()]).toMatchObject([400, { typeKey: "STOW_DIGEST_MISMATCH" }]);
});

test("a reservation is its scope's alone", async () => {
  const other = new Client(server, (await server.identity.keys.create({ name: "other", permission: "write", scope: "team:other" })).key);
  const id = await reserve("mine");
  expect((await chunk(id, 0, "x", other)).statusCode).toBe(404);
  expect((await other.v1("POST", `caches/${id}`, { size: 0 })).statusCode).toBe(404);
});

test("a read-only credential is told so in the words the toolkit knows", async () => {
  const response = await reader.v1("POST", "caches", { key: "denied", version: VERSION });
  expect([response.statusCode, response.json()]).toEqual([403, { message: expect.stringMatching(/^cache write denied: /), typeKey: "STOW_FORBIDDEN_WRITE" }]);
});

test("the list for debugging shows the credential's own scopes", async () => {
  const other = new Client(server, (await server.identity.keys.create({ name: "third", permission: "write", scope: "team:third" })).key);
  await other.save("list-foreign", "x");
  await save("list-1", [0, "x"]);
  expect((await reader.v1("GET", "caches?key=list-")).json()).toEqual({
    totalCount: 1, artifactCaches: [{ cacheKey: "list-1", cacheVersion: VERSION, scope: "local:main", creationTime: expect.any(String) }],
  });
});

test.each([
  ["GET", "cache", undefined, 400], ["GET", "cache?keys=a&keys=b&version=v", undefined, 400], ["POST", "caches", { key: 1 }, 400], ["POST", "caches", [], 400], ["POST", "caches/abc", { size: 1 }, 400],
  ["POST", "caches/123", { size: 1 }, 404], ["DELETE", "caches/123", undefined, 404], ["GET", "nothing", undefined, 404],
])("%s %s is refused in JSON", async (method, path, body, status) => {
  const response = await writer.v1(method, path, body);
  expect([response.statusCode, response.json()]).toEqual([status, { message: expect.any(String), typeKey: expect.any(String) }]);
});

test("ranges are read or refused, never anything else", () => {
  expect(parseContentRange("bytes 0-99/*")).toEqual({ start: 0, end: 100 });
  expect(parseContentRange("bytes 33554432-33554432/33554433")).toEqual({ start: 33_554_432, end: 33_554_433 });
  const piece = fc.oneof(fc.constantFrom("bytes", " ", "-", "/", "*", "0", "99"), fc.string({ maxLength: 4 }));
  fc.assert(fc.property(fc.array(piece, { maxLength: 8 }), (pieces) => {
    try {
      const { start, end } = parseContentRange(pieces.join(""));
      expect(start).toBeLessThan(end);
    } catch (error) {
      expect(error).toBeInstanceOf(StowError);
    }
  }));
});
