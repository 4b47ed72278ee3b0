import { mkdtemp, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { setTimeout } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { openRaw, type RawConnection } from "../fixtures/raw-http.ts";
import { bytesOf, Random } from "../fixtures/random.ts";
import { memory, openFiles, startStowhouse, type Stowhouse } from "../fixtures/stowhouse.ts";
import { GhaClient, NipClient, signedUrl } from "../fixtures/wire-clients.ts";
import { Kept } from "./endure.ts";

/** Short, so that the tests need not wait; what they promise is held with a margin for a loaded machine. */
const HEADERS_MS = 1_500;
const STALL_MS = 1_500;
const MARGIN_MS = 8_000;

let home: string;
let server: Stowhouse;
let kept: Kept;
let sockets: number;
const open: RawConnection[] = [];

beforeAll(async () => {
  home = await mkdtemp(path.join(os.tmpdir(), "stowhouse-hostile-"));
  server = await startStowhouse({ data: path.join(home, "data"), config: { log: { access: false }, limits: { headersTimeout: `${HEADERS_MS}ms`, bodyStall: `${STALL_MS}ms`, concurrentBodies: 64 } } });
  kept = await Kept.save(server);
  sockets = openFiles(server.pid).sockets;
});

afterAll(async () => {
  for (const connection of open) connection.socket.destroy();
  await server?.kill();
  await rm(home, { recursive: true, force: true });
});

function dial(): RawConnection {
  const connection = openRaw(server.url);
  open.push(connection);
  return connection;
}

const line = (method: string, target: string, headers = "") => `${method} ${target} HTTP/1.1\r\nHost: ${new URL(server.url).host}\r\n${headers}`;
const authorization = () => `Authorization: Bearer ${server.key}\r\n`;

/** Sends a byte every 100 ms until the server has had enough; resolves with how long that took. */
async function trickle(connection: RawConnection, bytes: string): Promise<number> {
  const began = performance.now();
  let i = 0;
  const timer = setInterval(() => connection.send(bytes[i++ % bytes.length]!), 100);
  await connection.closed(HEADERS_MS + STALL_MS + 2 * MARGIN_MS).finally(() => clearInterval(timer));
  return performance.now() - began;
}

test("200 clients that trickle their headers are cut off in time, and nobody else notices", async () => {
  const slow = Array.from({ length: 200 }, async () => {
    const connection = dial();
    connection.send("GET /v1/health HTTP/1.1\r\nHost: x\r\nX-Slow: ");
    return trickle(connection, "a");
  });
  const began = performance.now();
  await kept.read();
  expect(performance.now() - began).toBeLessThan(MARGIN_MS);
  for (const ms of await Promise.all(slow)) expect(ms).toBeLessThan(HEADERS_MS + MARGIN_MS);
});

test("clients that stop in the middle of a body are told so and cut off, and take no place from others", async () => {
  const signed = new URL(signedUrl(await new GhaClient(server).create("slow"), "signed_upload_url")!);
  const heads = [
    line("POST", "/v1/artifacts/slow", `${authorization()}Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 1000000\r\n\r\n--b\r\n`),
    line("PUT", signed.pathname + signed.search, "x-ms-blob-type: BlockBlob\r\nContent-Length: 1000000\r\n\r\nabc"),
    line("PUT", signed.pathname + signed.search, "x-ms-blob-type: BlockBlob\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc"),
    line("POST", "/twirp/github.actions.results.api.v1.CacheService/CreateCacheEntry", `${authorization()}Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{`),
    line("POST", "/v1/auth/session", `${authorization()}Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{`),
  ];
  const stopped = heads.flatMap((head) => Array.from({ length: 15 }, async () => {
    const began = performance.now();
    const connection = dial();
    connection.send(head);
    const text = await connection.closed(STALL_MS + 2 * MARGIN_MS);
    return { status: text.slice(9, 12), ms: performance.now() - began };
  }));
  await kept.read();
  const done = await Promise.all(stopped);
  for (const { ms } of done) expect(ms).toBeLessThan(STALL_MS + MARGIN_MS);
  // Those beyond the 64 places wait as long and are refused as too many.
  expect([...new Set(done.map(({ status }) => status))].filter((status) => !["408", "429", "503"].includes(status))).toEqual([]);
  expect((await new NipClient(server).put("after", bytesOf("after", 300_000), {})).status).toBe(201);
});

test("400 connections that say nothing, and 200 that have asked once, hold nobody up", async () => {
  const idle = Array.from({ length: 400 }, dial);
  const asked = Array.from({ length: 200 }, dial);
  for (const connection of asked) connection.send(`${line("GET", "/v1/health")}\r\n`);
  for (const connection of asked) await connection.until(/"ok"/, MARGIN_MS);
  const began = performance.now();
  await kept.read();
  expect(performance.now() - began).toBeLessThan(MARGIN_MS);
  for (const connection of [...idle, ...asked]) connection.socket.destroy();
});

/** What no client sends. Every one is answered with a refusal of the 400s, or the connection ends. */
const NONSENSE: Record<string, string | Buffer> = {
  "headers too large": `GET /v1/health HTTP/1.1\r\nHost: x\r\nX-Large: ${"a".repeat(40_000)}\r\n\r\n`,
  "headers too many": `GET /v1/health HTTP/1.1\r\nHost: x\r\n${"X-Many: a\r\n".repeat(4_000)}\r\n`,
  "a URL too large": `GET /v1/artifacts/${"a".repeat(100_000)} HTTP/1.1\r\nHost: x\r\n\r\n`,
  "a key too large": `GET /v1/artifacts/${"a".repeat(8_000)} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer stow_rw_test-write-key-0001\r\nConnection: close\r\n\r\n`,
  "no HTTP": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
  "HTTP/2": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
  "HTTP/9.9": "GET / HTTP/9.9\r\nHost: x\r\n\r\n",
  "no Host": "GET /v1/health HTTP/1.1\r\n\r\n",
  "bytes out of place in a header": Buffer.from("GET /v1/health HTTP/1.1\r\nHost: x\r\nX-Bad: \x00\x01\r\n\r\n", "latin1"),
  "two lengths": `POST /v1/auth/session HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n{}`,
  "a length and chunks": `POST /v1/auth/session HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
  "a negative length": `POST /v1/auth/session HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n`,
  "a length beyond numbers": `POST /v1/auth/session HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n`,
  "chunks of no size": `POST /v1/auth/session HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n`,
  "chunks beyond numbers": `POST /v1/auth/session HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n{}`,
  "CONNECT": "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n",
  "an unknown method": "BREW /v1/health HTTP/1.1\r\nHost: x\r\n\r\n",
  "a method in lower case": "get /v1/health HTTP/1.1\r\nHost: x\r\n\r\n",
  "an asterisk": "OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
  "percent signs": "GET /v1/artifacts/%zz%%%ff%00 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
  "a foreign expectation": `POST /v1/auth/session HTTP/1.1\r\nHost: x\r\nExpect: 200-ok\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}`,
};

for (const [name, bytes] of Object.entries(NONSENSE)) {
  test(`${name}: refused`, async () => {
    const connection = dial();
    connection.send(bytes);
    const text = await connection.closed(HEADERS_MS + MARGIN_MS);
    expect(text).toMatch(/^(HTTP\/1\.1 4\d\d |$)/);
    if (name.endsWith("too large") && name !== "a key too large") expect(text).toMatch(/^HTTP\/1\.1 431 /);
    expect(server.alive()).toBe(true);
  });
}

test("other words for the same are understood", async () => {
  for (const head of ["GET //v1//health HTTP/1.1\r\nHost: x", "GET http://elsewhere.example/v1/health HTTP/1.1\r\nHost: x", "GET /v1/health HTTP/1.0", "GET /v1/health HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings"]) {
    const connection = dial();
    connection.send(`${head}\r\n${head.includes("Upgrade") ? "" : "Connection: close\r\n"}\r\n`);
    expect([head, await connection.until(/^HTTP\/1\.1 \d\d\d /, MARGIN_MS)]).toEqual([head, expect.stringMatching(/^HTTP\/1\.1 (200|404) /)]);
    connection.socket.destroy();
  }
});

test("garbage behind pipelined requests: no answer is given in the place of another", async () => {
  const connection = dial();
  connection.send(`${line("GET", "/v1/health")}\r\n${line("GET", "/v1/artifacts/nothing", authorization())}\r\n${line("GET", "/v1/download/kept-500", authorization())}\r\nGARBAGE\r\n\r\n`);
  const text = await connection.closed(MARGIN_MS);
  const statuses = [...text.matchAll(/^HTTP\/1\.1 (\d+)/gm)].map(([, status]) => status);
  expect(statuses).toEqual(["200", "404", "200"].slice(0, statuses.length));
});

test("garbage while an answer is under way: nothing comes between its bytes", async () => {
  // More than the buffers of both ends hold.
  const whole = bytesOf("under way", 24 * 1024 * 1024);
  expect((await new NipClient(server).put("under-way", whole, {})).status).toBe(201);
  const connection = dial();
  connection.socket.pause();
  connection.send(`${line("GET", "/v1/download/under-way", authorization())}\r\n`);
  await setTimeout(300);
  connection.send("GARBAGE\r\n\r\n");
  await setTimeout(300);
  connection.socket.resume();
  const text = await connection.closed(MARGIN_MS);
  const body = Buffer.from(text.slice(text.indexOf("\r\n\r\n") + 4), "latin1");
  expect(body.length).toBeGreaterThan(100_000);
  expect(body.equals(whole.subarray(0, body.length))).toBe(true);
});

test("random bytes, 300 times", async () => {
  const random = new Random(1);
  for (let round = 0; round < 10; round++) {
    await Promise.all(Array.from({ length: 30 }, async () => {
      const connection = dial();
      const valid = `${line("GET", "/v1/artifacts/kept-500", authorization())}\r\n`;
      const bytes = Buffer.from(valid);
      if (random.chance(0.3)) connection.send(bytesOf(String(random.next()), random.int(1, 5_000)));
      else {
        for (let i = 0; i < random.int(1, 10); i++) bytes[random.int(0, bytes.length - 1)] = random.int(0, 255);
        connection.send(bytes);
      }
      connection.socket.end();
      const text = await connection.closed(HEADERS_MS + MARGIN_MS);
      expect(text).toMatch(/^(HTTP\/1\.1 [24]\d\d |$)/);
    }));
  }
});

test("after all that, the server serves, and holds nothing for those who came", async () => {
  await kept.read();
  for (const connection of open) connection.socket.destroy();
  await expect.poll(() => openFiles(server.pid).sockets, { timeout: 15_000 }).toBeLessThanOrEqual(sockets + 5);
  expect(memory(server.pid).peak).toBeLessThan(400);
  await setTimeout(10);
  await server.stop();
});
