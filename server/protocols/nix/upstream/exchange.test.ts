import http from "node:http";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Loopback } from "../../../../test/fixtures/loopback.ts";
import { NOWHERE } from "./address.ts";
import { exchange } from "./exchange.ts";

const loopback = new Loopback();
const agent = new http.Agent({ keepAlive: true });
let url: URL;
beforeAll(async () => {
  url = await loopback.http((request, response) => void response.writeHead(200, { "content-length": request.url!.slice(1) }).end(Buffer.alloc(Number(request.url!.slice(1)), "a")));
});
afterAll(async () => {
  agent.destroy();
  await loopback.close();
});

test.each([50_000, 99_000, 99_999])("an answer of which no more than %i bytes are wanted can be given up, whatever has arrived of it: nothing is thrown past its reader", async (limit) => {
  const stop = new AbortController();
  const timeouts = { connect: 5_000, firstByte: 5_000, stall: 5_000 };
  const answer = await exchange(new URL("/100000", url), { method: "GET", headers: {}, timeouts, signal: stop.signal, reach: NOWHERE, lookup: undefined, agent });
  await expect(answer.whole(limit)).rejects.toThrow("longer than");
  stop.abort(new Error("another one was quicker"));
  // What nobody catches comes in a later turn, and fails the run.
  await new Promise((resolve) => setTimeout(resolve, 20));
  const next = await exchange(new URL("/3", url), { method: "GET", headers: {}, timeouts, signal: new AbortController().signal, reach: NOWHERE, lookup: undefined, agent });
  expect((await next.whole(10)).toString()).toBe("aaa");
});
