import { Command } from "commander";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { Loopback } from "../../../test/fixtures/loopback.ts";
import { NipHome } from "../../../test/fixtures/nip-client.ts";
import { startNip, upload, type NipServer } from "../../../test/fixtures/nip.ts";
import { registerClientCommands, registerLocalListing } from "../client-commands.ts";
import { Progress } from "./progress.ts";
import { status } from "./status.ts";

const loopback = new Loopback();
let server: NipServer;
let home: NipHome;
beforeAll(async () => void (server = await startNip()));
afterAll(() => server.stop());
beforeEach(() => void (home = new NipHome()));
afterEach(async () => {
  await loopback.close();
  home.remove();
});

/** The command line `stowhouse …`, with an `ls` that would ask a server. */
async function run(...words: string[]): Promise<string[]> {
  const program = new Command("stowhouse").exitOverride().configureOutput({ writeErr: () => {} });
  const io = home.io();
  registerClientCommands(program, io);
  const ls = program.command("ls").option("--recent").option("--limit <n>", "", Number).option("--json").option("--format <format>", "", "table");
  registerLocalListing(ls, io, async () => void io.stdout.write("the server's list\n"));
  await program.parseAsync(words, { from: "user" });
  return home.lines();
}

describe("status", () => {
  it("shows each server: whether it answers, who we are, what we may do, when the key ends", async () => {
    const key = await server.key({ permission: "write", expires: Date.now() + 3 * 86_400_000 });
    const dead = String(await loopback.dead()).slice(0, -1);
    home.configure({ url: server.url, apiKey: key, enabled: true, servers: [{ url: dead }] });
    home.put("a", "12345", {});
    const text = (await run("status")).join("\n");
    expect(text).toContain("Remote cache   on");
    expect(text).toContain(`Local cache    ${home.directory} (1 artifact, 5 B)`);
    expect(text).toMatch(new RegExp(`${server.url} \\(priority 0\\)\n  answers      in [\\d.]+ ms\n  key          key:\\w+, write, cache default\n  reads        local:main\n  writes       local:main\n  ends         in 2 days .*\n  notice       The key`));
    expect(text).toContain(`${dead} (priority 1)\n  problem      connection refused`);
  });

  it("says the same in JSON", async () => {
    home.configure({ url: server.url, apiKey: server.read, enabled: true });
    expect(JSON.parse((await run("status", "--json")).join(""))).toMatchObject({
      enabled: true, timeout: 300, local: { artifacts: 0, bytes: 0 },
      servers: [{ url: server.url, reachable: true, problem: null, notice: null, identity: { permission: "read", cache: "default", write: null, expires: null } }],
    });
  });

  it("tells a wrong key from a server that is away, and both from one that can't say", async () => {
    const flask = await loopback.http((request, response) => void response.writeHead(request.url === "/v1/health" ? 200 : 404).end("{}"));
    home.configure({ url: server.url, apiKey: "stow_rw_wrong", enabled: true, servers: [{ url: String(flask) }, { url: String(await loopback.hanging()) }] });
    const text = (await run("status")).join("\n");
    expect(text).toMatch(/answers {6}in .*\n {2}problem {6}401 No valid credential/);
    expect(text).toContain("the server does not say what it may do");
    expect(text).toContain("problem      no answer within 2 s");
  });

  it("fails only when it is strict", async () => {
    home.configure({ url: String(await loopback.dead()), enabled: true });
    await status({}, home.io());
    await expect(status({ strict: true }, home.io())).rejects.toThrow("1 of 1 servers are of no use");
  });
});

