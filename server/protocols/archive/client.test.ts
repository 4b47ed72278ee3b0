import { expect, test } from "vitest";
import { client, env, failOpen } from "./client.ts";
import { blobsPath, bodyPath, commitPath, FIND, havePath, RESERVE } from "./wire.ts";

const mark = <T extends string | number>(handle: T): T => (typeof handle === "number" ? handle * 10 : `${handle}!`) as T;
const read = (path: string, body: object | string, status = 200) =>
  client.read({ method: "POST", path, type: "application/octet-stream" }, status, Buffer.from(typeof body === "string" ? body : JSON.stringify(body)), String, mark);

test("the action's steps get server and token", () => {
  expect(env({ url: "http://127.0.0.1:1", token: "t" })).toEqual({ STOWHOUSE_SERVER: "http://127.0.0.1:1", STOWHOUSE_TOKEN: "t" });
});

test("without a server its client is told so, by a status it gives up on at once", () => {
  expect(failOpen()).toMatchObject({ status: 504, body: expect.stringContaining("no cache server answers") });
});

test("an answer's handles are marked, and it counts as what it is", () => {
  expect(read(FIND, { hit: true, key: "k", id: 7 })).toEqual({ result: "hit", body: '{"hit":true,"key":"k","id":70}' });
  expect(read(FIND, { hit: false })).toEqual({ result: "miss" });
  expect(read(RESERVE, { upload: "u" }, 201)).toEqual({ result: "other", body: '{"upload":"u!"}' });
  expect(read(RESERVE, { committed: true, id: 7, size: 1 }, 201)).toMatchObject({ result: "stored" });
  expect(read(commitPath("u"), { id: 7, size: 1 })).toEqual({ result: "stored" });
  expect([read(commitPath("u"), { missing: ["d"] }), read(RESERVE, { error: {} }, 409), read(havePath("u"), "binary")]).toEqual([{ result: "other" }, { result: "other" }, { result: "other" }]);
});

test("an answer that can't be read is none", () => {
  for (const path of [FIND, RESERVE, commitPath("u")]) expect(read(path, "<html>")).toBeUndefined();
});

test("paths say what they are for, and whose they are", () => {
  const purpose = (method: string, path: string) => client.purpose({ method, path, type: undefined });
  expect([purpose("POST", FIND), purpose("GET", bodyPath(1)), purpose("POST", RESERVE), purpose("POST", blobsPath("u")), purpose("POST", commitPath("u")), purpose("POST", havePath("u"))]).toEqual(["lookup", "download", "reserve", "upload", "commit", "other"]);
  expect([bodyPath(12), blobsPath("u-1"), FIND].map((path) => client.handle!.exec(path)?.[1])).toEqual(["12", "u-1", undefined]);
});
