import { randomBytes } from "node:crypto";
import { setTimeout } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { jobMetrics } from "../../action/daemon/control.ts";
import type { DaemonSettings } from "../../action/daemon/settings.ts";
import { env } from "../../server/protocols/github-actions/client.ts";
import { startTestDaemon, type TestDaemon } from "../fixtures/daemon.ts";
import { Faulty, type Fault } from "../fixtures/faulty.ts";
import { SccacheJob } from "../fixtures/sccache.ts";
import { startServer, type TestServer } from "../fixtures/server.ts";
import { Toolkit } from "../fixtures/toolkit.ts";

const SLOW = 3_000;
/** Takes its time for bodies, as over a thin line. */
const slowUploads: Fault = (request, response, pass) => {
  const uploads = request.url!.startsWith("/_blob/write") || request.method === "PATCH" || request.method === "POST" && request.url!.startsWith("/v1/artifacts/");
  void setTimeout(uploads ? SLOW : 0).then(pass).then(({ status, headers, body }) => response.writeHead(status, headers).end(body), () => response.destroy());
};
const swallowsUploads: Fault = (request, response, pass) => {
  if (request.url!.startsWith("/_blob/write") || request.method === "PATCH") request.resume();
  else void pass().then(({ status, headers, body }) => response.writeHead(status, headers).end(body));
};

let server: TestServer;
let line: Faulty;
let daemon: TestDaemon | undefined;
const jobs: Toolkit[] = [];

beforeAll(async () => {
  server = await startServer();
});
beforeEach(async () => {
  line = await new Faulty().start(server.url);
});
afterEach(async () => {
  await daemon?.stop();
  for (const job of jobs.splice(0)) job.remove();
  await line.stop();
});
afterAll(() => server.stop());

const start = async (settings: Partial<DaemonSettings> = {}) => (daemon = await startTestDaemon([{ url: line.url, token: server.writeKey }], settings));
const job = async (variables = env({ url: daemon!.url, token: daemon!.secret }), major = "6") => {
  const made = await Toolkit.checkout(major, variables);
  jobs.push(made);
  return made;
};
const v1 = () => ({ ACTIONS_CACHE_SERVICE_V2: "", ACTIONS_CACHE_URL: `${daemon!.url}/`, ACTIONS_RUNTIME_TOKEN: daemon!.secret });
const direct = () => job(env({ url: server.url, token: server.readKey }));

