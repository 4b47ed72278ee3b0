import { spawn } from "node:child_process";
import { once } from "node:events";
import path from "node:path";
import { text } from "node:stream/consumers";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { Loopback } from "../fixtures/loopback.ts";
import { NipHome } from "../fixtures/nip-client.ts";
import { bytesOf } from "../fixtures/random.ts";
import { startServer, type TestServer } from "../fixtures/server.ts";

const bin = path.resolve(import.meta.dirname, "../../server/bin.mjs");
const loopback = new Loopback();
let server: TestServer;
let home: NipHome;
beforeAll(async () => void (server = await startServer()));
afterAll(() => server?.stop());
beforeEach(() => void (home = new NipHome()));
afterEach(async () => {
  await loopback.close();
  home.remove();
});

/** Runs `stowhouse …` as a build would. */
async function stowhouse(words: readonly string[], env: Record<string, string> = {}, input = "") {
  const started = performance.now();
  const child = spawn(process.execPath, [bin, ...words], { cwd: home.home, env: { PATH: process.env["PATH"], HOME: home.home, ...env }, stdio: ["pipe", "pipe", "pipe"] });
  child.stdin.end(input);
  const [out, err, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, "exit") as Promise<[number]>]);
  return { code, lines: out.split("\n").filter((line) => line !== ""), err, ms: performance.now() - started };
}

const onServer = (key: string, url = server.url) => ({ STOWHOUSE_SERVER: url, STOWHOUSE_TOKEN: key });

describe("the command line of a nip user", () => {
  it("shares an artifact from one machine to another", async () => {
    const bytes = bytesOf("vim", 20_000_000);
    home.put("vim-9.0", bytes, { name: "vim", version: "9.0" });
    expect(await stowhouse(["push", "vim-9.0"], onServer(server.writeKey))).toMatchObject({ code: 0, lines: [`pushed vim-9.0 ${server.url}`], err: expect.stringMatching(/^19\.1 MiB in .* MB\/s\)\n$/) });

    const other = new NipHome();
    try {
      const pulled = await stowhouse(["pull", "vim-9.0", "--directory", other.directory], onServer(server.readKey));
      expect(pulled).toMatchObject({ code: 0, lines: [`hit vim-9.0 ${server.url}`] });
      const arrived = other.get("vim-9.0");
      expect([arrived?.bytes.equals(bytes), arrived?.metadata]).toEqual([true, { name: "vim", version: "9.0" }]);
    } finally {
      other.remove();
    }
  });

  it("is set up once, in nip's own file, and works from then on", async () => {
    await stowhouse(["config", "--url", server.url, "--enable", "--api-key", "-"], {}, `${server.writeKey}\n`);
    expect(await stowhouse(["config", "--json"])).toMatchObject({ code: 0, err: "" });
    const status = await stowhouse(["status"]);
    expect(status.lines.join("\n")).toMatch(new RegExp(`${server.url} \\(priority 0\\)\n {2}answers .*\n {2}key .*, write, cache default`));
    for (let i = 0; i < 20; i++) home.put(`package-${i}`, `artifact ${i}`, { i });
    const pushed = await stowhouse(["push", "--all"]);
    expect([pushed.code, pushed.lines.filter((line) => line.startsWith("pushed ")).length]).toEqual([0, 20]);
    expect((await stowhouse(["push", "--all"])).lines.filter((line) => line.startsWith("unchanged ")).length).toBe(20);
    expect((await stowhouse(["ls", "--local", "--format", "simple"])).lines).toHaveLength(20);
    expect((await stowhouse(["ls", "--local"])).lines.slice(1).every((line) => line.endsWith("yes"))).toBe(true);
  });

  it("works with nip's own variables", async () => {
    home.put("by-variables", "bytes", {});
    const env = { NIP_REMOTE_CACHE_URL: server.url, NIP_REMOTE_CACHE_API_KEY: server.writeKey, NIP_REMOTE_CACHE_ENABLED: "true" };
    expect((await stowhouse(["push", "by-variables"], env)).lines).toEqual([`pushed by-variables ${server.url}`]);
    expect((await stowhouse(["pull", "--force", "by-variables"], { ...env, NIP_REMOTE_CACHE_ENABLED: "false" })).lines).toEqual(["miss by-variables"]);
  });

  it("never fails a build, and loses no more than two seconds to a server that hangs", async () => {
    const dead = (await loopback.dead()).href;
    expect(await stowhouse(["pull", "a"], onServer("key", dead))).toMatchObject({ code: 0, lines: ["miss a (not every server could be asked)"], err: expect.stringContaining("connection refused") });
    const hanging = (await loopback.hanging()).href;
    const [baseline, slow] = [await stowhouse(["pull", "a"], onServer(server.readKey)), await stowhouse(["pull", "a"], onServer(server.readKey, `${hanging},${server.url}`))];
    expect(baseline).toMatchObject({ code: 0, lines: ["miss a"] });
    expect(slow).toMatchObject({ code: 0, lines: ["miss a (not every server could be asked)"] });
    expect(slow.ms - baseline.ms).toBeLessThan(4_000);
    home.put("b", "bytes", {});
    expect(await stowhouse(["push", "b"], onServer(server.readKey))).toMatchObject({ code: 0, lines: [expect.stringMatching(/^failed b \(403 /)] });
  });

  it("says with its exit code what a strict user asks for", async () => {
    const missing = await stowhouse(["pull", "--strict", "none"], onServer(server.readKey));
    expect([missing.code, missing.lines, missing.err]).toEqual([1, ["miss none"], "Not all was done: 1 of 1 keys are missing.\n"]);
    home.put("c", "bytes", {});
    expect((await stowhouse(["push", "--strict", "c"], onServer(server.readKey))).code).toBe(1);
    expect((await stowhouse(["status", "--strict"], onServer("stow_rw_wrong"))).code).toBe(1);
    expect((await stowhouse(["pull"])).code).toBe(1);
  });

  it("leaves nothing when it is killed in the middle, and the next run succeeds", async () => {
    home.put("big", bytesOf("big", 50_000_000), {});
    await stowhouse(["push", "big"], onServer(server.writeKey));
    const target = new NipHome();
    try {
      const child = spawn(process.execPath, [bin, "pull", "big", "--directory", target.directory], { env: { PATH: process.env["PATH"], HOME: target.home, ...onServer(server.readKey) }, stdio: "ignore" });
      await expect.poll(() => target.names().length, { interval: 1, timeout: 20_000 }).toBeGreaterThan(0);
      child.kill("SIGKILL");
      await once(child, "exit");
      const whole = target.get("big");
      if (whole) expect(whole.bytes.length).toBe(50_000_000);
      expect((await stowhouse(["pull", "big", "--force", "--directory", target.directory], onServer(server.readKey))).lines).toEqual([`hit big ${server.url}`]);
      expect(target.get("big")?.bytes.equals(bytesOf("big", 50_000_000))).toBe(true);
    } finally {
      target.remove();
    }
  });
});
