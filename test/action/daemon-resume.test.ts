import { randomBytes } from "node:crypto";
import { setTimeout } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { startTestDaemon, type TestDaemon } from "../fixtures/daemon.ts";
import { Faulty, type Fault } from "../fixtures/faulty.ts";
import { startServer, type TestServer } from "../fixtures/server.ts";

/** Downloads that break off in the middle: they go on where they were, or the tool sees a broken connection; it never sees a wrong byte. */

const SIZE = 6_000_000;
const body = randomBytes(SIZE);

let servers: [TestServer, TestServer];
let first: Faulty;
let daemon: TestDaemon | undefined;
/** Ranges the first server was asked for. */
let asked: (string | undefined)[];

beforeAll(async () => {
  servers = await Promise.all([startServer(), startServer()]);
  for (const [server, name, content] of [[servers[0], "same", body], [servers[1], "same", body], [servers[0], "other", body], [servers[1], "other", randomBytes(SIZE)], [servers[0], "small", body.subarray(0, 100_000)]] as const) {
    const form = new FormData();
    form.append("metadata", "{}");
    form.append("file", new Blob([content as Uint8Array<ArrayBuffer>]), "artifact.tar.gz");
    expect((await fetch(`${server.url}/v1/artifacts/${name}`, { method: "POST", headers: { authorization: `Bearer ${server.writeKey}` }, body: form })).status).toBe(201);
  }
});
beforeEach(async () => {
  first = await new Faulty().start(servers[0].url);
  asked = [];
});
afterEach(async () => {
  await daemon?.stop();
  await first.stop();
});
afterAll(() => Promise.all(servers.map((server) => server.stop())));

/** Sends half of what it was asked for, so many times, and then does something else. */
function half(times: number, then: "break" | "stop" | "go silent" = "break", change: (headers: Record<string, unknown>) => object = (headers) => headers): Fault {
  return (request, response, pass) => void pass().then(async ({ status, headers, body: whole }) => {
    if (!request.url!.startsWith("/v1/download/")) return void response.writeHead(status, headers).end(whole);
    asked.push(request.headers.range);
    const kept = change(headers) as typeof headers;
    if (asked.length > times) return void response.writeHead(status, kept).end(whole);
    response.writeHead(status, kept).write(whole.subarray(0, whole.length >> 1));
    if (then === "go silent") return;
    await setTimeout(50);
    if (then === "stop") await first.stop();
    else response.destroy();
  });
}

const start = async (two: boolean) => (daemon = await startTestDaemon([{ url: first.url, token: servers[0].readKey }, ...(two ? [{ url: servers[1].url, token: servers[1].readKey }] : [])], { readOnly: true }));

/** Undefined when the connection broke. */
async function download(name: string, headers: Record<string, string> = {}): Promise<Buffer | undefined> {
  const answer = await fetch(`${daemon!.url}/v1/download/${name}`, { headers: { authorization: `Bearer ${daemon!.secret}`, ...headers } });
  return answer.arrayBuffer().then((bytes) => Buffer.from(bytes), () => undefined);
}

describe("a body that breaks off", () => {
  test.each([["once", 1], ["three times", 3]])("%s is continued by the same server, which is not taken for dead", async (_, times) => {
    await start(false);
    first.become(half(times));
    expect((await download("same"))!.equals(body)).toBe(true);
    // What was on its way when the connection broke may be lost.
    expect([asked[0], asked.slice(1).every((range) => /^bytes=[1-9]\d*-5999999$/.test(range!)), asked.length]).toEqual([undefined, true, times + 1]);
    expect(await daemon!.stop()).toMatchObject({ breakerOpened: 0, perProtocol: [{ failed: 0 }] });
  });

  test("in the middle of a range is continued within it", async () => {
    await start(false);
    first.become(half(1));
    const part = await download("same", { range: "bytes=500000-5499999" });
    expect(part!.equals(body.subarray(500_000, 5_500_000))).toBe(true);
    expect(asked).toEqual(["bytes=500000-5499999", expect.stringMatching(/^bytes=[1-5]\d{6}-5499999$/)]);
  });

  test("and is small comes whole all the same", async () => {
    await start(false);
    first.become(half(1));
    expect((await download("small"))!.equals(body.subarray(0, 100_000))).toBe(true);
  });

  test.each(["stop", "go silent"] as const)("because its server did (%s) is continued by another that has the very same", async (then) => {
    await start(true);
    first.become(half(9, then));
    expect((await download("same"))!.equals(body)).toBe(true);
    expect((await daemon!.stop()).breakerOpened).toBe(1);
  });

  test.each(["stop", "go silent"] as const)("is a broken connection when the other (%s) has something else under the name", async (then) => {
    await start(true);
    first.become(half(9, then));
    expect(await download("other")).toBeUndefined();
    expect((await daemon!.stop()).perProtocol).toMatchObject([{ failed: 1 }]);
  });

  test.each([
    ["has no ETag", ({ etag: _, ...headers }: Record<string, unknown>) => headers],
    ["has a weak ETag", (headers: Record<string, unknown>) => ({ ...headers, etag: 'W/"x"' })],
    ["has another ETag each time", (headers: Record<string, unknown>) => ({ ...headers, etag: `"${asked.length}"` })],
  ])("is a broken connection when it %s", async (_, change) => {
    await start(false);
    first.become(half(2, "break", change));
    expect(await download("same")).toBeUndefined();
  });

  test("and always does is given up", async () => {
    await start(false);
    first.become(half(99));
    expect(await download("same")).toBeUndefined();
    expect(asked).toHaveLength(4);
  });
});
