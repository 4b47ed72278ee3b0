import { randomBytes } from "node:crypto";
import { rmSync, statSync } from "node:fs";
import { networkInterfaces } from "node:os";
import path from "node:path";
import { setTimeout } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { jobMetrics, renewToken } from "../../action/daemon/control.ts";
import { open } from "../../action/daemon/tunnel.ts";
import { env } from "../../server/protocols/github-actions/client.ts";
import { startTestDaemon, type TestDaemon } from "../fixtures/daemon.ts";
import { SccacheJob } from "../fixtures/sccache.ts";
import { startServer, type TestServer } from "../fixtures/server.ts";
import { Toolkit } from "../fixtures/toolkit.ts";

let server: TestServer;
let daemon: TestDaemon | undefined;

beforeAll(async () => {
  server = await startServer();
});
afterEach(() => daemon?.stop());
afterAll(() => server.stop());

const started = async (...rest: Parameters<typeof startTestDaemon> extends [unknown, ...infer R] ? R : never) => (daemon = await startTestDaemon([{ url: server.url, token: server.writeKey }], ...rest));
const lookup = (url: string, headers: Record<string, string>) =>
  fetch(`${url}/twirp/github.actions.results.api.v1.CacheService/GetCacheEntryDownloadURL`, { method: "POST", headers: { "content-type": "application/json", ...headers }, body: JSON.stringify({ key: "k", version: "v" }) });