describe("ls --local", () => {
  beforeEach(async () => {
    home.configure({ url: server.url, apiKey: server.write, enabled: true });
    await server.post("/v1/artifacts/there", server.write, upload("x"));
    home.put("there", "12345", {});
    home.put("only-here", "123", {});
  });

  it("lists names for shells, without asking a server", async () => {
    expect(await run("ls", "--local", "--format", "simple")).toEqual(["only-here", "there"]);
    expect(home.err).toBe("");
  });

  it("says which of them a server holds", async () => {
    const lines = await run("ls", "--local");
    expect(lines[0]).toMatch(/^KEY +SIZE +MODIFIED +REMOTE$/);
    expect(lines.slice(1)).toEqual([expect.stringMatching(/^only-here +3 B +\d+ seconds? ago +no$/), expect.stringMatching(/^there +5 B .*yes$/)]);
    expect(JSON.parse((await run("ls", "--local", "--json")).join(""))).toMatchObject([{ key: "only-here", size: 3, remote: false }, { key: "there", remote: true }]);
  });

  it("reads all pages of a server", async () => {
    const pages = await loopback.http((request, response) => {
      const before = new URL(request.url!, "http://x").searchParams.get("before");
      const artifacts = [{ key: before === null ? "first" : before === "2" ? "there" : "third", size: 1 }];
      response.end(JSON.stringify({ artifacts, next: before === null ? "2" : before === "2" ? "3" : null }));
    });
    home.configure({ url: String(pages), enabled: true });
    expect(JSON.parse((await run("ls", "--local", "--json")).join(""))).toMatchObject([{ key: "only-here", remote: false }, { key: "there", remote: true }]);
  });

  it("does not know what a server holds that is away or lists nothing", async () => {
    for (const url of [await loopback.dead(), await loopback.http((_, response) => void response.writeHead(404).end())]) {
      home.configure({ url: String(url), enabled: true });
      expect((await run("ls", "--local")).slice(1)).toEqual([expect.stringMatching(/\?$/), expect.stringMatching(/\?$/)]);
    }
  });

  it("leaves ls without --local as it was", async () => {
    expect(await run("ls")).toEqual(["the server's list"]);
    expect(await run("ls", "--local", "--recent", "--limit", "1", "--format", "simple")).toHaveLength(1);
  });
});

describe("the command line", () => {
  it("hands on what was said", async () => {
    home.configure({ url: server.url, apiKey: server.write, enabled: true });
    home.put("said", "bytes", {});
    expect(await run("push", "said")).toEqual([`pushed said ${server.url}`]);
    expect(await run("pull", "--force", "--quiet", "said", "none")).toEqual(expect.arrayContaining([`hit said ${server.url}`, "miss none"]));
    await run("config", "--add-server", "https://a.example.com", "--priority", "-3", "--policy", "retryAttempts=1", "--policy", "uploadOnBuild=false");
    expect((await run("config", "--json")).join("")).toContain('"uploadOnBuild": false');
    expect(await run("push", "said", "--server", server.url, "--token", server.read, "--force")).toEqual([expect.stringMatching(/^failed said \(403/)]);
  });

  it.each([["pull"], ["config", "--timeout", "0"], ["config", "--priority", "first"], ["config", "--what"]])("refuses %j", async (...words) => {
    await expect(run(...(words as string[]))).rejects.toThrow();
  });
});

describe("progress", () => {
  it("rewrites one line on a terminal and leaves the last word", () => {
    let screen = "";
    const progress = new Progress({ isTTY: true, write: (text) => void (screen += text) }, 3);
    progress.note("a note");
    progress.finish();
    progress.meter(5 * 1024 * 1024);
    progress.end();
    expect(screen).toMatch(/^a note\n1\/3 keys, 5\.0 MiB in \d+\.\d s \(\d+\.\d MB\/s\)\n$/);
  });

  it("says nothing when quiet, or when nothing moved", () => {
    let screen = "";
    const out = { write: (text: string) => void (screen += text) };
    const quiet = new Progress(out, 1, true);
    quiet.note("a note");
    quiet.meter(100);
    quiet.end();
    new Progress(out, 1).end();
    expect(screen).toBe("");
  });
});
