import Type from "typebox";
import { describe, expect, onTestFinished, test } from "vitest";
import { startApp } from "../../test/fixtures/app.ts";
import type { Protocol, ProtocolContext } from "../protocols/protocol.ts";
import { serverRefusals } from "./server.ts";

/** Answers the URL it would give a client. */
const mirror = {
  name: "mirror",
  options: Type.Object({}),
  keyspaces: [],
  refusals: serverRefusals,
  plugin(app, { urls }: ProtocolContext) {
    app.get("/mirror", { config: { op: "mirror", auth: "none" } }, (request, reply) => reply.send(urls.origin(request) + urls.path(request, "/there")));
  },
} satisfies Protocol;

async function start(config: object = {}) {
  const app = await startApp({ caches: { other: {} }, ...config }, [mirror]);
  onTestFinished(() => app.close());
  return async (headers: Record<string, string>, url = "/mirror", remoteAddress = "127.0.0.1") => (await app.app.inject({ url, headers, remoteAddress })).body;
}

const forwarded = { "x-forwarded-host": "evil.example", "x-forwarded-proto": "https" };

describe("a URL in an answer", () => {
  test("begins with what the client called the server, and keeps the cache's prefix", async () => {
    const ask = await start();
    expect(await ask({ host: "cache.example:8420" })).toBe("http://cache.example:8420/there");
    expect(await ask({ host: "[::1]:8420" })).toBe("http://[::1]:8420/there");
    expect(await ask({ host: "cache.example" }, "/c/other/mirror")).toBe("http://cache.example/c/other/there");
  });

  test("never repeats what is no host", async () => {
    const ask = await start({ listen: "127.0.0.1:8420" });
    for (const host of ["evil.example/path", "user@evil.example", "a b", "evil.example#", "<script>", "x".repeat(254), "evil.example:123456"]) {
      expect(await ask({ host }), host).toBe("http://127.0.0.1:8420/there");
    }
  });

  test("believes forwarded names and schemes from configured proxies alone", async () => {
    const ask = await start({ trustedProxies: ["10.0.0.0/8"] });
    expect(await ask({ host: "cache.example", ...forwarded }, "/mirror", "10.1.2.3")).toBe("https://evil.example/there");
    expect(await ask({ host: "cache.example", ...forwarded }, "/mirror", "192.0.2.1")).toBe("http://cache.example/there");
    expect(await (await start())({ host: "cache.example", ...forwarded }, "/mirror", "10.1.2.3")).toBe("http://cache.example/there");
  });

  test("is the configured one, whatever anybody says", async () => {
    const ask = await start({ url: "https://cache.example.com", trustedProxies: ["10.0.0.0/8"] });
    expect(await ask({ host: "other.example", ...forwarded }, "/c/other/mirror", "10.1.2.3")).toBe("https://cache.example.com/c/other/there");
  });
});
