import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { goCacher } from "../clients/tools.ts";
import { makeRoot } from "../fixtures/chroot.ts";
import { startTestDaemon, type TestDaemon } from "../fixtures/daemon.ts";
import { bundledHelper, go, GO_ENVIRONMENT, GoMachine, helperFigures, startGoCommand, writeChanged, writeModule } from "../fixtures/go-command.ts";
import { startServer, type TestServer } from "../fixtures/server.ts";
import { run } from "../fixtures/tools.ts";

/** go-cacher as its authors publish it, straight at the server and through the runner's daemon. Its one cold build fills the server. */
const MODULE = path.join(import.meta.dirname, "module");

let home: string;
let source: string;
let cacher: string;
/** Modules alone that this one needs: they go into the chroot. */
let modules: string;
let server: TestServer;
let daemon: TestDaemon;
let program: Buffer;

/** The program itself is looked up and never stored; of its link go stores what the linker said. */
const ONLY_LINKED = { misses: 1, puts: 1 };
const store = (name: string) => path.join(home, `store-${name}`);
const cacherAt = (name: string, url: string, key?: string) => ({
  GOMODCACHE: modules, GOCACHE: path.join(home, "gocache"), GOCACHEPROG: `${cacher} -verbose -cache-dir ${store(name)} -cache-server ${url}/go${key === undefined ? "" : ` -access-token ${key}`}`,
});

async function build(env: Record<string, string>, cwd = source): Promise<{ bytes: Buffer; stderr: string }> {
  const output = path.join(home, "program");
  rmSync(output, { force: true });
  const { stderr } = await go(["build", "-o", output, "."], cwd, env);
  return { bytes: readFileSync(output), stderr };
}

/** The module with another main function. */
function changed(name: string): string {
  const directory = path.join(home, name);
  writeChanged(directory, MODULE, name);
  return directory;
}

beforeAll(async () => {
  home = mkdtempSync(path.join(tmpdir(), "stowhouse-go-cacher-"));
  source = path.join(home, "module");
  writeModule(source, MODULE);
  [cacher, server] = await Promise.all([goCacher(), startServer()]);
  modules = path.join(home, "modules");
  await go(["mod", "download"], source, { GOMODCACHE: modules });
  // go has written go.sum again, and an index of the module holds its time.
  writeModule(source, MODULE);
});
afterAll(async () => {
  await daemon?.stop();
  await server?.stop();
  rmSync(home, { recursive: true, force: true });
});

test("go-cacher: a cold build stores what it makes", async () => {
  program = (await build(cacherAt("cold", server.url, server.writeKey))).bytes;
  const { entries } = (await (await fetch(`${server.url}/v1/admin/entries?cache=default&keyspace=go&limit=500`, { headers: { authorization: `Bearer ${server.adminKey}` } })).json()) as { entries: unknown[] };
  expect(entries.length).toBeGreaterThan(100);
});

test("go-cacher: a warm build on a fresh machine makes the same program and nothing else", async () => {
  const { bytes, stderr } = await build(cacherAt("warm", server.url, server.readKey));
  expect(bytes.equals(program)).toBe(true);
  expect(figures(stderr)).toEqual(ONLY_LINKED);
});

test("go-cacher: a read-only key builds what is new, although every upload is refused", async () => {
  await build(cacherAt("read-only", server.url, server.readKey), changed("read-only"));
  expect(execFileSync(path.join(home, "program"), { encoding: "utf8" })).toContain("read-only\n");
});

test("go-cacher: a server that is down ends its build, unless the daemon stands between", async () => {
  const alone = startGoCommand(["build", "-o", path.join(home, "program"), "."], changed("down"), cacherAt("warm", "http://127.0.0.1:9", server.writeKey));
  expect((await alone.ended).code).not.toBe(0);

  const dead = await startTestDaemon([{ url: "http://127.0.0.1:9", token: "stow_rw_none" }]);
  try {
    await build(cacherAt("warm", dead.url, dead.secret), changed("behind-daemon"));
    expect(execFileSync(path.join(home, "program"), { encoding: "utf8" })).toContain("behind-daemon\n");
  } finally {
    await dead.stop();
  }
});

