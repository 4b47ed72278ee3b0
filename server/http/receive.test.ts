import { once } from "node:events";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import { setInterval, clearInterval } from "node:timers";
import { setTimeout } from "node:timers/promises";
import type { FastifyRequest } from "fastify";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { KEYS, startApp, type TestApp } from "../../test/fixtures/app.ts";
import { openRaw } from "../../test/fixtures/raw-http.ts";
import { Receiver } from "./receive.ts";

/** What a request is to the receiver, without a connection. */
function request(raw: Readable, headers: Record<string, string> = {}): FastifyRequest {
  return { headers, raw, stow: { bytesIn: 0 } } as unknown as FastifyRequest;
}

async function all(stream: AsyncIterable<Buffer>): Promise<string> {
  let text = "";
  for await (const chunk of stream) text += chunk.toString();
  return text;
}

describe("a body on its way in", () => {
  const receiver = (stall = 1_000, bodies = 2) => new Receiver({ stall, bodies, small: 10 });
  const quiet = () => new Readable({ read() {} });

  test("comes in order and is counted", async () => {
    const raw = quiet();
    const incoming = request(raw, { "content-length": "6" });
    const { size, stream } = receiver().body(incoming);
    const text = all(stream);
    for (const piece of ["ab", "cd", "ef"]) {
      raw.push(piece);
      await setTimeout(1);
    }
    raw.push(null);
    expect(await text).toBe("abcdef");
    expect(size).toBe(6);
    expect(incoming.stow.bytesIn).toBe(6);
  });

  test("without a Content-Length has no announced size; with a strange one it is refused", async () => {
    expect(receiver().body(request(Readable.from([Buffer.from("x")]))).size).toBeUndefined();
    for (const header of ["12x", "1e400", "99999999999999999999"]) expect(() => receiver().body(request(quiet(), { "content-length": header }))).toThrow(/Content-Length/);
  });

  test("that stops arriving is given up", async () => {
    const raw = quiet();
    const { stream } = receiver(30).body(request(raw));
    raw.push("some");
    await expect(all(stream)).rejects.toMatchObject({ code: "STOW_SLOW_CLIENT", status: 408 });
    // The connection is still there: the answer goes out on it.
    expect(raw.destroyed).toBe(false);
    expect(raw.listenerCount("readable")).toBe(0);
  });

  test("is not given up while its consumer is slow", async () => {
    const raw = quiet();
    const { stream } = receiver(30).body(request(raw));
    raw.push("one");
    let text = "";
    for await (const chunk of stream) {
      text += chunk.toString();
      await setTimeout(80);
      if (text === "one") raw.push("two");
      else raw.push(null);
    }
    expect(text).toBe("onetwo");
  });

  test("whose client leaves is incomplete, whenever that is", async () => {
    const before = quiet();
    before.destroy();
    await expect(all(receiver().body(request(before)).stream)).rejects.toMatchObject({ code: "STOW_CLIENT_GONE" });
    const during = quiet();
    during.push("some");
    const reading = all(receiver().body(request(during)).stream);
    await setTimeout(5);
    during.destroy();
    await expect(reading).rejects.toMatchObject({ code: "STOW_CLIENT_GONE" });
    const cut = Object.assign(Readable.from([Buffer.from("some")]), { complete: false });
    await expect(all(receiver().body(request(cut)).stream)).rejects.toMatchObject({ code: "STOW_CLIENT_GONE" });
  });

  test("that is wanted whole is bounded before it is kept", async () => {
    expect((await receiver().buffer(request(Readable.from([Buffer.from("123"), Buffer.from("45")])), 5)).toString()).toBe("12345");
    expect((await receiver().buffer(request(Readable.from([])), 0)).length).toBe(0);
    await expect(receiver().buffer(request(quiet(), { "content-length": "6" }), 5)).rejects.toMatchObject({ code: "STOW_TOO_LARGE" });
    let sent = 0;
    const endless = new Readable({ read() { sent += 3; this.push("abc"); }, highWaterMark: 3 });
    await expect(receiver().buffer(request(endless), 5)).rejects.toMatchObject({ code: "STOW_TOO_LARGE" });
    expect(sent).toBeLessThan(30);
    endless.destroy();
  });

  test("needs a place when it is large, and gives it back however it ends", async () => {
    const places = receiver(60, 1);
    const first = quiet();
    const holding = places.body(request(first, { "content-length": "11" })).stream;
    first.push("hello");
    const iterator = holding[Symbol.asyncIterator]();
    await iterator.next();
    // Small ones need none; a second large one waits, and is refused in the end.
    expect(await all(places.body(request(Readable.from([Buffer.from("small")]), { "content-length": "5" })).stream)).toBe("small");
    await expect(all(places.body(request(Readable.from([Buffer.from("chunked")]))).stream)).rejects.toMatchObject({ code: "STOW_TOO_MANY_UPLOADS", retryAfter: 5 });
    const waiting = all(places.body(request(Readable.from([Buffer.from("next")]))).stream);
    await iterator.return!();
    expect(await waiting).toBe("next");
    const stalled = all(places.body(request(quiet())).stream);
    await expect(stalled).rejects.toMatchObject({ code: "STOW_SLOW_CLIENT" });
    expect(await all(places.body(request(Readable.from([Buffer.from("free again")]))).stream)).toBe("free again");
  });
});

