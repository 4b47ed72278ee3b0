import { createServer } from "node:http";
import { afterEach, describe, expect, it } from "vitest";
import { Loopback } from "../../test/fixtures/loopback.ts";
import { bypasses, join, open, parseAuthority } from "./tunnel.ts";

const loopback = new Loopback();
afterEach(() => loopback.close());

/** What the other end of a tunnel says to "hello". */
async function said(target: URL, proxies: Parameters<typeof open>[1]): Promise<string> {
  const socket = await open({ host: target.hostname, port: Number(target.port) }, proxies);
  socket.resume().write("hello");
  return new Promise((resolve, reject) => socket.once("data", (data) => (socket.destroy(), resolve(data.toString()))).once("error", reject));
}

describe("an authority", () => {
  it("is a host and a port, or nothing", () => {
    expect(parseAuthority("A.example.com:443")).toEqual({ host: "a.example.com", port: 443 });
    expect(parseAuthority("[::1]:8080")).toEqual({ host: "::1", port: 8080 });
    expect(parseAuthority("a.example.com", 443)).toEqual({ host: "a.example.com", port: 443 });
    for (const wrong of ["a.example.com", "http://a:1", "a:b", "a:99999", "", undefined, "user@a:1"]) expect(parseAuthority(wrong)).toBeUndefined();
  });
});

describe("NO_PROXY", () => {
  it.each([
    ["*", true], ["example.com", true], [".example.com", true], ["*.example.com", true], ["a.example.com", true], ["x, a.example.com:443", true],
    ["a.example.com:80", false], ["b.example.com", false], ["ample.com", false], ["", false], [undefined, false],
  ])("%s says %s about a.example.com:443", (list, expected) => expect(bypasses(list, { host: "a.example.com", port: 443 })).toBe(expected));
});

describe("a tunnel", () => {
  it("goes straight, through the job's own proxy with its login, or past it", async () => {
    const echo = await loopback.tcp((socket) => socket.on("data", (data) => socket.write(`heard ${data.toString()}`)));
    const asked: unknown[] = [];
    const proxy = createServer().on("connect", (request, socket) => {
      asked.push([request.url, request.headers["proxy-authorization"]]);
      void open(parseAuthority(request.url)!, {}).then((remote) => {
        socket.write("HTTP/1.1 200 OK\r\nVia: test\r\n\r\n");
        join(socket, remote);
      });
    });
    const { host } = await loopback.listen(proxy);
    expect(await said(echo, {})).toBe("heard hello");
    expect(await said(echo, { httpsProxy: `http://me:p%40ss@${host}` })).toBe("heard hello");
    expect(await said(echo, { httpsProxy: host })).toBe("heard hello");
    expect(await said(echo, { httpsProxy: host, noProxy: "127.0.0.1" })).toBe("heard hello");
    expect(asked).toEqual([[echo.host, `Basic ${Buffer.from("me:p@ss").toString("base64")}`], [echo.host, undefined]]);
  });

  it("does not come about when the proxy refuses or nobody listens", async () => {
    const refusing = await loopback.listen(createServer().on("connect", (_, socket) => socket.end("HTTP/1.1 403 Forbidden\r\n\r\n")));
    await expect(open({ host: "example.com", port: 443 }, { httpsProxy: refusing.host })).rejects.toThrow("answered 403");
    await expect(open({ host: "127.0.0.1", port: Number((await loopback.dead()).port) }, {})).rejects.toThrow("ECONNREFUSED");
  });
});
