import { randomBytes } from "node:crypto";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { env } from "../../server/protocols/github-actions/client.ts";
import { startTestDaemon, type TestDaemon } from "../fixtures/daemon.ts";
import { Faulty, FAULTS } from "../fixtures/faulty.ts";
import { Loopback } from "../fixtures/loopback.ts";
import { SccacheJob } from "../fixtures/sccache.ts";
import { startServer, type TestServer } from "../fixtures/server.ts";
import { Toolkit } from "../fixtures/toolkit.ts";

/** What a job may lose to all faults together is 5 s; the rest is for a busy machine, ms. */
const MAY_LOSE = 8_000;

const loopback = new Loopback();
let server: TestServer;
let faulty: Faulty;
let daemon: TestDaemon | undefined;
let toolkit: Toolkit;
const body = randomBytes(6_000_000);

beforeAll(async () => {
  server = await startServer();
  toolkit = await Toolkit.checkout("6", env({ url: server.url, token: server.writeKey }));
  toolkit.write("deps/big.bin", body);
  await toolkit.save("deps", "faults-0");
});
beforeEach(async () => {
  faulty = await new Faulty().start(server.url);
});
afterEach(async () => {
  await daemon?.stop();
  await Promise.all([faulty.stop(), loopback.close()]);
});
afterAll(async () => {
  toolkit.remove();
  await server.stop();
});

/** A job: restores, saves, restores again, and compiles. Returns how long it took, ms, and what it got. */
async function job(url: string, name: string, midway: () => void = () => {}) {
  daemon = await startTestDaemon([{ url, token: server.writeKey }]);
  const variables = env({ url: daemon.url, token: daemon.secret });
  const tool = await Toolkit.checkout("6", variables);
  const compiler = await SccacheJob.start({ ...variables, SCCACHE_GHA_VERSION: name });
  try {
    const began = performance.now();
    tool.write("out/x", name);
    const restored = await tool.restore("deps", "faults-0");
    const object = await compiler.compile("one");
    midway();
    const saved = await tool.save("out", `faults-${name}`);
    const again = await tool.restore("deps", "faults-1", ["faults-0"]);
    const objects = [object, await compiler.compile("two"), await compiler.compile("three")];
    const ms = performance.now() - began;
    if (restored.value !== undefined) expect(tool.read("deps/big.bin").equals(body)).toBe(true);
    const waited = (await daemon.stop(0)).perProtocol.reduce((sum, row) => sum + row.msWaited, 0);
    return { restored, saved, again, ms, waited, objects };
  } finally {
    await compiler.end();
    tool.remove();
  }
}

let well: number;

test("a server that is well: everything hits and is saved", async () => {
  const { restored, saved, again, ms } = await job(faulty.url, "well");
  expect([restored.value, saved.value, again.value]).toEqual(["faults-0", expect.any(Number), "faults-0"]);
  well = ms;
});

describe("a job stays green and loses no more than seconds when the server", () => {
  const check = (done: Awaited<ReturnType<typeof job>>) => {
    expect(done.objects.every(({ length }) => length > 0)).toBe(true);
    for (const one of [done.restored, done.saved, done.again]) expect(one.error).toBeUndefined();
    // The tools' own reaction counts as well; what the daemon let them wait is free of the machine's moods.
    expect(done.ms - well).toBeLessThan(MAY_LOSE);
    expect(done.waited).toBeLessThan(MAY_LOSE);
    console.log(`lost ${Math.round(done.ms - well)} ms, of them ${done.waited} ms in the daemon`);
  };

  test.each(Object.entries(FAULTS))("%s", async (name, fault) => {
    faulty.become(fault);
    const done = await job(faulty.url, name.replace(/\W+/g, "-"));
    check(done);
    if (!/downloads/.test(name)) expect([done.restored.value, done.saved.value]).toEqual([undefined, -1]);
  });

  test("is down", async () => check(await job((await loopback.dead()).origin, "down")));
  test("accepts connections and never says a word", async () => check(await job((await loopback.hanging()).origin, "mute")));
  test("lets connections hang", async () => check(await job((await loopback.hanging()).origin.replace("http:", "https:"), "hang")));
  test("has no name", async () => check(await job("http://cache.invalid", "nameless")));
  test.each(["hangs after the request", "resets connections", "answers 502 in HTML"])("%s from the middle of the job on", async (name) => {
    const done = await job(faulty.url, `midway-${name.replace(/\W+/g, "-")}`, () => faulty.become(FAULTS[name]));
    check(done);
    expect(done.restored.value).toBe("faults-0");
  });
});

test("answers a look-up in a millisecond or so once the server is known to be dead, and uses it again when it is back", async () => {
  faulty.become(FAULTS["hangs after the request"]!);
  daemon = await startTestDaemon([{ url: faulty.url, token: server.writeKey }]);
  const lookup = async () => {
    const began = performance.now();
    const answer = await fetch(`${daemon!.url}/twirp/github.actions.results.api.v1.CacheService/GetCacheEntryDownloadURL`, {
      method: "POST", headers: { "content-type": "application/json", authorization: `Bearer ${daemon!.secret}` }, body: JSON.stringify({ key: "faults-0", version: "none" }),
    });
    expect(await answer.json()).toEqual({ ok: false });
    return performance.now() - began;
  };
  // Many at once wait for the same thing.
  expect(Math.max(...(await Promise.all(Array.from({ length: 20 }, lookup))))).toBeLessThan(3_500);
  const times: number[] = [];
  for (let i = 0; i < 50; i++) times.push(await lookup());
  expect(times.toSorted((a, b) => a - b)[25]).toBeLessThan(15);
  const failed = async () => (await fetch(`${daemon!.url}/v1/health`, { headers: { authorization: `Bearer ${daemon!.secret}` } })).status;
  expect(await failed()).toBe(503);
  faulty.become(undefined);
  await expect.poll(failed, { timeout: 15_000, interval: 200 }).toBe(200);
  expect((await daemon.stop()).breakerOpened).toBe(1);
});

test("goes on with the next server when the first dies, and asks both for what the first has not", async () => {
  const second = await startServer();
  try {
    const tool = await Toolkit.checkout("6", env({ url: second.url, token: second.writeKey }));
    tool.write("out", "of the second");
    await tool.save("out", "second");
    daemon = await startTestDaemon([{ url: faulty.url, token: server.writeKey }, { url: second.url, token: second.writeKey }]);
    const job = await Toolkit.checkout("6", env({ url: daemon.url, token: daemon.secret }));
    expect([(await job.restore("out", "second")).value, job.read("out").toString()]).toEqual(["second", "of the second"]);
    faulty.become(FAULTS["hangs after the request"]);
    job.write("late", "x");
    expect((await job.save("late", "late")).value).toEqual(expect.any(Number));
    job.clear("late");
    expect((await job.restore("late", "late")).value).toBe("late");
    job.remove();
    tool.remove();
  } finally {
    await second.stop();
  }
});