describe("the daemon", () => {
  test.each(["4", "5", "6"])("serves @actions/cache %s: saves, hits by key and by prefix", async (major) => {
    const { url, secret, stop } = await started();
    const job = await Toolkit.checkout(major, env({ url, token: secret }));
    job.write("deps/a.txt", "first");
    const body = randomBytes(9_000_000);
    job.write("deps/b.bin", body);
    const key = `daemon-${major}`;
    expect(await job.save("deps", key)).toMatchObject({ value: expect.any(Number) });
    for (const [asked, prefixes] of [[key, []], [`${key}-other`, [key]]] as const) {
      job.clear("deps");
      expect(await job.restore("deps", asked, [...prefixes])).toMatchObject({ value: key });
      expect(job.read("deps/b.bin").equals(body)).toBe(true);
    }
    expect((await job.restore("deps", "nothing")).value).toBeUndefined();
    const { perProtocol, ...rest } = await stop();
    expect(rest).toEqual({ breakerOpened: 0, unsentBytes: 0, restarts: 0 });
    expect(perProtocol).toMatchObject([{ protocol: "github-actions", hits: 2, misses: 1, stored: 1, failed: 0 }]);
    expect(perProtocol[0]!.bytesIn).toBeGreaterThan(2 * body.length);
    expect(perProtocol[0]!.bytesOut).toBeGreaterThan(body.length);
    job.remove();
  });

  test("serves nobody without the job's secret, and nothing but caches", async () => {
    const { url, secret } = await started();
    const statuses = async (headers: Record<string, string>) => (await lookup(url, headers)).status;
    const basic = (text: string) => ({ authorization: `Basic ${Buffer.from(text).toString("base64")}` });
    for (const headers of [{}, { authorization: `Bearer ${secret}x` }, { authorization: `Bearer ${server.writeKey}` }, basic("login:wrong"), basic(`${secret}:password`)]) expect(await statuses(headers as Record<string, string>)).toBe(401);
    for (const headers of [{ authorization: `Bearer ${secret}` }, basic(`login:${secret}`), basic(`${secret}:`), basic(`${secret}:x-oauth-basic`)]) expect(await statuses(headers)).toBe(200);
    expect([(await lookup(`${url}/s/${secret}`, {})).status, (await lookup(`${url}/s/${secret}x`, {})).status]).toEqual([200, 401]);
    const denied = await fetch(`${url}/v1/artifacts/stolen`, { method: "POST", headers: { authorization: "Bearer nothing" }, body: "x" });
    expect(denied.status).toBe(401);
    expect((await fetch(`${server.url}/v1/artifacts/stolen`, { headers: { authorization: `Bearer ${server.readKey}` } })).status).toBe(404);
    for (const where of ["/v1/admin/keys", "/v1/auth/session", "/metrics", "/"]) expect((await fetch(url + where, { headers: { authorization: `Bearer ${secret}` } })).status).toBe(404);
    await expect.poll(async () => (await jobMetrics(daemon!.stateDir))!.perProtocol).toMatchObject([{ protocol: "github-actions", misses: 5 }]);
  });

  test("keeps its control secret to its own user, and takes new tokens", async () => {
    daemon = await startTestDaemon([{ url: server.url, token: "expired" }]);
    expect(statSync(path.join(daemon.stateDir, "daemon.json")).mode & 0o777).toBe(0o600);
    // Connections of their own: one that a worker had is cut when it dies.
    const headers = { authorization: `Bearer ${daemon.secret}`, connection: "close" };
    const get = () => fetch(`${daemon!.url}/v1/artifacts/renewed`, { headers });
    const posted = await fetch(`${daemon.url}/v1/artifacts/renewed`, { method: "POST", headers, body: form() });
    expect([posted.status, (await get()).status]).toEqual([201, 404]);
    expect(await renewToken(daemon.stateDir, server.writeKey)).toBe(true);
    expect(await renewToken(daemon.stateDir, server.writeKey, "http://elsewhere")).toBe(false);
    // What was acknowledged before is delivered with the new token.
    await expect.poll(async () => (await get()).status, { timeout: 10_000 }).toBe(200);
    expect(await (await get()).json()).toEqual({ downloadUrl: "/v1/download/renewed" });
    await daemon.killWorker();
    expect((await get()).status).toBe(200);
    expect((await daemon.stop()).restarts).toBe(1);
  });

  test("on other addresses than loopback wants the secret in the path, and tunnels for nobody without it", async () => {
    const { url, secret } = await started({ listen: "0.0.0.0:0", intercept: { runtimeToken: "t" } });
    expect((await lookup(url, { authorization: `Bearer ${secret}` })).status).toBe(200);
    const outside = Object.values(networkInterfaces()).flat().find((one) => one?.family === "IPv4" && !one.internal)?.address;
    // A machine without a network has nobody to refuse.
    if (outside === undefined) return;
    const there = url.replace("127.0.0.1", outside);
    expect([(await lookup(there, { authorization: `Bearer ${secret}` })).status, (await lookup(`${there}/s/${secret}`, {})).status]).toEqual([401, 200]);
    const through = (login: string) => open({ host: "127.0.0.1", port: Number(new URL(server.url).port) }, { httpsProxy: there.replace("//", `//${login}`) }).then((socket) => (socket.destroy(), "open"), (error: Error) => error.message);
    expect([await through(""), await through(`any:${secret}@`)]).toEqual([expect.stringContaining("407"), "open"]);
  });

  test("kill -9 of the worker in mid-build leaves the build green, and what it did stays cached", async () => {
    const { url, secret, killWorker, stop } = await started();
    const variables = { ...env({ url, token: secret }), SCCACHE_GHA_VERSION: "killed" };
    const names = Array.from({ length: 12 }, (_, i) => `part${i}`);
    const cold = await SccacheJob.start(variables);
    for (const [i, name] of names.entries()) {
      const compiled = cold.compile(name);
      // At another moment of the compile each time.
      if (i % 3 === 1) await setTimeout(i * 5).then(killWorker);
      expect((await compiled).length).toBeGreaterThan(0);
    }
    await cold.end();
    const warm = await SccacheJob.start(variables);
    for (const name of names) await warm.compile(name);
    expect((await warm.stats()).hits).toBeGreaterThanOrEqual(names.length - 4);
    await warm.end();
    expect((await stop()).restarts).toBe(4);
  });

  test("leaves no worker behind when it is killed itself, and stopping it then is no error", async () => {
    const { url, pid, stop } = await started();
    expect((await lookup(url, {})).status).toBe(401);
    process.kill(pid, "SIGKILL");
    await expect.poll(() => fetch(url, { headers: { connection: "close" } }).then(() => "there", () => "gone"), { timeout: 5_000 }).toBe("gone");
    expect((await stop()).perProtocol).toEqual([]);
  });

  test("ends by itself when the job's temporary files are swept away", async () => {
    const { alive, stateDir } = await started({ idleMs: 60_000 });
    rmSync(stateDir, { recursive: true });
    await expect.poll(alive, { timeout: 10_000 }).toBe(false);
  });

  test("ends by itself when nobody uses it, and stopping it again is no error", async () => {
    const { alive, stop } = await started({ idleMs: 400 });
    await expect.poll(alive, { timeout: 5_000 }).toBe(false);
    expect(await stop()).toEqual({ perProtocol: [], breakerOpened: 0, unsentBytes: 0, restarts: 0 });
  });
});

function form(): FormData {
  const data = new FormData();
  data.append("metadata", "{}");
  data.append("file", new Blob(["artifact"]), "artifact.tar.gz");
  return data;
}
