import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { startServer, type TestServer } from "../fixtures/server.ts";
import { startStowhouse, type Stowhouse } from "../fixtures/stowhouse.ts";
import { freePort } from "../fixtures/tools.ts";

const bin = path.resolve(import.meta.dirname, "../../server/bin.mjs");

interface Result {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Runs `stowhouse` as a shell does, with nothing of our environment but what node needs. */
function stowhouse(args: readonly string[], env: Record<string, string>, cwd: string = tmpdir()): Promise<Result> {
  return new Promise((resolve) => {
    execFile(process.execPath, [bin, ...args], { cwd, env: { PATH: process.env["PATH"]!, ...env }, timeout: 60_000 }, (error, out, err) =>
      resolve({ code: error === null ? 0 : Number((error as { code?: unknown }).code ?? -1), out, err }),
    );
  });
}

describe("on the machine of a server that was just started for the first time", () => {
  let home: string;
  let server: Stowhouse;
  let env: Record<string, string>;
  beforeAll(async () => {
    home = mkdtempSync(path.join(tmpdir(), "stowhouse-admin-cli-"));
    server = await startStowhouse({ data: path.join(home, "data"), home, env: { STOWHOUSE_ADMIN_KEY: "", STOWHOUSE_WRITE_KEY: "", STOWHOUSE_READ_KEY: "" } });
    env = { STOWHOUSE_SERVER: server.url };
    // It is ready a moment before it has written its keys down.
    await vi.waitFor(() => statSync(path.join(home, "data", "keys.env")), { timeout: 10_000 });
  });
  afterAll(async () => {
    await server.stop();
    rmSync(home, { recursive: true, force: true });
  });

  test("the commands need no key: they find the one the start has written down, for its owner alone", async () => {
    expect(statSync(path.join(home, "data", "keys.env")).mode & 0o777).toBe(0o600);
    const here = await stowhouse(["stats"], env, home);
    expect([here.code, here.err]).toEqual([0, ""]);
    expect(here.out).toMatch(/^CACHE .*\ndefault +\(all\) +0 +0 B of 50\.0 GiB/);
    const named = await stowhouse(["key", "list", "--data", path.join(home, "data")], env);
    expect(named.out).toMatch(/first admin key.*\n.*first write key.*\n.*first read key/);
    expect((await stowhouse(["gc", "--json"], { ...env, STOWHOUSE_DATA: path.join(home, "data") })).code).toBe(0);
  });

  test("from another directory they say which key is needed", async () => {
    const { code, err } = await stowhouse(["stats"], env);
    expect(code).toBe(1);
    expect(err).toMatch(/admin key.*--token or STOWHOUSE_TOKEN.*keys\.env.*--data/);
    expect(err).not.toContain("    at ");
  });

  test("a write key administers nothing", async () => {
    const write = /STOWHOUSE_WRITE_KEY=(.*)/.exec(readFileSync(path.join(home, "data", "keys.env"), "utf8"))![1]!;
    const { code, err } = await stowhouse(["key", "create", "mine", "--permission", "admin"], { ...env, STOWHOUSE_TOKEN: write });
    expect(code).toBe(1);
    expect(err).toContain("Administration needs an admin key");
  });
});

describe("against a server elsewhere", () => {
  let server: TestServer;
  let env: Record<string, string>;
  beforeAll(async () => {
    server = await startServer();
    env = { STOWHOUSE_SERVER: server.url, STOWHOUSE_TOKEN: server.adminKey };
  });
  afterAll(() => server.stop());

  test("a key made here works at once, and ends at once", async () => {
    const made = await stowhouse(["key", "create", "ci", "--permission", "write"], env);
    const key = made.out.trim();
    const whoami = async () => (await fetch(`${server.url}/v1/auth/whoami`, { headers: { authorization: `Bearer ${key}` } })).status;
    expect(await whoami()).toBe(200);
    const [, id] = /Key (\w+)/.exec(made.err)!;
    expect((await stowhouse(["key", "revoke", id!], env)).code).toBe(0);
    expect(await whoami()).toBe(401);
  });

  test("what a client stored is listed, checked, removed and collected", async () => {
    const form = new FormData();
    form.set("file", new Blob(["hello"]), "pkg.tar");
    form.set("metadata", JSON.stringify({ name: "pkg" }));
    const stored = await fetch(`${server.url}/v1/artifacts/pkg-1`, { method: "POST", headers: { authorization: `Bearer ${server.writeKey}` }, body: form });
    expect(stored.status).toBeLessThan(300);
    expect((await stowhouse(["ls", "--recent", "--format", "simple"], env)).out).toBe("pkg-1\n");
    expect(JSON.parse((await stowhouse(["stats", "--json"], env)).out).caches[0]).toMatchObject({ cache: "default", entries: 1, uploads: { ok: 1, failed: 0 } });
    expect((await stowhouse(["fsck", "--verify"], env)).out).toMatch(/^1 blobs looked at, every byte read\.\n0 missing, 0 corrupt\./);
    expect((await stowhouse(["rm", "pkg-1"], env)).out).toBe("1 entry (5 B) removed.\n");
    expect((await stowhouse(["ls", "--format", "simple"], env)).out).toBe("");
    expect((await stowhouse(["audit", "--action", "admin.entry.remove"], env)).out).toContain("pkg-1");
  });

  test("what is misspelt is refused with the usage", async () => {
    const { code, err } = await stowhouse(["ls", "--formt", "simple"], env);
    expect(code).toBe(1);
    expect(err).toContain("Usage: stowhouse ls");
  });
});

test("without a server they say so within seconds, and which command starts one", async () => {
  const started = performance.now();
  const { code, out, err } = await stowhouse(["stats"], { STOWHOUSE_SERVER: `http://127.0.0.1:${await freePort()}` });
  expect([code, out]).toEqual([1, ""]);
  expect(err).toMatch(/No Stowhouse server answers at http:\S+ \(ECONNREFUSED\)\. Start one with `stowhouse serve`/);
  expect(performance.now() - started).toBeLessThan(20_000);
});
