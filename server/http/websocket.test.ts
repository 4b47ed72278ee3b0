import { once } from "node:events";
import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { WebSocket } from "ws";
import { KEYS, startApp, type TestApp } from "../../test/fixtures/app.ts";
import { plain } from "../../test/fixtures/plain-protocol.ts";
import type { Protocol } from "../protocols/protocol.ts";
import { WebSockets } from "./websocket.ts";

let sockets: WebSockets;

/** Says what it is told, to who may read. */
const echo = {
  ...plain,
  name: "echo",
  plugin: (app, { auth }) => {
    sockets = new WebSockets(auth, { sockets: 3, perActor: 2, message: 1024, ping: 50, silence: 200, check: 50 });
    sockets.listen(app);
    const open = (socket: WebSocket) => void socket.on("message", (data: Buffer) => socket.send(String(data)));
    app.get("/echo", { config: { op: "echo" } }, (request, reply) => {
      auth.grant(request);
      return sockets.accept(request, reply, open);
    });
    app.get("/deaf", { config: { op: "deaf" } }, (request, reply) => sockets.accept(request, reply, open, { deaf: true }));
    app.get("/page", { config: { op: "page" } }, () => "page");
  },
} satisfies Protocol;

let app: TestApp;
let url: string;
beforeAll(async () => {
  app = await startApp({}, [echo]);
  url = await app.listen();
});
afterAll(() => app.close());

const dial = (path: string, key: string = KEYS.read, options = {}) => new WebSocket(url.replace("http", "ws") + path, { headers: key === "" ? {} : { authorization: `Bearer ${key}` }, ...options });
const refusal = async (socket: WebSocket) => {
  const [, answer] = (await once(socket, "unexpected-response")) as [unknown, { statusCode: number; resume(): void }];
  answer.resume();
  return answer.statusCode;
};

async function raw(head: string): Promise<string> {
  const socket = connect(Number(new URL(url).port), "127.0.0.1");
  let text = "";
  socket.on("data", (chunk) => (text += chunk.toString()));
  socket.write(head);
  await once(socket, "close");
  return text;
}

test("a request becomes a WebSocket with its credential, and is accounted for as it does", async () => {
  const socket = dial("/echo");
  await once(socket, "open");
  socket.send("hello");
  expect(String((await once(socket, "message"))[0])).toBe("hello");
  expect(await app.logged()).toMatch(/"path":"\/echo","status":101,.*"op":"echo","result":"ok"/);
  socket.close();
  await once(socket, "close");
});

test("without a credential, on a page and on nothing it gets the usual refusals", async () => {
  expect(await refusal(dial("/echo", ""))).toBe(401);
  expect(await refusal(dial("/echo", "stow_ro_wrong"))).toBe(401);
  expect(await refusal(dial("/nowhere"))).toBe(404);
  expect(await refusal(dial("/page"))).toBe(200);
  expect((await fetch(`${url}/echo`, { headers: { authorization: `Bearer ${KEYS.read}` } })).status).toBe(426);
});

test("a broken handshake is refused, and a request for HTTP/2 is answered as if it had not asked", async () => {
  const head = (path: string, upgrade: string) => `GET ${path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${KEYS.read}\r\nConnection: Upgrade, close\r\nUpgrade: ${upgrade}\r\n\r\n`;
  expect(await raw(head("/echo", "websocket"))).toMatch(/^HTTP\/1.1 400/);
  expect(await raw(head("/page", "h2c"))).toMatch(/^HTTP\/1.1 200[^]*page$/);
});

test("more than there may be are refused, of one credential and of all", async () => {
  const open = [dial("/echo"), dial("/echo")];
  await Promise.all(open.map((socket) => once(socket, "open")));
  expect(await refusal(dial("/echo"))).toBe(503);
  const another = dial("/echo", KEYS.write);
  await once(another, "open");
  open.push(another);
  expect(await refusal(dial("/echo", KEYS.admin))).toBe(503);
  for (const socket of open) socket.terminate();
  while (sockets.size > 0) await sleep(10);
});

test("who is silent is cut off, but not who answers pings or is known not to", async () => {
  const answering = dial("/echo");
  const silent = dial("/echo", KEYS.read, { autoPong: false });
  const gone = once(silent, "close");
  await once(silent, "open");
  expect((await gone)[0]).toBe(1006);
  expect(answering.readyState).toBe(WebSocket.OPEN);
  const deaf = dial("/deaf", KEYS.read, { autoPong: false });
  await once(deaf, "open");
  await sleep(400);
  expect(deaf.readyState).toBe(WebSocket.OPEN);
  for (const socket of [answering, deaf]) socket.terminate();
  while (sockets.size > 0) await sleep(10);
});

test("a key that is revoked takes its connections along, and no others", async () => {
  const { key, info } = await app.identity.keys.create({ name: "short lived", permission: "read" });
  const [mine, other] = [dial("/echo", key), dial("/echo")];
  await Promise.all([once(mine, "open"), once(other, "open")]);
  const gone = once(mine, "close");
  await app.identity.keys.revoke(info.id);
  expect((await gone)[0]).toBe(1008);
  expect(other.readyState).toBe(WebSocket.OPEN);
  other.terminate();
});

test("a message that is too large ends its connection", async () => {
  const socket = dial("/echo");
  await once(socket, "open");
  socket.send("x".repeat(1025));
  expect((await once(socket, "close"))[0]).toBe(1009);
});

test("a server that stops tells all, and waits for nobody", async () => {
  const [polite, rude] = [dial("/echo"), dial("/echo")];
  await Promise.all([once(polite, "open"), once(rude, "open")]);
  rude.pause();
  const told = once(polite, "close");
  const started = Date.now();
  await app.app.close();
  expect((await told)[0]).toBe(1001);
  expect(Date.now() - started).toBeLessThan(5_000);
  rude.terminate();
});