test("our helper finds what go-cacher has stored, and go-cacher what our helper has", async () => {
  const machine = new GoMachine(await bundledHelper(home));
  try {
    const directory = changed("both");
    await go(["build", "-o", path.join(home, "program"), "."], directory, machine.env({ GOMODCACHE: modules, STOWHOUSE_SERVER: server.url, STOWHOUSE_TOKEN: server.writeKey }));
    const { found, made, text } = machine.figures();
    expect(found, text).toBeGreaterThan(100);
    expect(made, text).toBeLessThan(20);
    const { stderr } = await build(cacherAt("both", server.url, server.readKey), directory);
    expect(figures(stderr)).toEqual(ONLY_LINKED);
  } finally {
    machine.remove();
  }
});

/**
 * `docker build` has no credential in it and can't reach the runner's loopback: the daemon listens where it can be reached, and
 * who knows its path secret may use it. The chroot holds the toolchain, the sources and both clients, and nothing of the job.
 */
test("in a chroot without a credential, go-cacher and our helper need only the path of a daemon that others can reach", async () => {
  // Every address of the machine, as a job would choose that of docker's bridge.
  daemon = await startTestDaemon([{ url: server.url, token: server.writeKey }], { listen: "0.0.0.0:0" });
  const open = `http://127.0.0.1:${new URL(daemon.url).port}`;
  const secret = `${open}/s/${daemon.secret}`;
  expect((await fetch(`${open}/go/action/${"0".repeat(64)}`, { headers: { authorization: `Bearer ${daemon.secret}`, "want-object": "1" } })).status).toBeGreaterThanOrEqual(400);

  const helper = await bundledHelper(home);
  const [goroot, directory] = [(await run("go", ["env", "GOROOT"])).stdout.trim(), changed("through-daemon")];
  const root = path.join(home, "root");
  const toolchain = ["bin", "pkg", "src", "VERSION", "go.env"].map((name) => path.join(goroot, name));
  await makeRoot(root, [...toolchain, modules, source, directory, path.join(home, "dist")], [cacher, process.execPath]);
  const inside = async (cwd: string, env: Record<string, string>) => {
    // One that is there would spare go its link.
    rmSync(path.join(root, "tmp/program"), { force: true });
    const { stderr } = await run("chroot", [root, path.join(goroot, "bin/go"), "build", "-C", cwd, "-o", "/tmp/program", "."], { timeout: 300_000, maxBuffer: 1 << 24, env: { ...GO_ENVIRONMENT, GOMODCACHE: modules, GOROOT: goroot, GOTELEMETRY: "off", HOME: "/tmp", GOPROXY: "off", ...env } });
    return { bytes: readFileSync(path.join(root, "tmp/program")), stderr };
  };

  const { bytes, stderr } = await inside(source, cacherAt("through", secret));
  expect(bytes.equals(program)).toBe(true);
  expect(figures(stderr)).toEqual(ONLY_LINKED);

  const said = async (name: string) => {
    const store = `/tmp/${name}`;
    const ours = { GOCACHE: "/tmp/gocache", GOCACHEPROG: helper, STOWHOUSE_SERVER: secret, STOWHOUSE_GO_LABEL: "through", STOWHOUSE_GO_DIR: store, STOWHOUSE_GO_STATS: "1", STOWHOUSE_GO_LOG_FILE: `${store}.log` };
    await inside(directory, ours);
    return helperFigures(readFileSync(path.join(root, `${store}.log`), "utf8"));
  };
  expect((await said("first")).uploaded).toBeGreaterThan(0);
  const { bundle, of, made, text } = await said("second");
  expect(made, text).toBe(1);
  expect(bundle, text).toBeGreaterThan(of * 0.8);
});

/** What go-cacher says at its end. */
function figures(stderr: string): { misses: number; puts: number } {
  const [, gets, hits, , , puts] = /(\d+) gets \((\d+) hits, (\d+) misses, (\d+) errors\); (\d+) puts/.exec(stderr) ?? [];
  if (puts === undefined) throw new Error(`go-cacher has said nothing of itself:\n${stderr.slice(-2000)}`);
  return { misses: Number(gets) - Number(hits), puts: Number(puts) };
}
