import { createHash } from "node:crypto";
import { once } from "node:events";
import { readdirSync, truncateSync, unlinkSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import Fastify, { type FastifyRequest } from "fastify";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { KEYS, startApp, type TestApp } from "../../test/fixtures/app.ts";
import { openRaw } from "../../test/fixtures/raw-http.ts";
import type { OpenBody } from "../core/bodies.ts";
import type { Entry } from "../core/entry.ts";
import { Sender } from "./send.ts";

const AUTH = { authorization: `Bearer ${KEYS.write}` };
const SMALL = "0123456789".repeat(10);
const LARGE = Buffer.from(Array.from({ length: 300_000 }, (_, i) => i % 251));

describe("a body on its way out", () => {
  let app: TestApp;
  let url: string;
  beforeAll(async () => {
    app = await startApp({ inlineLimit: "1KiB" });
    url = await app.listen();
    await put("small", SMALL);
    await put("large", LARGE);
    await put("empty", "");
  });
  afterAll(() => app.close());

  const put = async (key: string, body: string | Buffer<ArrayBuffer>) => expect((await fetch(`${url}/plain/plain/${key}`, { method: "PUT", headers: AUTH, body })).status).toBe(201);
  const ask = (key: string, headers: Record<string, string> = {}, method = "GET") => fetch(`${url}/plain/plain/${key}`, { method, headers: { ...AUTH, ...headers } });
  const bytes = async (answer: Response) => Buffer.from(await answer.arrayBuffer());
  const files = () => readdirSync(join(app.data, "blobs"), { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile() && entry.name.length > 64).map((entry) => join(entry.parentPath, entry.name));
  const whole: Record<string, Buffer> = { small: Buffer.from(SMALL), large: LARGE, empty: Buffer.alloc(0) };

  for (const key of ["small", "large", "empty"]) {
    describe(key, () => {
      test("comes whole, with its length, its hash as ETag and what caches may do", async () => {
        const answer = await ask(key);
        expect(answer.status).toBe(200);
        expect((await bytes(answer)).equals(whole[key]!)).toBe(true);
        expect(Object.fromEntries(answer.headers)).toMatchObject({
          "content-length": String(whole[key]!.length), "content-type": "application/octet-stream", "accept-ranges": "bytes", "cache-control": "private, no-cache",
          etag: expect.stringMatching(/^"[0-9a-f]{64}"$/), "last-modified": expect.stringMatching(/GMT$/),
        });
      });

      test("HEAD answers the same head without the body, whatever range it asks for", async () => {
        const get = await ask(key);
        await get.arrayBuffer();
        for (const headers of [{}, { range: "bytes=0-0" }, { range: "bytes=999999999-" }]) {
          const head = await ask(key, headers as Record<string, string>, "HEAD");
          expect(head.status).toBe(200);
          const described = ({ headers: all }: Response) => [...all].filter(([name]) => !["date", "connection", "keep-alive"].includes(name));
          expect(described(head)).toEqual(described(get));
        }
      });

      test("conditions: 304 for what the client has, whole for anything else", async () => {
        const etag = (await ask(key, {}, "HEAD")).headers.get("etag")!;
        for (const header of [etag, `W/${etag}`, "*", `"other", ${etag}`]) {
          const answer = await ask(key, { "if-none-match": header });
          expect([answer.status, (await bytes(answer)).length, answer.headers.get("etag")]).toEqual([304, 0, etag]);
        }
        for (const header of ['"other"', "", etag.slice(0, -2)]) {
          const answer = await ask(key, { "if-none-match": header });
          expect(answer.status).toBe(200);
          await answer.arrayBuffer();
        }
      });
    });
  }

  test.each([
    ["bytes=0-0", 0, 1], ["bytes=5-9", 5, 10], ["bytes=50-", 50, 100], ["bytes=-7", 93, 100], ["bytes=-1000", 0, 100], ["bytes=99-5000", 99, 100],
  ])("%s of a small body", async (range, start, end) => {
    const answer = await ask("small", { range });
    expect(answer.status).toBe(206);
    expect(answer.headers.get("content-range")).toBe(`bytes ${start}-${end - 1}/100`);
    expect(answer.headers.get("content-length")).toBe(String(end - start));
    expect((await bytes(answer)).toString()).toBe(SMALL.slice(start, end));
  });

  test("ranges of a large body, also in Azure's own header, which wins", async () => {
    for (const headers of [{ range: "bytes=1000-250999" }, { "x-ms-range": "bytes=1000-250999" }, { "x-ms-range": "bytes=1000-250999", range: "bytes=0-1" }]) {
      const answer = await ask("large", headers as Record<string, string>);
      expect(answer.status).toBe(206);
      expect((await bytes(answer)).equals(LARGE.subarray(1_000, 251_000))).toBe(true);
    }
  });

  test.each(["bytes=100-", "bytes=100-200", "bytes=-0"])("%s lies outside: 416 with the size", async (range) => {
    const answer = await ask("small", { range });
    expect([answer.status, answer.headers.get("content-range")]).toEqual([416, "bytes */100"]);
    expect(await answer.json()).toMatchObject({ error: { code: "STOW_BAD_RANGE" } });
  });

  test.each(["bytes=5-2", "bytes=0-1,3-4", "bytes=a-b", "items=0-1", "bytes=", "bytes=-", ""])("%j is no range: the whole body", async (range) => {
    const answer = await ask("small", { range });
    expect([answer.status, (await bytes(answer)).length]).toEqual([200, 100]);
  });

  test("If-Range: the range of what the client has, the whole of what is new", async () => {
    const etag = (await ask("small", {}, "HEAD")).headers.get("etag")!;
    expect((await bytes(await ask("small", { range: "bytes=1-2", "if-range": etag }))).toString()).toBe("12");
    for (const other of ['"other"', `W/${etag}`, "Wed, 21 Oct 2015 07:28:00 GMT"]) expect((await bytes(await ask("small", { range: "bytes=1-2", "if-range": other }))).length).toBe(100);
  });

  test("a body whose file is gone is a miss, and stays one until it is stored again", async () => {
    await put("gone", Buffer.alloc(5_000, 1));
    unlinkSync(fileOf(Buffer.alloc(5_000, 1)));
    expect((await ask("gone")).status).toBe(404);
    await put("gone", Buffer.alloc(5_000, 1));
    expect((await bytes(await ask("gone"))).equals(Buffer.alloc(5_000, 1))).toBe(true);
  });

  test("a file that is too short cuts the connection instead of ending the body, and is a miss from then on", async () => {
    const body = Buffer.alloc(3_000_000, 7);
    await put("short", body);
    // The file is opened, and stays so: its size was right then.
    expect((await bytes(await ask("short"))).length).toBe(body.length);
    truncateSync(fileOf(body), 1_500_000);
    const connection = openRaw(url);
    connection.send(`GET /plain/plain/short HTTP/1.1\r\nHost: x\r\nAuthorization: ${AUTH.authorization}\r\n\r\n`);
    const text = await connection.closed();
    expect(text).toMatch(/^HTTP\/1.1 200 [^]*content-length: 3000000/i);
    expect(text.length).toBeLessThan(2_000_000);
    expect((await ask("short")).status).toBe(404);
    await put("short", body);
    expect((await bytes(await ask("short"))).equals(body)).toBe(true);
    expect(await app.logged()).toMatch(/"path":"\/plain\/plain\/short"[^\n]*"result":"error"/);
  });

  test("clients that leave in the middle cost nothing that lasts", async () => {
    await put("huge", Buffer.alloc(8_000_000, 3));
    for (let i = 0; i < 20; i++) {
      const connection = openRaw(url);
      connection.send(`GET /plain/plain/huge HTTP/1.1\r\nHost: x\r\nAuthorization: ${AUTH.authorization}\r\n\r\n`);
      await connection.until(/^HTTP/);
      connection.socket.destroy();
    }
    expect((await bytes(await ask("huge"))).length).toBe(8_000_000);
    await setTimeout(50);
    expect(await app.logged()).toContain('"result":"aborted"');
  });

  function fileOf(body: Buffer): string {
    const digest = createHash("sha256").update(body).digest("hex");
    return files().find((file) => file.includes(digest))!;
  }
});

describe("the sender", () => {
  const entry = { id: 1, size: 10_000_000, digest: null, blob: null, created: 0, expires: null } as unknown as Entry;

  /** A server whose bodies are these. Returns its URL, what its requests came to, and how many bodies are open. */
  async function serving(read: OpenBody["read"], stall = 60_000) {
    const state = { open: 0, results: [] as string[] };
    const bodies = {
      open: async () => {
        state.open++;
        return { size: entry.size, read, close: async () => void state.open-- };
      },
    };
    const sender = new Sender(bodies as never, { touch() {} } as never, {} as never, { small: 10, redirectFrom: Infinity, stall });
    const server = Fastify();
    server.decorateRequest("stow", null as never);
    server.addHook("onRequest", (request: FastifyRequest, reply, done) => {
      request.stow = { bytesOut: 0, result: "ok" } as never;
      reply.raw.once("close", () => state.results.push(request.stow.result));
      done();
    });
    server.get("/", (request, reply) => sender.entry(request, reply, entry));
    await server.listen({ host: "127.0.0.1", port: 0 });
    onTestFinished(() => server.close());
    return { url: `http://127.0.0.1:${(server.server.address() as AddressInfo).port}`, state };
  }

  const pieces = (count: number): OpenBody["read"] => async (_start, _end, push) => {
    for (let i = 0; i < count; i++) await push(Buffer.alloc(1_000_000, i));
  };

  test("cuts off a client that takes nothing", async () => {
    const { url, state } = await serving(pieces(10), 100);
    const connection = openRaw(url);
    connection.socket.pause();
    connection.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    for (let i = 0; i < 100 && state.results.length === 0; i++) await setTimeout(20);
    expect(state.results).toEqual(["aborted"]);
    await setTimeout(10);
    expect(state.open).toBe(0);
    connection.socket.destroy();
  });

  test("cuts the connection when the storage gives fewer bytes than there should be", async () => {
    const { url, state } = await serving(pieces(3));
    const connection = openRaw(url);
    connection.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    await connection.closed();
    expect(state.results).toEqual(["error"]);
    expect(state.open).toBe(0);
  });

  test("refuses a body of which not even the first bytes can be read, and cuts off one that fails later", async () => {
    const fails = await serving(async () => Promise.reject(new Error("no such disk")));
    expect((await fetch(fails.url)).status).toBe(503);
    expect(fails.state.open).toBe(0);
    const breaks = await serving(async (start, end, push) => pieces(3)(start, end, push).then(() => Promise.reject(new Error("no such disk"))));
    await expect(fetch(breaks.url).then((answer) => answer.arrayBuffer())).rejects.toThrow();
    expect(breaks.state).toEqual({ open: 0, results: ["error"] });
  });

  test("reads no further than the client takes", async () => {
    let pushed = 0;
    const { url, state } = await serving(async (_start, _end, push) => {
      for (let i = 0; i < 10; i++) {
        pushed++;
        await push(Buffer.alloc(1_000_000, i));
      }
    });
    const connection = openRaw(url);
    connection.socket.pause();
    connection.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    await setTimeout(150);
    // What the buffers of both ends hold, and the one on its way.
    expect(pushed).toBeLessThan(10);
    connection.socket.resume();
    await connection.until(/^HTTP/);
    for (let i = 0; i < 100 && connection.received().length < 10_000_000; i++) await setTimeout(20);
    expect(state.results).toEqual(["hit"]);
    connection.socket.destroy();
    await once(connection.socket, "close");
  });
});
