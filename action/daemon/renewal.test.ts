import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { renewalDelay, Renewals } from "./renewal.ts";

const MINUTE = 60_000;

beforeEach(() => {
  vi.useFakeTimers();
  vi.spyOn(console, "log").mockImplementation(() => {});
});
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

/** Servers whose sessions last so long, ms; undefined: a token without an end. */
function start(lives: readonly (number | undefined)[], renew: (url: string) => Promise<number>) {
  const given: string[] = [];
  const asked: [number, string, string][] = [];
  const began = Date.now();
  const servers = lives.map((life, i) => ({ url: `http://${i}`, token: "first", ...(life === undefined ? {} : { session: { kind: "oidc" as const, expires: began + life } }) }));
  const renewals = new Renewals(servers, async (url, kind) => {
    asked.push([Date.now() - began, url, kind]);
    return { token: `token-${asked.length}`, expires: Date.now() + (await renew(url)) };
  }, (server, token) => void given.push(`${server} ${token}`));
  return { given, asked, renewals };
}

test("a token is replaced five minutes before its end, or at three quarters of a short life", () => {
  expect([6 * 60 * MINUTE, 60 * MINUTE, 4 * MINUTE, 1_000, -5_000].map((life) => renewalDelay(life, 0))).toEqual([355 * MINUTE, 55 * MINUTE, 3 * MINUTE, 2_000, 2_000]);
});

test("each server's token is replaced again and again, by the credential it was given for", async () => {
  const { given, asked } = start([60 * MINUTE, undefined, 20 * MINUTE], () => Promise.resolve(60 * MINUTE));
  await vi.advanceTimersByTimeAsync(71 * MINUTE);
  expect(asked).toEqual([[15 * MINUTE, "http://2", "oidc"], [55 * MINUTE, "http://0", "oidc"], [70 * MINUTE, "http://2", "oidc"]]);
  expect(given).toEqual(["2 token-1", "0 token-2", "2 token-3"]);
});

test("a server that gives none is asked until it does", async () => {
  let well = false;
  const { given, asked } = start([60 * MINUTE], () => (well ? Promise.resolve(60 * MINUTE) : Promise.reject(new Error("connection refused"))));
  await vi.advanceTimersByTimeAsync(56 * MINUTE);
  expect([asked.length, given]).toEqual([5, []]);
  well = true;
  await vi.advanceTimersByTimeAsync(MINUTE);
  expect([asked.length, given]).toEqual([6, ["0 token-6"]]);
});

test("a token that is refused before its time is replaced at once, but not all the time", async () => {
  const { given, renewals } = start([60 * MINUTE, undefined], () => Promise.resolve(60 * MINUTE));
  for (let second = 0; second < 50; second++) {
    renewals.refused(0);
    renewals.refused(1);
    await vi.advanceTimersByTimeAsync(1_000);
  }
  expect(given).toEqual(["0 token-1", "0 token-2", "0 token-3", "0 token-4"]);
});

test("after its end nothing is asked any more", async () => {
  const { asked, renewals } = start([10 * MINUTE], () => Promise.resolve(MINUTE));
  renewals.end();
  await vi.advanceTimersByTimeAsync(60 * MINUTE);
  renewals.refused(0);
  await vi.advanceTimersByTimeAsync(MINUTE);
  expect(asked).toEqual([]);
});
