import { describe, expect, it } from "vitest";
import { client, env } from "./client.ts";

const [a, b] = ["a".repeat(64), "b".repeat(64)];

describe("without a server", () => {
  it.each([
    ["GET", `/go/cache/${a}`, 404],
    ["GET", `/go/action/${a}`, 404],
    ["GET", `/go/output/${a}`, 404],
    ["POST", "/go/v1/bundle?label=x", 404],
    ["POST", "/go/v1/get", 404],
    ["PUT", `/go/cache/${a}?prefix=p`, 200],
    ["PUT", `/go/${a}/${b}`, 204],
    ["POST", "/go/v1/put", 503],
    ["POST", "/go/v1/manifest?label=x", 503],
    ["POST", "/go/metricsproxy", 503],
  ])("%s %s is answered so that the build goes on", (method, path, status) => {
    expect(client.serves(path.split("?")[0]!)).toBe(true);
    expect(client.failOpen(method, path).status).toBe(status);
  });
});

describe("an answer of a server", () => {
  const request = (method: string, path: string) => ({ method, path, type: undefined });

  it("is read for what it says", () => {
    const via = (url: string) => url;
    expect(client.read(request("GET", `/go/cache/${a}`), 200, undefined, via)).toEqual({ result: "hit" });
    expect(client.read(request("POST", "/go/v1/bundle"), 404, undefined, via)).toEqual({ result: "miss" });
    expect(client.read(request("PUT", `/go/${a}/${b}`), 204, Buffer.alloc(0), via)).toEqual({ result: "stored" });
    expect(client.read(request("PUT", `/go/cache/${a}`), 502, Buffer.from("<html>"), via)).toBeUndefined();
  });
});

it("our helper is told where the server is", () => {
  expect(env({ url: "http://127.0.0.1:8420/", token: "t" })).toEqual({ STOWHOUSE_SERVER: "http://127.0.0.1:8420", STOWHOUSE_TOKEN: "t" });
});
