import { build } from "esbuild";
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { loadavg } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { npmClients } from "../clients/tools.ts";
import { sessionToken, startServer, type TestServer } from "../fixtures/server.ts";
import { startToxiproxy } from "../fixtures/toxiproxy.ts";
import { copy, files, goCache, nodeModules, rewrite, touch, type Tree } from "./trees.ts";

/**
 * Archives against actions/cache's own client on the same server: both as processes of their own, bundled as actions are,
 * one after the other in every round; trees and destinations on tmpfs, where the disk's write-back can't be measured instead.
 */
const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "5" },
    trees: { type: "string", default: "node_modules,go" },
    delays: { type: "string", default: "0,50" },
    /** A directory in memory. */
    work: { type: "string", default: "/dev/shm" },
  },
});
const rounds = Number(values.rounds);
/** 1 Gbit/s, in toxiproxy's KB a second. */
const BANDWIDTH = 125_000;
const here = import.meta.dirname;

interface Run {
  readonly wall: number;
  /** User and system, of the process and all its children, s. */
  readonly cpu: number;
  readonly bytes: number;
}
type Side = "ours" | "base";
const runs = new Map<string, Run[]>();

const work = mkdtempSync(path.join(values.work, "stowhouse-bench-"));
const bundles = path.join(work, "bundles");
const ARCHIVE = path.join(here, "../../action/client/archive");
await build({
  entryPoints: { client: path.join(here, "archive-client.ts"), "save-worker": `${ARCHIVE}/save-worker.ts`, "restore-worker": `${ARCHIVE}/restore-worker.ts` },
  bundle: true, platform: "node", target: "node24", format: "esm", outdir: bundles, outExtension: { ".js": ".mjs" }, minify: true, logLevel: "error",
});
await build({
  entryPoints: [path.join(await npmClients(), "node_modules/cache6/lib/cache.js")], outfile: path.join(bundles, "actions-cache.mjs"), bundle: true, platform: "node", target: "node24", format: "esm", minify: true, logLevel: "error",
  banner: { js: "import{createRequire as nodeRequire}from'node:module';const require=nodeRequire(import.meta.url);" },
});

/** Runs a client and says what it took; bash knows the CPU of children and their children. */
async function client(args: readonly string[], cwd: string, env: Record<string, string>): Promise<{ wall: number; cpu: number; text: string }> {
  const began = performance.now();
  const child = spawn("bash", ["-c", '"$@"; times', "bash", process.execPath, ...args], { cwd, env: { PATH: process.env["PATH"], ...env }, stdio: ["ignore", "pipe", "inherit"] });
  let text = "";
  for await (const chunk of child.stdout) text += String(chunk);
  const wall = (performance.now() - began) / 1000;
  const cpu = [...text.slice(text.lastIndexOf("RESULT ")).matchAll(/(\d+)m([\d.]+)s/g)].reduce((sum, [, minutes, seconds]) => sum + Number(minutes) * 60 + Number(seconds), 0);
  return { wall, cpu, text };
}

async function ours(call: "save" | "restore", url: string, root: string, key: string, stateDir: string): Promise<Run> {
  const options = { key, version: "v", paths: ["tree"], restoreKeys: [], root, stateDir, deadlineMs: 600_000 };
  const { wall, cpu, text } = await client([path.join(bundles, "client.mjs"), call, url, token, JSON.stringify(options)], root, { HOME: root });
  const result = JSON.parse(/RESULT (.*)/.exec(text)![1]!) as { status: string; bytesSent?: number; bytes?: number };
  if (result.status !== (call === "save" ? "saved" : "hit")) throw new Error(text);
  return { wall, cpu, bytes: result.bytesSent ?? result.bytes! };
}

