import { Command } from "commander";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { startAdmin, type AdminServer } from "../../test/fixtures/admin.ts";
import { registerAdminCommands } from "./admin-commands.ts";

let server: AdminServer;
let url: string;
let serial = 0;
/** A cache no other test uses. */
let cache: string;
beforeAll(async () => {
  server = await startAdmin();
  await server.app.listen({ host: "127.0.0.1", port: 0 });
  url = `http://127.0.0.1:${(server.app.server.address() as AddressInfo).port}`;
});
beforeEach(async () => {
  cache = `cache-${++serial}`;
  await server.call("PUT", `/caches/${cache}`, { body: { quota: "1GiB" } });
});
afterAll(() => server.stop());

/** Runs a command as the shell would. */
async function run(...args: string[]): Promise<{ out: string; err: string }> {
  let [out, err] = ["", ""];
  const program = new Command("stowhouse").exitOverride().configureOutput({ writeOut: (text) => void (out += text), writeErr: (text) => void (err += text) });
  const quiet = (command: Command): void => {
    command.exitOverride().configureOutput({ writeOut: () => {}, writeErr: (text) => void (err += text) });
    command.commands.forEach(quiet);
  };
  registerAdminCommands(program, { env: { STOWHOUSE_SERVER: url, STOWHOUSE_TOKEN: server.admin }, stdout: { write: (text) => (out += text) }, stderr: { write: (text) => (err += text) } });
  program.commands.forEach(quiet);
  await program.parseAsync(args, { from: "user" });
  return { out, err };
}
const json = async (...args: string[]) => JSON.parse((await run(...args, "--json")).out);
const lines = (text: string) => text.trimEnd().split("\n");

describe("stats", () => {
  test("shows each cache and its keyspaces in aligned columns", async () => {
    await server.put("a", { cache, body: "x".repeat(1536), keyspace: "go" });
    server.core.journal.counter(cache, "go", "hit").value += 3;
    server.core.journal.counter(cache, "go", "miss").value += 1;
    const [head, all, keyspace] = lines((await run("stats", "--cache", cache)).out);
    expect(head).toMatch(/^CACHE +KEYSPACE +ENTRIES +SIZE +MEAN AGE +HIT RATE +UPLOADS OK +DOWNLOADS OK +AVERAGE +P95$/);
    expect(all).toMatch(new RegExp(`^${cache} +\\(all\\) +1 +1\\.5 KiB of 1\\.0 GiB .* 75% of 4 +- +- +- +-$`));
    expect(keyspace!.trim()).toMatch(/^go +1 +1\.5 KiB/);
    expect(keyspace!.indexOf("go")).toBe(head!.indexOf("KEYSPACE"));
  });

  test("prints what the server says as JSON", async () => {
    expect(await json("stats", "--cache", cache, "--days", "7")).toMatchObject({ days: 7, caches: [{ cache, quota: 2 ** 30, hitRate: null }] });
  });

  test("refuses days that are none, and a cache that is not there", async () => {
    await expect(run("stats", "--days", "91")).rejects.toMatchObject({ code: "commander.invalidArgument" });
    await expect(run("stats", "--cache", "nowhere")).rejects.toMatchObject({ code: "STOW_NO_CACHE" });
  });
});

describe("ls", () => {
  beforeEach(async () => {
    for (const key of ["app-1", "app-2", "lib-1"]) await server.put(key, { cache, keyspace: key.startsWith("lib") ? "go" : "nip" });
  });

  test("prints a table, keys alone for a shell, or JSON", async () => {
    const [head, first] = lines((await run("ls", "--cache", cache, "--keyspace", "nip")).out);
    expect(head).toMatch(/^KEYSPACE +KEY +SIZE +CREATED +USED +SCOPE$/);
    expect(first).toMatch(/^nip +app-1 +1 B +0 seconds ago|^nip +app-1 +1 B +\d+ seconds? ago/);
    expect((await run("ls", "--cache", cache, "--format", "simple")).out).toBe("lib-1\napp-1\napp-2\n");
    expect((await json("ls", "--cache", cache)).map((entry: { key: string }) => entry.key)).toEqual(["lib-1", "app-1", "app-2"]);
    expect(JSON.parse((await run("ls", "--cache", cache, "--prefix", "zzz", "--format", "json")).out)).toEqual([]);
  });

  test("shows the last used first when asked", async () => {
    const entry = await server.put("zzz", { cache });
    server.core.journal.touch(entry, undefined, Date.now() + 60_000);
    expect(lines((await run("ls", "--cache", cache, "--recent", "--format", "simple")).out)[0]).toBe("zzz");
  });

  test("stops at its limit, and says so where it set that itself", async () => {
    expect((await run("ls", "--cache", cache, "--limit", "2", "--format", "simple")).out).toBe("lib-1\napp-1\n");
    await Promise.all(Array.from({ length: 150 }, (_, n) => server.put(`many-${n}`, { cache })));
    const { out, err } = await run("ls", "--cache", cache);
    expect(lines(out)).toHaveLength(101);
    expect(err).toContain("Only 100 are shown");
    expect(lines((await run("ls", "--cache", cache, "--format", "simple")).out)).toHaveLength(153);
  });
});

