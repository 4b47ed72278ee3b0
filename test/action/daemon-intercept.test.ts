import { randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import http, { createServer } from "node:http";
import https from "node:https";
import { tmpdir } from "node:os";
import path from "node:path";
import tls from "node:tls";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { INTERCEPTED_HOST, type DaemonSettings } from "../../action/daemon/settings.ts";
import { issue } from "../../action/daemon/authority.ts";
import { join, open, parseAuthority } from "../../action/daemon/tunnel.ts";
import { startTestDaemon, type TestDaemon } from "../fixtures/daemon.ts";
import { Loopback } from "../fixtures/loopback.ts";
import { startServer, type TestServer } from "../fixtures/server.ts";
import { Toolkit } from "../fixtures/toolkit.ts";

/** A host that stands for GitHub's: what reaches it is written down, and answered. */
const loopback = new Loopback();
const TOKEN = "the-jobs-own-runtime-token";
const seen: string[] = [];
let server: TestServer;
let github: URL;
let home: string;
let githubsCa: string;
let daemon: TestDaemon | undefined;

beforeAll(async () => {
  server = await startServer();
  home = mkdtempSync(path.join(tmpdir(), "stowhouse-intercept-"));
  githubsCa = path.join(home, "github.pem");
  const { authority, identity } = issue("localhost");
  writeFileSync(githubsCa, authority);
  const fake = https.createServer({ key: identity.key, cert: identity.certificate }, (request, response) => {
    let size = 0;
    request.on("data", (data: Buffer) => (size += data.length));
    request.on("end", () => {
      seen.push(`${request.method} ${request.url} ${request.headers.authorization ?? "-"} ${size}`);
      response.writeHead(200, "Fine", ["Content-Type", "text/plain", "X-Twice", "1", "X-Twice", "2"]).end("GitHub");
    });
  });
  github = await loopback.listen(fake);
  // The daemon trusts the fake host as it would trust the real one.
  process.env["NODE_EXTRA_CA_CERTS"] = githubsCa;
});
beforeEach(() => void seen.splice(0));
afterEach(() => daemon?.stop());
afterAll(async () => {
  delete process.env["NODE_EXTRA_CA_CERTS"];
  rmSync(home, { recursive: true });
  await Promise.all([loopback.close(), server.stop()]);
});

const host = () => `localhost:${github.port}`;
const start = async (settings: Partial<DaemonSettings> = {}) => (daemon = await startTestDaemon([{ url: server.url, token: server.writeKey }], { intercept: { runtimeToken: TOKEN, host: host() }, ...settings }));

/** A daemon that intercepts the real host, which nothing here could reach; the toolkit goes past any proxy to loopback. */
const startForToolkit = async (url: string) => (daemon = await startTestDaemon([{ url, token: server.writeKey }], { intercept: { runtimeToken: TOKEN } }));

/** What the runner forces on an action, and what set-up exported for it. */
const forced = () => ({ ACTIONS_RESULTS_URL: `https://${INTERCEPTED_HOST}/`, ACTIONS_RUNTIME_TOKEN: TOKEN, https_proxy: daemon!.url, NODE_EXTRA_CA_CERTS: daemon!.caFile! });

interface Heard {
  readonly status: number;
  readonly reason: string;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: string;
}

/** A request through the daemon's CONNECT, as a tool with a proxy setting makes it. */
async function through(target: string, where: string, { ca = daemon!.caFile!, body, headers = {} }: { ca?: string; body?: Buffer; headers?: Record<string, string> } = {}): Promise<Heard> {
  const raw = await open(parseAuthority(target)!, { httpsProxy: daemon!.url });
  const socket = tls.connect({ socket: raw, servername: "localhost", ca: readFileSync(ca) });
  return new Promise((resolve, reject) => {
    const request = https.request({ createConnection: () => socket, method: body ? "PUT" : "GET", path: where, headers: { host: target, ...headers, ...(body && { "content-length": body.length }) } });
    socket.on("error", reject);
    request.on("error", reject).on("response", (response) => {
      let text = "";
      response.on("data", (data: Buffer) => (text += data.toString())).on("end", () => (socket.destroy(), resolve({ status: response.statusCode!, reason: response.statusMessage!, headers: response.headers, body: text })));
    });
    request.end(body);
  });
}

describe("interception", () => {
  test.each(["4", "5", "6"])("serves the unmodified @actions/cache %s under the runner's environment", async (major) => {
    await startForToolkit(server.url);
    const job = await Toolkit.checkout(major, forced());
    const body = randomBytes(9_000_000);
    job.write("deps/b.bin", body);
    expect(await job.save("deps", `intercepted-${major}`)).toMatchObject({ value: expect.any(Number) });
    job.clear("deps");
    expect(await job.restore("deps", `intercepted-${major}`)).toMatchObject({ value: `intercepted-${major}` });
    expect(job.read("deps/b.bin").equals(body)).toBe(true);
    expect((await job.restore("deps", "nothing")).value).toBeUndefined();
    expect((await daemon!.stop()).perProtocol).toMatchObject([{ hits: 1, misses: 1, stored: 1, failed: 0 }]);
    job.remove();
  });

  test("hands everything else on that host on as it is: artifacts, and caches of who is not this job", async () => {
    await start();
    const body = randomBytes(2_000_000);
    const artifact = "/twirp/github.actions.results.api.v1.ArtifactService/CreateArtifact";
    expect(await through(host(), artifact, { body, headers: { authorization: `Bearer ${TOKEN}` } })).toMatchObject({ status: 200, reason: "Fine", body: "GitHub", headers: { "x-twice": "1, 2" } });
    const cache = "/twirp/github.actions.results.api.v1.CacheService/GetCacheEntryDownloadURL";
    await through(host(), cache, { headers: { authorization: "Bearer of-another-job" } });
    // The secret of the tools is none on GitHub's host.
    await through(host(), cache, { headers: { authorization: `Bearer ${daemon!.secret}` } });
    expect(seen).toEqual([`PUT ${artifact} Bearer ${TOKEN} 2000000`, `GET ${cache} Bearer of-another-job 0`, `GET ${cache} Bearer ${daemon!.secret} 0`]);
    expect((await daemon!.stop()).perProtocol).toEqual([]);
  });

  test("tunnels every other host unread, through the proxy the job had before", async () => {
    const { authority, identity } = issue("localhost");
    const elsewhere = await loopback.listen(https.createServer({ key: identity.key, cert: identity.certificate }, (_, response) => response.end("elsewhere")));
    const ca = path.join(home, "elsewhere.pem");
    writeFileSync(ca, authority);
    const asked: string[] = [];
    const corporate = await loopback.listen(createServer((request, response) => {
      // Plain http goes to a proxy in absolute form.
      asked.push(new URL(request.url!).host);
      http.request(request.url!, { method: request.method!, headers: request.headers }, (answer) => (response.writeHead(answer.statusCode!, answer.headers), answer.pipe(response))).end();
    }).on("connect", (request, socket) => {
      asked.push(request.url!);
      void open(parseAuthority(request.url)!, {}).then((remote) => (socket.write("HTTP/1.1 200 OK\r\n\r\n"), join(socket, remote)), () => socket.end("HTTP/1.1 504 Nobody\r\n\r\n"));
    }));
    await start({ intercept: { runtimeToken: TOKEN, host: host(), extraCaFile: ca }, upstreamProxy: { httpsProxy: corporate.origin, httpProxy: corporate.origin, noProxy: "example.com" } });
    const target = `localhost:${elsewhere.port}`;
    // The one file of trusted authorities is good for both.
    expect((await through(target, "/")).body).toBe("elsewhere");
    expect((await through(host(), "/artifact")).body).toBe("GitHub");
    const looked = await fetch(`${daemon!.url}/v1/artifacts/none`, { headers: { authorization: `Bearer ${daemon!.secret}` } });
    expect(looked.status).toBe(404);
    expect(asked).toEqual([target, host(), new URL(server.url).host]);
    expect(await through("localhost:1", "/").catch((error: Error) => error.message)).toContain("502");
  });

  test("without interception there is no proxy for anybody", async () => {
    daemon = await startTestDaemon([{ url: server.url, token: server.writeKey }]);
    await expect(through(host(), "/", { ca: githubsCa })).rejects.toThrow();
  });

  test("a job whose cache is down misses and goes on", async () => {
    await startForToolkit((await loopback.dead()).origin);
    const job = await Toolkit.checkout("6", forced());
    job.write("deps/a", "x");
    const [restored, saved] = [await job.restore("deps", "down"), await job.save("deps", "down")];
    expect([restored.value, restored.error, saved.value, saved.error]).toEqual([undefined, undefined, -1, undefined]);
    expect(restored.ms + saved.ms).toBeLessThan(8_000);
    job.remove();
  });
});