async function base(call: "save" | "restore", url: string, root: string, key: string): Promise<Run> {
  const env = {
    HOME: root, GITHUB_WORKSPACE: root, RUNNER_TEMP: root, GITHUB_REF: "refs/heads/main", ACTIONS_CACHE_SERVICE_V2: "true",
    ACTIONS_RUNTIME_TOKEN: token, ACTIONS_RESULTS_URL: `${url}/`,
  };
  const { wall, cpu, text } = await client([path.join(here, "../clients/actions-cache.mjs"), path.join(bundles, "actions-cache.mjs"), call, JSON.stringify({ paths: ["tree"], key, restoreKeys: [] })], root, env);
  const done = JSON.parse(/RESULT (.*)/.exec(text)![1]!) as { value?: unknown };
  if (done.value === undefined || done.value === -1) throw new Error(text);
  return { wall, cpu, bytes: Number(/(?:Cache Size: ~\d+ MB|Uploaded|File Size:) ?\(?(\d+)/.exec(text)?.[1] ?? Number.NaN) };
}

let token = "";

async function round(tree: Tree, delay: number, url: string, number: number): Promise<void> {
  const root = path.join(work, "ws");
  mkdirSync(root);
  copy(tree.directory, path.join(root, "tree"));
  const list = files(path.join(root, "tree"));
  const state = path.join(work, "state");
  // The index trusts no file of its own second.
  await new Promise((resolve) => setTimeout(resolve, 1_500));
  const measure = async (scenario: string, side: Side, work: () => Promise<Run>) => {
    const run = await work();
    const name = `${tree.name} ${delay} ${scenario} ${side}`;
    runs.set(name, [...(runs.get(name) ?? []), run]);
    console.log(`${number} ${name.padEnd(46)} ${run.wall.toFixed(2)} s  cpu ${run.cpu.toFixed(2)}  ${(run.bytes / 1e6).toFixed(3)} MB  load ${loadavg()[0]!.toFixed(1)}`);
  };
  const save = async (scenario: string, stateDir: string) => {
    const key = `${scenario.replaceAll(" ", "-").replace("%", "percent")}-${number}`;
    const pair: [Side, () => Promise<Run>][] = [["ours", () => ours("save", url, root, key, stateDir)], ["base", () => base("save", url, root, key)]];
    for (const [side, work] of number % 2 ? pair : pair.toReversed()) await measure(scenario, side, work);
  };
  const restore = async () => {
    for (const side of ["ours", "base"] as const) {
      const target = path.join(work, "target");
      mkdirSync(target);
      await measure("restore", side, () => (side === "ours" ? ours("restore", url, target, `cold-${number}`, path.join(work, "state-2")) : base("restore", url, target, `cold-${number}`)));
      rmSync(target, { recursive: true });
    }
  };
  try {
    await save("cold", state);
    await save("unchanged", state);
    await save("unchanged without index", path.join(work, "none-1"));
    await restore();
    rewrite(list, 0.02, number);
    await save("2 % rewritten", state);
    touch(list, 1_600_000_000 + number);
    await save("new times", path.join(work, "none-2"));
  } finally {
    for (const name of ["ws", "target", "state", "state-2", "none-1", "none-2"]) rmSync(path.join(work, name), { recursive: true, force: true });
  }
}

const best = (name: string, of: (run: Run) => number = ({ wall }) => wall) => Math.min(...(runs.get(name) ?? []).map(of));

/** One goal of issue 4; `value` must not be above `goal`. */
function goal(name: string, value: number, limit: number): void {
  console.log(`${value <= limit ? "met   " : "MISSED"}  ${name}: ${value.toFixed(3)}, goal ≤ ${limit}`);
}

function summary(tree: string, delay: number): void {
  const at = (scenario: string, side: Side) => `${tree} ${delay} ${scenario} ${side}`;
  const ratio = (scenario: string) => best(at(scenario, "ours")) / best(at(scenario, "base"));
  const bytes = (scenario: string, side: Side = "ours") => best(at(scenario, side), (run) => run.bytes);
  const where = `${tree}, ${delay} ms`;
  goal(`${where}: unchanged with an index, time`, ratio("unchanged"), 0.2);
  goal(`${where}: unchanged with an index, bytes`, bytes("unchanged"), 1_024);
  goal(`${where}: 2 % rewritten, time`, ratio("2 % rewritten"), delay === 0 ? 0.35 : 0.4);
  goal(`${where}: 2 % rewritten, bytes of a cold save`, bytes("2 % rewritten") / bytes("cold"), 0.07);
  goal(`${where}: unchanged without an index, time`, ratio("unchanged without index"), delay === 0 ? 1 / 1.2 : 1);
  goal(`${where}: only new times, bytes of a cold save`, bytes("new times") / bytes("cold"), 0.015);
  goal(`${where}: cold save, time`, ratio("cold"), 1.4);
  goal(`${where}: cold save, bytes`, bytes("cold") / bytes("cold", "base"), 1.15);
  goal(`${where}: restore, time`, ratio("restore"), delay === 0 ? (tree === "go" ? 1 : 1.3) : 1 / 1.3);
  goal(`${where}: restore, client CPU`, best(at("restore", "ours"), (run) => run.cpu) / best(at("restore", "base"), (run) => run.cpu), 1.5);
}

const toxiproxy = await startToxiproxy();
const trees = (await Promise.all([nodeModules(), goCache()])).filter(({ name }) => values.trees.split(",").includes(name));
const delays = values.delays.split(",").map(Number);
let server: TestServer | undefined;
try {
  for (const tree of trees) {
    console.log(`${tree.name}: ${files(tree.directory).length} files`);
    for (let number = 1; number <= rounds; number++) {
      for (const delay of delays) {
        // Nothing of an earlier round may be there. The flag is that of `npm start` and of the image.
        server = await startServer({ env: { NODE_OPTIONS: "--max-semi-space-size=2" } });
        token = await sessionToken(server, server.writeKey);
        const proxy = await toxiproxy.proxy(new URL(server.url).host);
        if (delay > 0) {
          for (const stream of ["upstream", "downstream"] as const) {
            await proxy.addToxic({ type: "latency", stream, attributes: { latency: delay / 2 } });
            await proxy.addToxic({ type: "bandwidth", stream, attributes: { rate: BANDWIDTH } });
          }
        }
        await round(tree, delay, delay > 0 ? `http://${proxy.address}` : server.url, number);
        await server.stop();
        server = undefined;
      }
    }
  }
} finally {
  await server?.kill();
  await toxiproxy.stop();
  rmSync(work, { recursive: true, force: true });
}
for (const tree of trees) for (const delay of delays) summary(tree.name, delay);