describe("rm", () => {
  test("removes keys, in all their versions and scopes", async () => {
    for (const [version, scope] of [["1", "local:main"], ["2", "local:main"], ["1", "team:ci"]] as const) await server.put("k", { cache, version, scope });
    await server.put("kept", { cache });
    expect((await run("rm", "k", "--cache", cache, "--dry-run")).out).toBe("3 entries (3 B) would be removed.\n");
    expect((await run("rm", "k", "nothing", "--cache", cache)).out).toBe("3 entries (3 B) removed.\n");
    expect((await run("ls", "--cache", cache, "--format", "simple")).out).toBe("kept\n");
  });

  test("removes what fits", async () => {
    await server.put("app-1", { cache });
    await server.put("lib-1", { cache });
    expect(await json("rm", "--prefix", "app-", "--cache", cache)).toEqual({ entries: 1, bytes: 1, dryRun: false });
    expect(await json("rm", "--all", "--cache", cache)).toEqual({ entries: 1, bytes: 1, dryRun: false });
  });

  test.each([[[]], [["k", "--all"]], [["k", "--prefix", "x"]]])("refuses %j: too much or too little is said", async (args) => {
    await expect(run("rm", ...args, "--cache", cache)).rejects.toMatchObject({ code: "STOW_BAD_REQUEST" });
  });
});

describe("key", () => {
  const whoami = async (key: string) => (await server.app.inject({ method: "GET", url: "/v1/auth/whoami", headers: { authorization: `Bearer ${key}` } })).statusCode;

  test("create prints the key alone, for a script to take, and the rest beside it", async () => {
    const { out, err } = await run("key", "create", "ci builds", "--permission", "write", "--cache", cache, "--scope", "team:ci", "--expires", "90d");
    expect(out).toMatch(/^stow_rw_\w+\n$/);
    expect(await whoami(out.trim())).toBe(200);
    expect(err).toMatch(new RegExp(`\\(ci builds\\): write, caches ${cache}, expires 20.*shown this once`));
    expect(err).not.toContain(out.trim());
  });

  test("create makes keys for the agents of a workspace, and for who tells them what to activate", async () => {
    expect((await json("key", "create", "web", "--deploy-agent", "prod/web")).info).toMatchObject({ permission: "read", deploy: { workspace: "prod", may: "agent", agent: "web" } });
    expect((await json("key", "create", "any", "--deploy-agent", "prod")).info.deploy).toEqual({ workspace: "prod", may: "agent" });
    expect((await json("key", "create", "cd", "--deploy-activate", "prod")).info.deploy).toEqual({ workspace: "prod", may: "activate" });
    const { out } = await run("key", "list");
    for (const rights of ["read, agent prod/web", "read, agent prod/*", "read, activates prod"]) expect(out).toContain(rights);
  });

  test("list shows who may do what, and what has ended", async () => {
    const made = await json("key", "create", "listed", "--permission", "read", "--public", "--expires", "2h");
    await run("key", "revoke", (await json("key", "create", "ended")).info.id);
    const { out } = await run("key", "list");
    expect(out).toMatch(new RegExp(`${made.info.id} +listed +read, public +default +- +0 seconds ago +never +ends in 1 hour|${made.info.id} +listed`));
    expect(out).toMatch(/ended +read +default.*revoked/);
    expect((await json("key", "list")).some((key: { id: string }) => key.id === made.info.id)).toBe(true);
  });

  test("revoke ends it at once", async () => {
    const { key, info } = await json("key", "create", "short lived");
    expect((await run("key", "revoke", info.id)).out).toContain("is revoked");
    expect(await whoami(key)).toBe(401);
    await expect(run("key", "revoke", "nope")).rejects.toMatchObject({ code: "STOW_NOT_FOUND" });
  });

  test("rotate prints the successor, and lets the old one work on for the overlap", async () => {
    const old = await json("key", "create", "rotated");
    const { out, err } = await run("key", "rotate", old.info.id, "--overlap", "2h");
    expect([await whoami(old.key), await whoami(out.trim())]).toEqual([200, 200]);
    expect(err).toContain("works on for 2 hours");
    expect((await run("key", "rotate", old.info.id, "--overlap", "0")).err).toContain("has ended");
    expect(await whoami(old.key)).toBe(401);
  });

  test.each([[["create", "x", "--permission", "root"]], [["create", "x", "--expires", "30"]], [["create"]]])("%j is refused by the shell's side", async (args) => {
    await expect(run("key", ...args)).rejects.toMatchObject({ code: expect.stringMatching(/^commander\./) });
  });
});

describe("upkeep", () => {
  test("gc says what it did", async () => {
    expect((await run("gc")).out).toMatch(/^\d+ entries evicted \(.+\), \d+ stale uploads ended, \d+ unused blobs deleted\.\n$/);
    expect(await json("gc")).toMatchObject({ evicted: 0 });
  });

  test("fsck waits for its end and says what it found", async () => {
    expect((await run("fsck", "--verify", "--dry-run")).out).toMatch(/^\d+ blobs looked at, every byte read\.\n0 missing, 0 corrupt\.\n/);
    expect(await json("fsck")).toMatchObject({ state: "done", verify: false, report: { missing: 0 } });
  });

  test("fsck that fails on the server fails here", async () => {
    const [store] = server.core.stores.values();
    const sweep = vi.spyOn(store!, "sweep").mockRejectedValue(new Error("disk on fire"));
    await expect(run("fsck")).rejects.toThrow("disk on fire");
    sweep.mockRestore();
  });
});

test("audit shows who did what, the last written first", async () => {
  await server.put("k", { cache, body: "12345" });
  await run("rm", "k", "--cache", cache);
  const { out } = await run("audit", "--cache", cache, "--since", "1h");
  expect(out).toMatch(/^TIME +ACTOR +ACTION +RESULT/);
  expect(out).toMatch(/admin\.entry\.remove +ok .*k +5 B +127\.0\.0\.1\n(.*\n)*.*key:test +put +ok/);
  expect(lines((await run("audit", "--cache", cache, "--limit", "1")).out)).toHaveLength(2);
  expect((await json("audit", "--cache", cache, "--action", "put"))[0]).toMatchObject({ action: "put", key: "k" });
  expect(await json("audit", "--actor", "nobody")).toEqual([]);
});