describe("bodies over HTTP", () => {
  const WRITE = `Authorization: Bearer ${KEYS.write}`;
  const READ = `Authorization: Bearer ${KEYS.read}`;
  let app: TestApp;
  let url: string;
  beforeAll(async () => {
    app = await startApp({ limits: { bodyStall: "1s", entrySize: "1MiB", jsonBody: "16KiB" }, inlineLimit: "1KiB" });
    url = await app.listen();
  });
  afterAll(() => app.close());

  const head = (path: string, ...headers: string[]) => `PUT ${path} HTTP/1.1\r\nHost: x\r\n${headers.map((one) => `${one}\r\n`).join("")}\r\n`;
  const stored = async (key: string) => (await app.app.inject({ url: `/plain/plain/${key}`, headers: { authorization: `Bearer ${KEYS.write}` } })).statusCode;
  /** Files of unfinished and of finished writes. */
  const files = async () => (await readdir(join(app.data, "blobs"), { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile() && entry.name.length >= 24).length;

  test("one that stalls gets 408, and leaves nothing behind", async () => {
    const connection = openRaw(url);
    connection.send(head("/plain/plain/stalls", WRITE, "Content-Length: 5000"));
    connection.send("x".repeat(2_000));
    const answer = await connection.until(/\r\n\r\n.*\}/s, 4_000);
    expect(answer).toMatch(/^HTTP\/1.1 408 /);
    expect(answer).toContain("STOW_SLOW_CLIENT");
    connection.socket.destroy();
    expect(await stored("stalls")).toBe(404);
    expect(await files()).toBe(0);
  });

  test("a JSON request that stalls gets 408 as well", async () => {
    const connection = openRaw(url);
    connection.send(`POST /v1/auth/session HTTP/1.1\r\nHost: x\r\n${WRITE}\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{"life`);
    expect(await connection.until(/\r\n\r\n.*\}/s, 4_000)).toMatch(/^HTTP\/1.1 408 /);
    connection.socket.destroy();
  });

  test("a client that leaves in the middle leaves nothing behind", async () => {
    const connection = openRaw(url);
    connection.send(head("/plain/plain/leaves", WRITE, "Content-Length: 500000"));
    connection.send("x".repeat(200_000));
    await setTimeout(50);
    expect(await files()).toBe(1);
    connection.socket.destroy();
    for (let i = 0; i < 100 && (await files()) > 0; i++) await setTimeout(10);
    expect(await files()).toBe(0);
    expect(await stored("leaves")).toBe(404);
  });

  test("an announced size that is too large is refused at once, and the answer arrives", async () => {
    const connection = openRaw(url);
    connection.send(head("/plain/plain/large", WRITE, "Content-Length: 1048577"));
    connection.send("x".repeat(100_000));
    expect(await connection.until(/\r\n\r\n.*\}/s)).toMatch(/^HTTP\/1.1 413 /);
    connection.socket.destroy();
  });

  test("a body without a size is cut off at the limit", async () => {
    const connection = openRaw(url);
    connection.send(head("/plain/plain/chunked", WRITE, "Transfer-Encoding: chunked"));
    const chunk = `10000\r\n${"x".repeat(0x10000)}\r\n`;
    for (let i = 0; i < 20; i++) connection.send(chunk);
    expect(await connection.until(/\r\n\r\n.*\}/s)).toMatch(/^HTTP\/1.1 413 /);
    connection.socket.destroy();
    expect(await stored("chunked")).toBe(404);
    for (let i = 0; i < 100 && (await files()) > 0; i++) await setTimeout(10);
    expect(await files()).toBe(0);
  });

  test("a chunked body is stored whole", async () => {
    const connection = openRaw(url);
    connection.send(head("/plain/plain/pieces", WRITE, "Transfer-Encoding: chunked", "Connection: close") + "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
    expect(await connection.closed()).toMatch(/^HTTP\/1.1 201 [^]*"size":5/);
  });

  test("a client that waits for our word gets it only when its body is wanted", async () => {
    const wanted = openRaw(url);
    wanted.send(head("/plain/plain/expects", WRITE, "Content-Length: 4", "Expect: 100-continue", "Connection: close"));
    await wanted.until(/^HTTP\/1.1 100 Continue\r\n\r\n$/);
    wanted.send("body");
    expect(await wanted.closed()).toMatch(/HTTP\/1.1 201 /);

    const json = openRaw(url);
    json.send(`POST /v1/auth/session HTTP/1.1\r\nHost: x\r\n${WRITE}\r\nContent-Type: application/json\r\nContent-Length: 2\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n`);
    await json.until(/^HTTP\/1.1 100 Continue\r\n\r\n$/);
    json.send("{}");
    expect(await json.closed()).toMatch(/HTTP\/1.1 200 /);
  });

  test.each([
    ["without a credential", "/plain/plain/k", [], 401],
    ["read-only", "/plain/plain/k", [READ], 403],
    ["too large", "/plain/plain/k", [WRITE, "Content-Length: 1048577"], 413],
    ["of an unknown cache", "/c/unknown/plain/plain/k", [WRITE], 404],
    ["to nowhere", "/nowhere", [WRITE], 404],
  ])("a refusal comes before the body and without 100 Continue: %s", async (_, path, headers, status) => {
    const connection = openRaw(url);
    const size = headers.some((one) => one.startsWith("Content-Length")) ? [] : ["Content-Length: 4"];
    connection.send(head(path, ...headers, ...size, "Expect: 100-continue"));
    // The connection can't be used again: nobody knows whether the body will still come.
    expect(await connection.closed(2_000)).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
  });

  test("after a refusal the rest of a small body is read, and the connection goes on", async () => {
    const connection = openRaw(url);
    connection.send(head("/plain/plain/k", READ, "Content-Length: 10") + "0123456789");
    await connection.until(/^HTTP\/1.1 403 [^]*\}$/);
    connection.send(head("/plain/plain/after", WRITE, "Content-Length: 2") + "ok");
    expect(await connection.until(/HTTP\/1.1 201 [^]*\}$/)).toMatch(/"size":2/);
    connection.socket.destroy();
  });

  test("after a refusal an endless body is cut off", async () => {
    const connection = openRaw(url);
    connection.send(head("/plain/plain/k", READ, "Transfer-Encoding: chunked"));
    await connection.until(/^HTTP\/1.1 403 /);
    const began = performance.now();
    const more = setInterval(() => connection.send("400\r\n" + "x".repeat(0x400) + "\r\n"), 50);
    await once(connection.socket, "close");
    clearInterval(more);
    expect(performance.now() - began).toBeLessThan(5_000);
  });
});
