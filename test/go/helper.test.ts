import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { bundledHelper, go, GoMachine, outputsIn, startGoCommand, writeChanged, writeModule } from "../fixtures/go-command.ts";
import { startServer, type TestServer } from "../fixtures/server.ts";
import { KEYS, startStowhouse } from "../fixtures/stowhouse.ts";
import { startLiar } from "./liar.ts";

/**
 * A real toolchain and the helper as it lies in dist. One cold build fills a server, and the others are warm: a cold one takes
 * 20 seconds of CPU.
 */
const MODULE = path.join(import.meta.dirname, "module");

let home: string;
let source: string;
let helper: string;
let server: TestServer;
/** The program as go builds it without any cache. */
let reference: Buffer;
/** The machine that has built everything. */
let builder: GoMachine;
const machines: GoMachine[] = [];

const remote = (key: string, url = server.url) => ({ STOWHOUSE_SERVER: url, STOWHOUSE_TOKEN: key });
const program = () => path.join(home, "program");

function machine(): GoMachine {
  const one = new GoMachine(helper);
  machines.push(one);
  return one;
}

/** Builds the program. @returns its bytes */
async function build(on: GoMachine, settings: Record<string, string>, cwd = source): Promise<Buffer> {
  const output = path.join(on.directory, "program");
  await go(["build", "-o", output, "."], cwd, on.env(settings));
  return readFileSync(output);
}

/** The module with another main function, in a directory of its own. */
function changed(name: string): string {
  const directory = path.join(home, name);
  writeChanged(directory, MODULE, name);
  return directory;
}

beforeAll(async () => {
  home = mkdtempSync(path.join(tmpdir(), "stowhouse-go-home-"));
  source = path.join(home, "module");
  writeModule(source, MODULE);
  [helper, server] = await Promise.all([bundledHelper(home), startServer()]);
  await go(["mod", "download"], source, {});
  // go has written go.sum again, and an index of the module holds its time.
  writeModule(source, MODULE);
  await go(["build", "-o", program(), "."], source, { GOCACHE: path.join(home, "gocache") });
  reference = readFileSync(program());
  builder = new GoMachine(helper);
});
afterEach(() => {
  for (const one of machines.splice(0)) one.remove();
});
afterAll(async () => {
  builder?.remove();
  rmSync(home, { recursive: true, force: true });
  await server?.stop();
});

/** The helper that a go command has started. */
function helperOf(pid: number): number {
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    for (const one of readFileSync(`/proc/${pid}/task/${thread}/children`, "utf8").split(" ").map(Number)) {
      if (one > 0 && readFileSync(`/proc/${one}/cmdline`, "utf8").includes("gocacheprog")) return one;
    }
  }
  throw new Error("go has no helper");
}

test("a cold build makes the program it makes without a cache, and uploads all that it made", async () => {
  expect((await build(builder, remote(server.writeKey))).equals(reference)).toBe(true);
  const { found, made, uploaded } = builder.figures();
  expect([found < made, uploaded]).toEqual([true, made]);
  expect(made).toBeGreaterThan(100);
});

test("a warm build on a fresh machine finds everything in the bundle", async () => {
  const other = machine();
  expect((await build(other, remote(server.readKey))).equals(reference)).toBe(true);
  const { found, of, bundle, made, text } = other.figures();
  expect(of).toBeGreaterThan(100);
  // The program itself, which go looks up and never stores; of its link it stores what the linker said.
  expect({ missed: of - found, made }, text).toEqual({ missed: 1, made: 1 });
  // Some may have gone alone, if the stream was late.
  expect(bundle, text).toBeGreaterThan(of * 0.8);
});

test("a test that passed elsewhere is not run again, and vet finds its facts", async () => {
  await go(["test", "./greet"], source, builder.env(remote(server.writeKey)));
  await go(["vet", "./..."], source, builder.env(remote(server.writeKey)));
  const other = machine();
  expect((await go(["test", "./greet"], source, other.env(remote(server.readKey)))).stdout).toContain("(cached)");
  expect(other.figures().made).toBe(0);
  await go(["vet", "./..."], source, other.env(remote(server.readKey)));
  expect(other.figures().made).toBe(0);
});

