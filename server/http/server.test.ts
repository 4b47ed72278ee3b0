import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { KEYS, startApp, type TestApp } from "../../test/fixtures/app.ts";
import { openRaw } from "../../test/fixtures/raw-http.ts";

const WRITE = `Authorization: Bearer ${KEYS.write}`;
const AUTH = { authorization: `Bearer ${KEYS.write}` };

describe("the server", () => {
  let app: TestApp;
  let url: string;
  beforeAll(async () => {
    app = await startApp({ limits: { headersTimeout: "1s", headerSize: "4KiB" }, caches: { other: {} } });
    url = await app.listen();
  });
  afterAll(() => app.close());

  test.each([
    ["garbage", "this is no HTTP\r\n\r\n", 400],
    ["a head that is too large", `GET / HTTP/1.1\r\nHost: x\r\nX-Large: ${"x".repeat(5_000)}\r\n\r\n`, 431],
    ["two lengths", "PUT /plain/plain/k HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400],
    ["a length and chunks", "PUT /plain/plain/k HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400],
    ["a negative length", "PUT /plain/plain/k HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400],
    ["no host", "GET / HTTP/1.1\r\n\r\n", 400],
  ])("answers %s with a plain refusal and a closed connection", async (_, text, status) => {
    const connection = openRaw(url);
    connection.send(text);
    expect(await connection.closed()).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
  });

  test("gives up a head that does not arrive, and a connection that says nothing", async () => {
    const [slow, silent] = [openRaw(url), openRaw(url)];
    slow.send("GET / HTTP/1.1\r\nHost:");
    expect(await slow.closed(4_000)).toMatch(/^HTTP\/1.1 408 /);
    await silent.closed(4_000);
  });

  test.each(["/nowhere", "/c/other/nowhere", "/c/UPPER/plain/plain/k", "/c/other", "/c//plain/plain/k", "/c/other/c/other/plain/plain/k", "/../etc/passwd", "/c/..%2f/x"])("knows no %s", async (path) => {
    const answer = await app.app.inject({ url: path, headers: AUTH });
    expect(answer.statusCode).toBe(404);
    expect(answer.json()).toMatchObject({ error: { code: "STOW_NO_ROUTE" } });
  });

  test.each(["/plain/plain/%zz", "/%", "/plain/plain/%c3%28"])("refuses the broken path %s", async (path) => {
    const connection = openRaw(url);
    connection.send(`GET ${path} HTTP/1.1\r\nHost: x\r\n${WRITE}\r\nConnection: close\r\n\r\n`);
    expect(await connection.closed()).toMatch(/^HTTP\/1.1 400 [^]*STOW_BAD_REQUEST/);
  });

  test("refuses JSON that is none, too large, of another type, or that would change prototypes", async () => {
    const post = (payload: string, type = "application/json") => app.app.inject({ method: "POST", url: "/v1/auth/session", headers: { ...AUTH, "content-type": type }, payload });
    expect((await post("{")).statusCode).toBe(400);
    expect((await post("")).statusCode).toBe(400);
    expect((await post('{"lifetime":"soon"}')).statusCode).toBe(400);
    expect((await post('{"__proto__":{"write":true}}')).statusCode).toBe(400);
    expect((await post(`{"read":["${"x".repeat(2 << 20)}"]}`)).statusCode).toBe(413);
    expect((await post("{}", "text/plain")).statusCode).toBe(415);
    expect((await post("{}", "application/x-protobuf")).statusCode).toBe(415);
    expect((await post("{}")).statusCode).toBe(200);
  });

  test("never shows what went wrong inside, but logs it", async () => {
    const { catalog } = app.core;
    const get = catalog.get.bind(catalog);
    catalog.get = () => {
      throw new Error("secret detail");
    };
    const answer = await app.app.inject({ url: "/plain/plain/k", headers: AUTH });
    catalog.get = get;
    expect([answer.statusCode, answer.json().error.code]).toEqual([503, "STOW_INTERNAL"]);
    expect(answer.body).not.toContain("secret detail");
    expect(await app.logged()).toContain("secret detail");
  });

  test("logs every request in a line of JSON, without its query", async () => {
    await app.app.inject({ url: `/plain/plain/${encodeURIComponent('quo"te')}?sig=secret-signature`, headers: AUTH });
    await app.app.inject({ method: "PUT", url: "/plain/plain/logged?version=1", headers: AUTH, payload: "12345" });
    const lines = (await app.logged()).split("\n").filter((line) => line.includes('"msg":"request"')).map((line) => JSON.parse(line));
    expect(lines.at(-1)).toMatchObject({ method: "PUT", path: "/plain/plain/logged", status: 201, in: 5, protocol: "plain", op: "put", result: "stored", cache: "default", actor: expect.stringMatching(/^key:config-write/), address: "127.0.0.1" });
    expect(lines.at(-2)).toMatchObject({ path: "/plain/plain/quo%22te", status: 404, result: "miss" });
    expect(await app.logged()).not.toContain("secret-signature");
  });
});

describe("addresses and origins behind proxies", () => {
  const forwarded = { "x-forwarded-for": "203.0.113.7", "x-forwarded-proto": "https", "x-forwarded-host": "cache.example.com" };
  const about = async (app: TestApp, remoteAddress: string, headers: Record<string, string>) => {
    await app.app.inject({ url: "/plain/plain/k", remoteAddress, headers: { ...AUTH, ...headers } });
    const line = (await app.logged()).split("\n").filter((one) => one.includes('"msg":"request"')).at(-1)!;
    return (JSON.parse(line) as { address: string }).address;
  };

  test("nobody's headers are believed by default", async () => {
    const app = await startApp();
    onTestFinished(() => app.close());
    expect(await about(app, "10.0.0.1", forwarded)).toBe("10.0.0.1");
    expect(await about(app, "127.0.0.1", forwarded)).toBe("127.0.0.1");
  });

  test("only configured proxies' headers are, and of those the last address not a proxy's", async () => {
    const app = await startApp({ trustedProxies: ["10.0.0.0/8"] });
    onTestFinished(() => app.close());
    expect(await about(app, "10.0.0.1", forwarded)).toBe("203.0.113.7");
    expect(await about(app, "10.0.0.1", { "x-forwarded-for": "1.2.3.4, 203.0.113.7, 10.0.0.2" })).toBe("203.0.113.7");
    expect(await about(app, "192.0.2.1", forwarded)).toBe("192.0.2.1");
    expect(await about(app, "127.0.0.1", forwarded)).toBe("127.0.0.1");
    // A proxy that hands on what it was given can't break the log.
    expect(await about(app, "10.0.0.1", { "x-forwarded-for": 'x" "level' })).toBe('x" "level');
  });
});
