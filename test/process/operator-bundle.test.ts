import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { chmod, chown, copyFile, mkdir, mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { buildOperator } from "../../operator/build.mjs";
import { memory } from "../fixtures/stowhouse.ts";

/** What the operator's image holds, without a container: Node, the bundle and package.json, nothing writable. */
const root = path.resolve(import.meta.dirname, "../..");
const USER = process.getuid?.() === 0 ? 10001 : undefined;

let image: string;
let operator: ChildProcess | undefined;
const asked: string[] = [];
/** Stands where the API server would and knows nothing: how the operator works is proven on a real one (test/cluster). */
const api = createServer((request, response) => {
  asked.push(`${request.headers.authorization} ${request.url!.split("?")[0]}`);
  response.writeHead(404, { "content-type": "application/json" }).end(JSON.stringify({ kind: "Status", status: "Failure", code: 404, reason: "NotFound", message: "not found" }));
});

beforeAll(async () => {
  image = await mkdtemp(path.join(tmpdir(), "stowhouse-operator-image-"));
  await mkdir(path.join(image, "app/build"), { recursive: true });
  await buildOperator(path.join(image, "app/build"));
  await copyFile(process.execPath, path.join(image, "node"));
  await copyFile(path.join(root, "package.json"), path.join(image, "app/package.json"));
  await new Promise<void>((done) => api.listen(0, "127.0.0.1", done));
  const server = `http://127.0.0.1:${(api.address() as AddressInfo).port}`;
  const kubeconfig = { apiVersion: "v1", kind: "Config", "current-context": "c", clusters: [{ name: "c", cluster: { server, "insecure-skip-tls-verify": true } }], users: [{ name: "u", user: { token: "a-token" } }], contexts: [{ name: "c", context: { cluster: "c", user: "u", namespace: "default" } }] };
  await writeFile(path.join(image, "kubeconfig"), JSON.stringify(kubeconfig));
  if (USER !== undefined) await chown(path.join(image, "kubeconfig"), USER, USER);
  for (const name of ["app/build", "app", "."]) await chmod(path.join(image, name), 0o555);
}, 120_000);

afterAll(async () => {
  operator?.kill("SIGKILL");
  api.closeAllConnections();
  api.close();
  for (const name of [".", "app", "app/build"]) await chmod(path.join(image, name), 0o755);
  await rm(image, { recursive: true, force: true });
});

/** Seconds of processor time a process has used. */
function processorTime(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").replace(/^.*\) /, "").split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

test("the operator's bundle is small, starts in a second of processor time, asks with its kubeconfig's token and stops on SIGTERM", async () => {
  expect((await stat(path.join(image, "app/build/operator.mjs"))).size).toBeLessThan(2 * 1024 * 1024);
  expect((await stat(path.join(image, "app/build/operator.mjs.LEGAL.txt"))).size).toBeGreaterThan(0);
  operator = spawn(path.join(image, "node"), ["--max-semi-space-size=1", "app/build/operator.mjs", "--kubeconfig", "kubeconfig", "--lease-namespace", "default", "--metrics-listen", "127.0.0.1:0"], {
    cwd: image, env: { TMPDIR: path.join(image, "app"), HOME: "/nonexistent" }, stdio: ["ignore", "pipe", "inherit"], ...(USER === undefined ? {} : { uid: USER, gid: USER }),
  });
  let output = "";
  operator.stdout!.on("data", (data: Buffer) => (output += data));
  const port = () => /"metrics_port":(\d+)/.exec(output)?.[1];
  await expect.poll(port, { timeout: 30_000 }).toBeDefined();
  expect(processorTime(operator.pid!)).toBeLessThan(1);
  expect((await fetch(`http://127.0.0.1:${port()}/healthz`)).status).toBe(200);
  await expect.poll(() => asked.length, { timeout: 30_000 }).toBeGreaterThan(0);
  expect(asked.every((line) => line.startsWith("Bearer a-token /api"))).toBe(true);
  expect(memory(operator.pid!).now).toBeLessThan(100);
  const ended = once(operator, "exit");
  operator.kill("SIGTERM");
  expect(await ended).toEqual([0, null]);
});
