import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { cp, mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";

const root = path.resolve(import.meta.dirname, "../..");

/** A checkout whose cli.ts only tells what it got. */
let checkout: string;
/** Makes bin.mjs believe that it runs on Node 20; the Node it starts again is a real one. */
let old: string;

beforeAll(async () => {
  checkout = await mkdtemp(path.join(tmpdir(), "stowhouse-bin-"));
  await mkdir(path.join(checkout, "server"));
  await mkdir(path.join(checkout, "node_modules/node/bin"), { recursive: true });
  await mkdir(path.join(checkout, "node_modules/fastify"));
  await cp(path.join(root, "server/bin.mjs"), path.join(checkout, "server/bin.mjs"));
  await symlink(process.execPath, path.join(checkout, "node_modules/node/bin/node"));
  await writeFile(path.join(checkout, "server/cli.ts"), `
    const [command = ""]: string[] = process.argv.slice(2);
    console.log(process.versions.node.split(".")[0], ...process.argv.slice(2));
    if (command === "exit") process.exitCode = 7;
    if (command === "wait") {
      const timer = setInterval(() => {}, 1000);
      process.on("SIGTERM", () => { console.log("drained"); clearInterval(timer); process.exitCode = 3; });
      console.log("ready");
    }
    if (command === "die") process.kill(process.pid, "SIGKILL");
  `);
  old = path.join(checkout, "old.mjs");
  await writeFile(old, `Object.defineProperty(process, "versions", { value: { ...process.versions, node: "20.20.2" } });\n`);
});

afterAll(() => rm(checkout, { recursive: true, force: true }));

function start(args: string[], imports: string[] = ["--import", old]): ChildProcess & { output: () => string } {
  const child = spawn(process.execPath, [...imports, path.join(checkout, "server/bin.mjs"), ...args], { stdio: ["ignore", "pipe", "pipe"] });
  let text = "";
  child.stdout.on("data", (data: Buffer) => (text += data));
  child.stderr.on("data", (data: Buffer) => (text += data));
  return Object.assign(child, { output: () => text });
}

test("Node 24 runs the command in the same process", async () => {
  const child = start(["status", "--json"], []);
  const [code] = await once(child, "close");
  expect([code, child.output()]).toEqual([0, "24 status --json\n"]);
});

test("an older Node runs it with the Node of node_modules", async () => {
  const child = start(["status", "--json"]);
  const [code] = await once(child, "close");
  expect([code, child.output()]).toEqual([0, "24 status --json\n"]);
});

test("the exit code comes through", async () => {
  expect(await once(start(["exit"]), "close")).toEqual([7, null]);
});

test("the end by a signal comes through", async () => {
  expect(await once(start(["die"]), "close")).toEqual([null, "SIGKILL"]);
});

test("SIGTERM reaches the command, which ends in its own time", async () => {
  const child = start(["wait"]);
  await expect.poll(child.output).toContain("ready");
  child.kill("SIGTERM");
  expect(await once(child, "close")).toEqual([3, null]);
  expect(child.output()).toContain("drained");
});

test("without Node 24 it names the command that fetches it", async () => {
  const node = path.join(checkout, "node_modules/node/bin/node");
  await rm(node);
  const child = start(["status"]);
  const [code] = await once(child, "close");
  await symlink(process.execPath, node);
  expect(code).toBe(1);
  expect(child.output()).toMatch(/needs Node 24\. This is v24.*is missing\.\nRun this in .*: npm rebuild node\n/);
});

test("without dependencies it names npm ci", async () => {
  const fastify = path.join(checkout, "node_modules/fastify");
  await rm(fastify, { recursive: true });
  const child = start(["status"], []);
  const [code] = await once(child, "close");
  await mkdir(fastify);
  expect([code, child.output()]).toEqual([1, expect.stringMatching(/not installed\.\nRun this in .*: npm ci\n/)]);
});