describe("write-behind", () => {
  test.each([["one body", "6", 5_000_000], ["blocks", "6", 140_000_000], ["one chunk of service v1", "4", 5_000_000], ["chunks of service v1", "4", 70_000_000]])("a save in %s is over before the server has it, readable at once by the same job, and delivered", async (name, major, size) => {
    await start();
    line.become(slowUploads);
    const one = await job(name.endsWith("v1") ? v1() : undefined, major);
    const body = randomBytes(size);
    one.write("deps/b.bin", body);
    const key = `behind-${major}-${size}`;
    const saved = await one.save("deps", key);
    expect(saved.value).toEqual(expect.any(Number));
    await expect.poll(async () => (await jobMetrics(daemon!.stateDir))!.unsentBytes).toBeGreaterThan(0);
    one.clear("deps");
    expect((await one.restore("deps", key)).value).toBe(key);
    expect(one.read("deps/b.bin").equals(body)).toBe(true);
    const { unsentBytes, perProtocol } = await daemon!.stop(30_000);
    expect([unsentBytes, perProtocol]).toMatchObject([0, [{ stored: 1, hits: 1, failed: 0 }]]);
    expect(perProtocol[0]!.bytesOut).toBeGreaterThan(size);
    const other = await direct();
    expect((await other.restore("deps", key)).value).toBe(key);
    expect(other.read("deps/b.bin").equals(body)).toBe(true);
  });

  test.each(["v2", "v1"])("a restore by prefix waits for what the job has just saved, with service %s", async (service) => {
    await start();
    const one = await job(service === "v1" ? v1() : undefined, service === "v1" ? "4" : "6");
    one.write("out", "x");
    await one.save("out", `prefix-${service}-1`);
    expect((await one.restore("out", `prefix-${service}-2`, [`prefix-${service}-`])).value).toBe(`prefix-${service}-1`);
  });

  test.each(["v2", "v1"])("what can't be delivered until the deadline is reported, and is nobody's hit, with service %s", async (service) => {
    await start();
    line.become(swallowsUploads);
    const one = await job(service === "v1" ? v1() : undefined, service === "v1" ? "4" : "6");
    one.write("out", randomBytes(100_000));
    expect((await one.save("out", `undelivered-${service}`)).value).toEqual(expect.any(Number));
    const began = performance.now();
    const { unsentBytes, perProtocol } = await daemon!.stop(700);
    expect(performance.now() - began).toBeLessThan(3_000);
    expect(unsentBytes).toBeGreaterThan(100_000);
    expect(perProtocol).toMatchObject([{ stored: 0, failed: 1 }]);
    expect((await (await direct()).restore("out", `undelivered-${service}`)).value).toBeUndefined();
  });

  test("what a worker that is killed had taken and not delivered counts as unsent, and nothing half-way of it is found", async () => {
    await start();
    line.become(swallowsUploads);
    const one = await job();
    one.write("out", randomBytes(100_000));
    expect((await one.save("out", "killed")).value).toEqual(expect.any(Number));
    await expect.poll(async () => (await jobMetrics(daemon!.stateDir))!.unsentBytes).toBeGreaterThan(100_000);
    await daemon!.killWorker();
    line.become(undefined);
    expect((await one.restore("out", "killed")).value).toBeUndefined();
    const { unsentBytes, restarts } = await daemon!.stop();
    expect([unsentBytes > 100_000, restarts]).toEqual([true, 1]);
  });

  test.each([["a spool that is full", { spoolBytes: 1_000_000 }], ["no spool", { spoolBytes: 0 }]])("with %s uploads go straight to the server", async (name, settings) => {
    await start(settings);
    const one = await job();
    const body = randomBytes(4_000_000);
    one.write("out", body);
    const key = `straight-${name.replaceAll(" ", "-")}`;
    expect((await one.save("out", key)).value).toEqual(expect.any(Number));
    expect((await jobMetrics(daemon!.stateDir))!.unsentBytes).toBe(0);
    expect((await (await direct()).restore("out", key)).value).toBe(key);
  });

  test("sccache's objects hit in the same job while they wait", async () => {
    await start();
    line.become(slowUploads);
    const variables = { ...env({ url: daemon!.url, token: daemon!.secret }), SCCACHE_GHA_VERSION: "behind" };
    const cold = await SccacheJob.start(variables);
    await cold.compile("one");
    await expect.poll(async () => (await cold.stats()).written).toBe(1);
    await cold.end();
    const warm = await SccacheJob.start(variables);
    await warm.compile("one");
    expect(await warm.stats()).toMatchObject({ hits: 1, misses: 0 });
    await warm.end();
    expect((await daemon!.stop(20_000)).unsentBytes).toBe(0);
  });

  test("an artifact of nip is taken at once; who asks for it waits until the server has it", async () => {
    await start();
    const headers = { authorization: `Bearer ${daemon!.secret}` };
    const form = new FormData();
    form.append("metadata", '{"n":1}');
    form.append("file", new Blob([randomBytes(500_000)]), "artifact.tar.gz");
    const posted = await fetch(`${daemon!.url}/v1/artifacts/behind`, { method: "POST", headers, body: form });
    expect([posted.status, await posted.json()]).toEqual([201, { status: "created" }]);
    expect(await (await fetch(`${daemon!.url}/v1/artifacts/behind/metadata`, { headers })).json()).toEqual({ n: 1 });
    expect((await (await fetch(`${daemon!.url}/v1/download/behind`, { headers })).arrayBuffer()).byteLength).toBe(500_000);
  });

  test("a read-only job hears the server's refusal", async () => {
    daemon = await startTestDaemon([{ url: server.url, token: server.readKey }], { readOnly: true });
    const one = await job(undefined, "5");
    one.write("out", "x");
    const saved = await one.save("out", "denied");
    expect([saved.value, saved.error]).toEqual([-1, undefined]);
    expect(saved.log).toContain("cache write denied: ");
    expect((await fetch(`${daemon.url}/v1/artifacts/denied`, { method: "POST", headers: { authorization: `Bearer ${daemon.secret}`, "content-type": "multipart/form-data; boundary=x" }, body: "--x--" })).status).toBe(403);
  });
});
