import { setTimeout } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { KEYS, startApp, type TestApp } from "../../test/fixtures/app.ts";
import { isLoopback, Places } from "./limits.ts";

describe("places", () => {
  test("are given out up to their number, and handed over in the order of the line", async () => {
    const places = new Places(2, 1_000);
    const first = await places.take();
    const second = await places.take();
    const order: string[] = [];
    const third = places.take().then((leave) => (order.push("third"), leave));
    const fourth = places.take().then((leave) => (order.push("fourth"), leave));
    await setTimeout(5);
    expect(order).toEqual([]);
    second();
    (await third)();
    first();
    (await fourth)();
    expect(order).toEqual(["third", "fourth"]);
    const again = await Promise.all([places.take(), places.take()]);
    for (const leave of again) leave();
  });

  test("given back twice are given back once", async () => {
    const places = new Places(1, 20);
    const leave = await places.take();
    leave();
    leave();
    await places.take();
    await expect(places.take()).rejects.toMatchObject({ code: "STOW_TOO_MANY_UPLOADS", status: 429, retryAfter: 5 });
  });

  test("who loses patience leaves the line, and takes no place with him", async () => {
    const places = new Places(1, 20);
    const leave = await places.take();
    await expect(places.take()).rejects.toMatchObject({ code: "STOW_TOO_MANY_UPLOADS" });
    leave();
    (await places.take())();
  });
});

test.each([["127.0.0.1", true], ["127.8.9.1", true], ["::1", true], ["::ffff:127.0.0.1", true], ["10.0.0.1", false], ["::ffff:10.0.0.1", false], ["128.0.0.1", false], ["::", false], ["", false]])("%s is loopback: %s", (address, expected) => {
  expect(isLoopback(address)).toBe(expected);
});

describe("the limit of requests", () => {
  let app: TestApp;
  beforeAll(async () => {
    app = await startApp({ limits: { requestsPerMinute: 5 }, caches: { open: { anonymousRead: true } } });
  });
  afterAll(() => app.close());
  afterEach(() => void vi.useRealTimers());

  const ask = async (remoteAddress: string, key?: string, url = "/plain/plain/none") =>
    app.app.inject({ url, remoteAddress, headers: key ? { authorization: `Bearer ${key}` } : {} });
  const statuses = async (count: number, ...args: Parameters<typeof ask>) => {
    const all = [];
    for (let i = 0; i < count; i++) all.push((await ask(...args)).statusCode);
    return all;
  };

  test("is one of each credential from each address, by the minute", async () => {
    vi.useFakeTimers({ toFake: ["Date"] });
    expect(await statuses(6, "10.0.0.1", KEYS.write)).toEqual([404, 404, 404, 404, 404, 429]);
    // The same key elsewhere, and another key here, have their own.
    expect(await statuses(1, "10.0.0.2", KEYS.write)).toEqual([404]);
    expect(await statuses(1, "10.0.0.1", KEYS.read)).toEqual([404]);
    const refused = await ask("10.0.0.1", KEYS.write);
    expect(refused.json()).toMatchObject({ error: { code: "STOW_RATE_LIMITED" } });
    expect(Number(refused.headers["retry-after"])).toBeGreaterThan(0);
    expect(Number(refused.headers["retry-after"])).toBeLessThanOrEqual(60);
    vi.advanceTimersByTime(61_000);
    expect(await statuses(1, "10.0.0.1", KEYS.write)).toEqual([404]);
  });

  test("never holds up a valid key on loopback, nor probes", async () => {
    expect(new Set(await statuses(12, "127.0.0.1", KEYS.write))).toEqual(new Set([404]));
    expect(new Set(await statuses(12, "10.0.0.9", undefined, "/livez"))).toEqual(new Set([200]));
  });

  test("holds for nobody in particular, on loopback too", async () => {
    expect((await statuses(6, "127.0.0.1", undefined, "/c/open/plain/plain/none")).at(-1)).toBe(429);
    expect((await statuses(1, "10.1.0.1", undefined, "/c/open/plain/plain/none"))).toEqual([404]);
  });

  test("holds for exchanges of identities", async () => {
    const exchange = () => app.app.inject({ method: "POST", url: "/v1/auth/github", remoteAddress: "10.2.0.1", payload: { id_token: "x" } });
    for (let i = 0; i < 5; i++) expect((await exchange()).statusCode).not.toBe(429);
    expect((await exchange()).statusCode).toBe(429);
  });

  test("is refused before the body is read", async () => {
    await statuses(6, "10.3.0.1", KEYS.write);
    const answer = await app.app.inject({ method: "PUT", url: "/plain/plain/k", remoteAddress: "10.3.0.1", headers: { authorization: `Bearer ${KEYS.write}` }, payload: Buffer.alloc(100) });
    expect(answer.statusCode).toBe(429);
    expect((await ask("10.3.0.2", KEYS.write, "/plain/plain/k")).statusCode).toBe(404);
  });
});
