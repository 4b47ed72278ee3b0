import { Agent, request as httpRequest } from "node:http";
import { setTimeout } from "node:timers/promises";
import { describe, expect, onTestFinished, test } from "vitest";
import { KEYS, startApp, type TestApp } from "../../test/fixtures/app.ts";
import { openRaw } from "../../test/fixtures/raw-http.ts";
import { shutDown } from "../serve.ts";

const WRITE = `Authorization: Bearer ${KEYS.write}`;
const AUTH = { authorization: `Bearer ${KEYS.write}` };

describe("a graceful end", () => {
  const drained = (app: TestApp, drain = 10_000) => shutDown(app, { shutdown: { drain } } as never);

  test("lets the uploads and downloads that run finish, and takes no others", async () => {
    const app = await startApp({ inlineLimit: "1KiB" });
    const url = await app.listen();
    const upload = openRaw(url);
    upload.send(`PUT /plain/plain/late HTTP/1.1\r\nHost: x\r\n${WRITE}\r\nContent-Length: 200000\r\n\r\n${"x".repeat(100_000)}`);
    await app.app.inject({ method: "PUT", url: "/plain/plain/large", headers: AUTH, payload: Buffer.alloc(20_000_000, 1) });
    const download = openRaw(url);
    download.send(`GET /plain/plain/large HTTP/1.1\r\nHost: x\r\n${WRITE}\r\n\r\n`);
    await download.until(/^HTTP\/1.1 200 /);
    download.socket.pause();

    let ended = false;
    const ending = drained(app).then(() => (ended = true));
    await setTimeout(100);
    expect(ended).toBe(false);
    expect(app.readiness.draining).toBe(true);
    const refused = openRaw(url);
    await refused.closed();
    expect(refused.received()).toBe("");

    upload.send("x".repeat(100_000));
    expect(await upload.closed()).toMatch(/^HTTP\/1.1 201 [^]*"size":200000/i);
    download.socket.resume();
    expect((await download.closed()).length).toBeGreaterThan(20_000_000);
    await ending;
  });

  test("says that it is not ready", async () => {
    const app = await startApp();
    onTestFinished(() => app.close());
    expect((await app.app.inject("/readyz")).json()).toEqual({ status: "ok", database: "ok" });
    app.readiness.draining = true;
    const answer = await app.app.inject("/readyz");
    expect([answer.statusCode, answer.json().status]).toEqual([503, "draining"]);
    expect((await app.app.inject("/livez")).statusCode).toBe(200);
  });

  test("is not held up by a client that keeps asking on the same connection", async () => {
    const app = await startApp();
    const url = await app.listen();
    await app.app.inject({ method: "PUT", url: "/plain/plain/hot", headers: AUTH, payload: "hot" });
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    let asking = true;
    const ask = () =>
      new Promise<void>((resolve, reject) => {
        httpRequest(`${url}/plain/plain/hot`, { agent, headers: AUTH }, (answer) => answer.resume().on("end", resolve)).on("error", reject).end();
      });
    // The next request is on its way before the connection could be idle.
    const loops = Array.from({ length: 4 }, async () => {
      while (asking) await ask().catch(() => (asking = false));
    });
    await setTimeout(50);
    const began = performance.now();
    await drained(app);
    expect(performance.now() - began).toBeLessThan(3_000);
    asking = false;
    await Promise.all(loops);
    agent.destroy();
  });

  test("cuts off who has not finished when the time to drain is over", async () => {
    const app = await startApp();
    const url = await app.listen();
    const upload = openRaw(url);
    upload.send(`PUT /plain/plain/never HTTP/1.1\r\nHost: x\r\n${WRITE}\r\nContent-Length: 200000\r\n\r\nx`);
    await setTimeout(50);
    await drained(app, 200);
    await upload.closed();
  });
});
