import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, afterEach, beforeAll, expect, test, vi } from "vitest";
import { ApiServer } from "../fixtures/api-server.ts";
import { freePort } from "../fixtures/tools.ts";

const root = path.resolve(import.meta.dirname, "../..");

let folder: string;
let api: ApiServer;
let kubeconfig: string;
const children: ChildProcess[] = [];

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "stowhouse-operator-"));
  api = await new ApiServer().start();
  kubeconfig = path.join(folder, "kubeconfig");
  await writeFile(kubeconfig, JSON.stringify({
    apiVersion: "v1", kind: "Config", "current-context": "x",
    clusters: [{ name: "c", cluster: { server: api.url, "insecure-skip-tls-verify": true } }],
    users: [{ name: "u", user: { token: "secret" } }],
    contexts: [{ name: "x", context: { cluster: "c", user: "u" } }],
  }));
});
afterEach(() => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
});
afterAll(async () => {
  await api.stop();
  await rm(folder, { recursive: true, force: true });
});

function start(args: string[], env: Record<string, string> = {}) {
  const started = spawn(process.execPath, ["operator/main.ts", ...args], { cwd: root, stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, ...env } });
  children.push(started);
  let text = "";
  for (const stream of [started.stdout, started.stderr]) stream.on("data", (chunk: Buffer) => (text += chunk.toString()));
  return { ended: once(started, "close") as Promise<[number | null]>, said: () => text, kill: (signal: NodeJS.Signals) => started.kill(signal) };
}

test("it gets ready, leads, and gives the lease back when it is told to stop", async () => {
  const port = await freePort();
  const operator = start(["--kubeconfig", kubeconfig, "--namespace", "a", "--lease-namespace", "system", "--metrics-listen", `127.0.0.1:${port}`], { POD_NAME: "pod" });
  const get = (what: string) => fetch(`http://127.0.0.1:${port}${what}`, { signal: AbortSignal.timeout(5_000) });
  await vi.waitFor(async () => expect((await get("/readyz")).status).toBe(200), { timeout: 60_000, interval: 100 });
  await vi.waitFor(async () => expect(await (await get("/metrics")).text()).toContain("stowhouse_operator_leader 1"), { timeout: 10_000, interval: 100 });
  expect((await get("/healthz")).status).toBe(200);
  const spec = () => api.object("Lease", "system", "stowhouse-operator")?.["spec"] as { holderIdentity?: string };
  expect(spec().holderIdentity).toMatch(/^pod_[0-9a-f]{8}$/);
  expect(api.requests.every(({ headers }) => headers.authorization === "Bearer secret")).toBe(true);
  operator.kill("SIGTERM");
  expect(await operator.ended).toEqual([0, null]);
  expect(spec().holderIdentity).toBeUndefined();
  for (const line of operator.said().trim().split("\n")) expect(JSON.parse(line)).toMatchObject({ level: expect.stringMatching(/info|warn/), time: expect.any(String) });
});

test("its help names every setting with its variable", async () => {
  const help = start(["--help"]);
  expect((await help.ended)[0]).toBe(0);
  for (const name of ["namespace", "lease-namespace", "lease-name", "metrics-listen", "log-level", "server-image", "cluster-domain", "concurrency", "kubeconfig", "context"]) expect(help.said()).toContain(`--${name}`);
  expect(help.said().match(/STOWHOUSE_OPERATOR_/g)).toHaveLength(10);
});

test("settings that can't work are refused with what was expected", async () => {
  const wrong = start(["--metrics-listen", "here"]);
  const missing = start(["--kubeconfig", path.join(folder, "nowhere"), "--lease-namespace", "system"]);
  const outside = start(["--kubeconfig", kubeconfig], { STOWHOUSE_OPERATOR_METRICS_LISTEN: "127.0.0.1:0" });
  expect(await Promise.all([wrong, missing, outside].map(({ ended }) => ended))).toEqual([[1, null], [1, null], [1, null]]);
  expect(wrong.said()).toContain("Expected host:port or :port");
  expect(missing.said()).toContain("--kubeconfig");
  expect(outside.said()).toContain("--lease-namespace");
});