test("a read-only key builds what is new, and stores none of it", async () => {
  const directory = changed("read-only");
  const other = machine();
  await build(other, remote(server.readKey), directory);
  const { found, made, uploaded } = other.figures();
  expect([found > 100, made > 0, uploaded]).toEqual([true, true, 0]);
  const third = machine();
  await build(third, remote(server.readKey), directory);
  expect(third.figures().made).toBe(made);
});

test.each([
  ["a server that is down", () => remote(server.writeKey, "http://127.0.0.1:9")],
  ["a token that is wrong", () => remote("stow_rw_of-another-server")],
  ["settings that make no sense", () => ({ ...remote(server.writeKey), STOWHOUSE_GO_DRAIN: "soon", STOWHOUSE_GO_LABEL: "{GOVERSOIN}" })],
])("%s costs a build nothing but the cache", async (_, settings) => {
  const other = builder.copy();
  machines.push(other);
  const began = performance.now();
  await build(other, settings(), changed("alone"));
  expect(execFileSync(path.join(other.directory, "program"), { encoding: "utf8" })).toContain("alone\n");
  expect(performance.now() - began).toBeLessThan(120_000);
});

test("builds that share a disk store at the same time make the same program", async () => {
  const other = machine();
  const commands = [["build", "-o", path.join(home, "one"), "."], ["build", "-o", path.join(home, "two"), "."], ["vet", "./..."], ["test", "./greet"]];
  await Promise.all(commands.map((args) => go(args, source, other.env(remote(server.writeKey)))));
  for (const name of ["one", "two"]) expect(readFileSync(path.join(home, name)).equals(reference)).toBe(true);
  expect(other.verified()).toBeGreaterThan(100);
});

test("a helper that is killed takes go with it, which is how go wants it, but not the store", async () => {
  const other = machine();
  const { child, ended } = startGoCommand(["build", "-o", program(), "."], source, other.env());
  while (outputsIn(other.store).length < 20) await setTimeout(20);
  process.kill(helperOf(child.pid!), "SIGKILL");
  expect((await ended).code).not.toBe(0);
  expect(other.verified()).toBeGreaterThanOrEqual(20);
  expect((await build(other, remote(server.readKey))).equals(reference)).toBe(true);
});

test("a server that is killed costs a build nothing, and keeps what it has acknowledged", async () => {
  const data = mkdtempSync(path.join(tmpdir(), "stowhouse-go-killed-"));
  const first = await startStowhouse({ data: path.join(data, "data") });
  const other = machine();
  try {
    const { ended } = startGoCommand(["build", "-o", program(), "."], source, other.env({ ...remote(KEYS.write, first.url), STOWHOUSE_GO_DRAIN: "2s" }));
    while (outputsIn(other.store).length < 60) await setTimeout(20);
    await first.kill();
    expect((await ended).code).toBe(0);
    expect(readFileSync(program()).equals(reference)).toBe(true);
    expect(other.log()).toContain("the build goes on");

    const second = await startStowhouse({ data: path.join(data, "data") });
    const third = builder.copy();
    machines.push(third);
    await build(third, { ...remote(KEYS.write, second.url), STOWHOUSE_GO_LABEL: "again" });
    await second.stop();
  } finally {
    await first.kill();
    rmSync(data, { recursive: true, force: true });
  }
});

test("wrong bytes from a server are found out, and what they stood for is built", async () => {
  const liar = await startLiar(server.url);
  try {
    const other = machine();
    expect((await build(other, remote(server.readKey, liar.url))).equals(reference)).toBe(true);
    expect(liar.lies()).toBeGreaterThan(5);
    expect(other.verified()).toBeGreaterThan(100);
    expect(other.figures().made).toBeGreaterThanOrEqual(5);
  } finally {
    await liar.stop();
  }
});
