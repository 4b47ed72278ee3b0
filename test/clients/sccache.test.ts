import { randomBytes } from "node:crypto";
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { sessionToken, startServer, type TestServer } from "../fixtures/server.ts";
import { freePort, run } from "../fixtures/tools.ts";
import { sccache } from "./tools.ts";

let server: TestServer;
let program: string;
let home: string;
let running: Sccache | undefined;

beforeAll(async () => {
  program = await sccache();
  server = await startServer();
  home = mkdtempSync(path.join(tmpdir(), "stowhouse-sccache-"));
});
afterEach(async () => {
  await running?.end();
  running = undefined;
});
afterAll(async () => {
  rmSync(home, { recursive: true, force: true });
  await server.stop();
});

interface Stats {
  readonly hits: number;
  readonly misses: number;
  readonly written: number;
  readonly writeErrors: number;
  readonly readErrors: number;
}

/** One sccache server of its own, as a fresh CI job has it. */
class Sccache {
  readonly #env: Record<string, string>;

  constructor(env: Record<string, string>) {
    this.#env = { PATH: process.env["PATH"]!, HOME: home, ...env };
  }

  async compile(compiler: string, source: string, output: string): Promise<Buffer> {
    await this.#run(compiler, "-c", source, "-o", output);
    return readFileSync(path.join(home, output));
  }

  async stats(): Promise<Stats> {
    const { stats } = JSON.parse(await this.#run("--show-stats", "--stats-format", "json")) as { stats: Record<string, unknown> };
    const sum = (name: string) => Object.values((stats[name] as { counts: Record<string, number> }).counts).reduce((all, one) => all + one, 0);
    return { hits: sum("cache_hits"), misses: sum("cache_misses"), written: stats["cache_writes"] as number, writeErrors: stats["cache_write_errors"] as number, readErrors: sum("cache_errors") };
  }

  async #run(...args: string[]): Promise<string> {
    return (await run(program, args, { cwd: home, env: this.#env, timeout: 120_000, maxBuffer: 1 << 20 })).stdout;
  }

  async end(): Promise<void> {
    await this.#run("--stop-server").catch(() => {});
  }
}

async function job(env: Record<string, string>): Promise<Sccache> {
  await running?.end();
  running = new Sccache({ SCCACHE_GHA_ENABLED: "on", SCCACHE_SERVER_PORT: String(await freePort()), SCCACHE_IDLE_TIMEOUT: "120", ...env });
  return running;
}

const v2 = (key: string, version = "") => ({ ACTIONS_CACHE_SERVICE_V2: "on", ACTIONS_RESULTS_URL: `${server.url}/`, ACTIONS_RUNTIME_TOKEN: key, SCCACHE_GHA_VERSION: version });
const v1 = (key: string, version = "") => ({ ACTIONS_CACHE_URL: `${server.url}/`, ACTIONS_RUNTIME_TOKEN: key, SCCACHE_GHA_VERSION: version });

function source(name: string): string {
  writeFileSync(path.join(home, name), `int ${name.replace(".", "_")}(int x) { return x * 42; }\n`);
  return name;
}

test.each([["service v2, in protobuf", v2], ["service v1", v1]])("%s: a cold compile is a miss, a warm one in the next job a hit", async (_, env) => {
  const file = source("warm.c");
  const cold = await job(env(server.writeKey, "warm"));
  const object = await cold.compile("gcc", file, "warm.o");
  await expect.poll(() => cold.stats(), { timeout: 10_000 }).toEqual({ hits: 0, misses: 1, written: 1, writeErrors: 0, readErrors: 0 });

  const warm = await job(env(server.writeKey, "warm"));
  rmSync(path.join(home, "warm.o"));
  expect((await warm.compile("gcc", file, "warm.o")).equals(object)).toBe(true);
  expect(await warm.stats()).toEqual({ hits: 1, misses: 0, written: 0, writeErrors: 0, readErrors: 0 });
});

test("a read-only key hits, and what it misses is compiled and not stored", async () => {
  const file = source("ro.c");
  const writer = await job(v2(server.writeKey, "ro"));
  await writer.compile("gcc", file, "ro.o");
  await expect.poll(async () => (await writer.stats()).written, { timeout: 10_000 }).toBe(1);

  const reader = await job(v2(server.readKey, "ro"));
  await reader.compile("gcc", file, "ro.o");
  await reader.compile("gcc", source("other.c"), "other.o");
  expect(await reader.stats()).toMatchObject({ hits: 1, misses: 1, written: 0, readErrors: 0 });
});

test.each([["service v2", v2], ["service v1", v1]])("%s: a write-only token compiles, hits nothing and stores what it made", async (_, env) => {
  const token = await sessionToken(server, server.writeKey, { read: [] });
  const writer = await job(env(token, "write-only"));
  await writer.compile("gcc", source("wo.c"), "wo.o");
  await expect.poll(() => writer.stats(), { timeout: 10_000 }).toEqual({ hits: 0, misses: 1, written: 1, writeErrors: 0, readErrors: 0 });
});

test("another version of the cache misses what this one holds", async () => {
  const file = source("version.c");
  const one = await job(v2(server.writeKey, "one"));
  await one.compile("gcc", file, "version.o");
  await expect.poll(async () => (await one.stats()).written, { timeout: 10_000 }).toBe(1);
  const two = await job(v2(server.writeKey, "two"));
  await two.compile("gcc", file, "version.o");
  expect(await two.stats()).toMatchObject({ hits: 0, misses: 1 });
});

test("an object that was stored meanwhile is not stored again, and nothing fails", async () => {
  const file = source("taken.c");
  const one = await job(v2(server.writeKey, "taken"));
  await one.compile("gcc", file, "taken.o");
  await expect.poll(async () => (await one.stats()).written, { timeout: 10_000 }).toBe(1);
  // Recompiling is told not to look first, so it meets the key that is taken.
  const two = await job({ ...v2(server.writeKey, "taken"), SCCACHE_RECACHE: "1" });
  await two.compile("gcc", file, "taken.o");
  expect(readFileSync(path.join(home, "taken.o")).length).toBeGreaterThan(0);
  expect((await two.stats()).hits).toBe(0);
});

test("an object of 200 MB comes back byte by byte", async () => {
  const file = source("big.c");
  // A gcc whose objects are 200 MB of noise, the same noise for the same source.
  const compiler = path.join(home, "gcc");
  const noise = randomBytes(200_000_000);
  writeFileSync(path.join(home, "noise"), noise);
  writeFileSync(compiler, `#!/bin/sh
case " $* " in *" -c "*) ;; *) exec /usr/bin/gcc "$@" ;; esac
/usr/bin/gcc "$@" || exit
while [ $# -gt 1 ]; do [ "$1" = -o ] && cp "${home}/noise" "$2"; shift; done
exit 0
`);
  chmodSync(compiler, 0o755);
  const cold = await job(v2(server.writeKey, "big"));
  expect((await cold.compile(compiler, file, "big.o")).equals(noise)).toBe(true);
  await expect.poll(() => cold.stats(), { timeout: 60_000, interval: 500 }).toEqual({ hits: 0, misses: 1, written: 1, writeErrors: 0, readErrors: 0 });
  const warm = await job(v2(server.writeKey, "big"));
  rmSync(path.join(home, "big.o"));
  expect((await warm.compile(compiler, file, "big.o")).equals(noise)).toBe(true);
  expect(await warm.stats()).toMatchObject({ hits: 1, misses: 0 });
});
