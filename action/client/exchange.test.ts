import { createServer, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { buffer } from "node:stream/consumers";
import { setTimeout as pause } from "node:timers/promises";
import { afterEach, describe, expect, it } from "vitest";
import { Loopback } from "../../test/fixtures/loopback.ts";
import { exchange, type ExchangeOptions } from "./exchange.ts";
import { ExchangeError, type Patience } from "./patience.ts";

const PATIENCE: Patience = { connect: 500, answer: 500, stall: 300 };
const loopback = new Loopback();
afterEach(() => loopback.close());

const get = (url: URL, options: Partial<ExchangeOptions> = {}) => exchange(url, { patience: PATIENCE, ...options });

async function* chunks(total: number, size = 65_536): AsyncGenerator<Buffer> {
  for (let sent = 0; sent < total; sent += size) yield Buffer.alloc(Math.min(size, total - sent), 7);
}

/** The error of an exchange, and how long it took, ms. */
async function failure(work: () => Promise<unknown>): Promise<{ error: ExchangeError; ms: number }> {
  const started = performance.now();
  const error: unknown = await work().then(() => "it went well", (thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(ExchangeError);
  return { error: error as ExchangeError, ms: performance.now() - started };
}

describe("an exchange", () => {
  it("hands on status, headers and body, and uses the connection again", async () => {
    const sockets = new Set<Socket>();
    const url = await loopback.http((request, response) => {
      sockets.add(request.socket);
      response.writeHead(404, { etag: '"a"' }).end(JSON.stringify(request.headers));
    });
    for (const [name, value] of [["x-one", "1"], ["x-two", "2"]] as const) {
      const answer = await get(url, { headers: { [name]: value } });
      expect([answer.status, answer.headers.etag, JSON.parse(await answer.text())]).toMatchObject([404, '"a"', { [name]: value }]);
    }
    expect(sockets.size).toBe(1);
  });

  it("tries once more when the server closed a kept connection", async () => {
    let requests = 0;
    const url = await loopback.tcp((socket) => {
      let served = 0;
      socket.on("data", () => {
        requests++;
        if (served++ > 0) socket.resetAndDestroy();
        else socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
      });
    });
    expect(await (await get(url)).text()).toBe("ok");
    expect(await (await get(url)).text()).toBe("ok");
    expect(requests).toBe(3);
  });

  it("says at once that nobody listens", async () => {
    const { error, ms } = await failure(async () => get(await loopback.dead()));
    expect([error.phase, error.message]).toEqual(["connect", "connection refused"]);
    expect(ms).toBeLessThan(400);
  });

  it("gives up on a server that accepts and never answers", async () => {
    const url = await loopback.hanging();
    const { error, ms } = await failure(() => get(url));
    expect([error.phase, error.message]).toEqual(["answer", "no answer within 500 ms"]);
    expect(ms).toBeLessThan(900);
  });

  it("gives up on a connection that does not come about", async () => {
    const { port } = await loopback.hanging();
    const { error, ms } = await failure(() => get(new URL(`https://127.0.0.1:${port}/`)));
    expect([error.phase, error.message]).toEqual(["connect", "no connection within 500 ms"]);
    expect(ms).toBeLessThan(900);
  });

  it("gives up on a body that stops flowing", async () => {
    const url = await loopback.http((_, response) => void response.writeHead(200, { "content-length": 100 }).write("only this"));
    const answer = await get(url);
    const { error } = await failure(() => answer.text());
    expect([error.phase, error.message]).toEqual(["body", "nothing moved for 300 ms"]);
  });

  it("waits for a reader that takes its time", async () => {
    const url = await loopback.http((_, response) => void response.end(Buffer.alloc(2_000_000)));
    const answer = await get(url);
    let size = 0;
    for await (const chunk of answer.body) {
      if (size === 0) await pause(2 * PATIENCE.stall);
      size += chunk.length;
    }
    expect(size).toBe(2_000_000);
  });

  it("says that a body is shorter than announced", async () => {
    const url = await loopback.http((_, response) => {
      response.writeHead(200, { "content-length": 100 }).write("only this");
      setTimeout(() => response.destroy(), 20);
    });
    const { error } = await failure(async () => (await get(url)).text());
    expect(error.phase).toBe("body");
  });

  it("refuses a text that has no end", async () => {
    const url = await loopback.http((_, response) => void response.end(Buffer.alloc(100_000)));
    const { error } = await failure(async () => (await get(url)).text(99_999));
    expect(error.message).toContain("longer than 99999 bytes");
  });

  it("ends when its caller gives up, before the answer and in the middle of a body", async () => {
    const silent = await loopback.hanging();
    expect((await failure(() => get(silent, { signal: AbortSignal.timeout(50) }))).error.phase).toBe("abort");
    expect((await failure(() => get(silent, { signal: AbortSignal.abort() }))).error.phase).toBe("abort");
    const slow = await loopback.http((_, response) => void response.writeHead(200, { "content-length": 100 }).write("x"));
    const answer = await get(slow, { signal: AbortSignal.timeout(50) });
    expect((await failure(() => answer.text())).error.phase).toBe("abort");
  });
});

describe("an upload", () => {
  it.each([0, 10, 5_000_000])("of %i bytes arrives with its length announced", async (size) => {
    const url = await loopback.http((request, response) => {
      void buffer(request).then((body) => response.writeHead(201).end(JSON.stringify({ announced: request.headers["content-length"], arrived: body.length, coding: request.headers["transfer-encoding"] })));
    });
    const answer = await get(url, { upload: { size, chunks: chunks(size) } });
    expect([answer.status, JSON.parse(await answer.text())]).toEqual([201, { announced: String(size), arrived: size }]);
  });

  it("that the server does not want is not sent", async () => {
    let read = 0;
    const server = createServer();
    server.on("checkContinue", (_, response: ServerResponse) => response.writeHead(403, { connection: "close" }).end("no"));
    const url = await loopback.listen(server);
    async function* counted(): AsyncGenerator<Buffer> {
      for await (const chunk of chunks(50_000_000)) {
        read += chunk.length;
        yield chunk;
      }
    }
    const answer = await get(url, { upload: { size: 50_000_000, chunks: counted() } });
    expect([answer.status, await answer.text()]).toEqual([403, "no"]);
    expect(read).toBeLessThan(1_000_000);
  });

  it("leaves no connection behind that waits for a body which never comes", async () => {
    const server = createServer();
    server.on("checkContinue", (_, response: ServerResponse) => response.writeHead(403).end("no"));
    const url = await loopback.listen(server);
    const closed = new Promise((resolve) => server.once("connection", (socket: Socket) => socket.once("close", resolve)));
    await (await get(url, { upload: { size: 1_000_000, chunks: chunks(1_000_000) } })).text();
    await closed;
  });

  it("goes on when the server does not know how to ask for it", async () => {
    const url = await loopback.tcp((socket) => {
      let arrived = 0;
      socket.on("data", (data) => {
        arrived += data.length;
        if (arrived > 300_000) socket.end("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n");
      });
    });
    const answer = await get(url, { upload: { size: 300_000, chunks: chunks(300_000) }, patience: { ...PATIENCE, stall: 2_000 } });
    expect(answer.status).toBe(201);
  });

  it("is given up when the server stops taking it, or stops answering", async () => {
    const stuck = await loopback.tcp((socket) => void socket.pause());
    const { error } = await failure(() => get(stuck, { upload: { size: 80_000_000, chunks: chunks(80_000_000) }, headers: { expect: "" } }));
    expect(error.phase).toBe("body");
    const mute = await loopback.http((request) => void request.resume());
    const silent = await failure(() => get(mute, { upload: { size: 10, chunks: chunks(10) } }));
    expect([silent.error.phase, silent.error.message]).toEqual(["answer", "no answer within 500 ms"]);
  });

  it("that can't be read is no fault of the server", async () => {
    const url = await loopback.http((request) => void request.resume());
    async function* broken(): AsyncGenerator<Buffer> {
      yield Buffer.alloc(10);
      throw new Error("EIO: i/o error, read");
    }
    await expect(get(url, { upload: { size: 100, chunks: broken() } })).rejects.toThrow("EIO: i/o error, read");
    await expect(get(url, { upload: { size: 100, chunks: chunks(99) } })).rejects.toThrow("the file shrank while it was sent");
    await expect(get(url, { upload: { size: 100, chunks: chunks(101) } })).rejects.toThrow("the file grew while it was sent");
  });
});
