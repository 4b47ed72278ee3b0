import { hash } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { PassThrough } from "node:stream";
import { gunzipSync } from "node:zlib";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { startGo, type GoServer } from "../../../test/fixtures/go.ts";
import { bytesOf } from "../../../test/fixtures/random.ts";
import { base64Of, type Response } from "./protocol.ts";
import { run } from "./run.ts";

let server: GoServer;
let root: string;
beforeAll(async () => void (server = await startGo()));
afterAll(() => server.stop());
beforeEach(() => void (root = mkdtempSync(path.join(tmpdir(), "stowhouse-gocache-"))));
afterEach(() => rmSync(root, { recursive: true, force: true }));

/** A go command, as far as its cache can tell. */
class Go {
  readonly #stdin = new PassThrough();
  readonly #stdout = new PassThrough();
  readonly #waiting = new Map<number, (response: Response) => void>();
  readonly #ended: Promise<number>;
  #id = 0;
  #rest = "";

  constructor(args: readonly string[], env: Record<string, string> = {}) {
    this.#stdout.on("data", (chunk: Buffer) => {
      const lines = (this.#rest + chunk.toString()).split("\n");
      this.#rest = lines.pop()!;
      for (const line of lines) {
        const response = JSON.parse(line) as Response;
        this.#waiting.get(response.ID)?.(response);
      }
    });
    this.commands = new Promise((done) => this.#waiting.set(0, ({ KnownCommands }) => done(KnownCommands!)));
    this.#ended = run({ args: [...(args.includes("--log-file") ? [] : ["--log-file", "/dev/null"]), ...args], env, stdin: this.#stdin, stdout: this.#stdout, parent: 0 });
  }

  readonly commands: Promise<readonly string[]>;

  #ask(request: Record<string, unknown>, body?: Buffer): Promise<Response> {
    const ID = ++this.#id;
    this.#stdin.write(`${JSON.stringify({ ID, ...request })}\n\n${body && body.length > 0 ? `"${body.toString("base64")}"\n` : ""}`);
    return new Promise((done) => this.#waiting.set(ID, done));
  }

  get(name: string): Promise<Response> {
    return this.#ask({ Command: "get", ActionID: base64Of(hash("sha256", name)) });
  }

  put(name: string, body: Buffer): Promise<Response> {
    return this.#ask({ Command: "put", ActionID: base64Of(hash("sha256", name)), OutputID: base64Of(hash("sha256", body)), BodySize: body.length }, body);
  }

  async close(): Promise<void> {
    await this.#ask({ Command: "close" });
    this.#stdin.end();
    expect(await this.#ended).toBe(0);
  }

  /** Ends without a close, as a go command that was killed. */
  async vanish(): Promise<void> {
    this.#stdin.end();
    await this.#ended;
  }
}

/** How many requests the server has had so far. */
async function requests(): Promise<number> {
  const text = await (await fetch(`${server.url}/metrics`)).text();
  return [...text.matchAll(/^stowhouse_requests_total\{.*\} (\d+)$/gm)].reduce((sum, [, count]) => sum + Number(count), 0);
}

const start = (key: string, ...args: string[]) => new Go(["--dir", root, "--server", server.url, "--token", key, ...args]);
const BODIES: readonly (readonly [string, Buffer])[] = [["empty", Buffer.alloc(0)], ["small", Buffer.from("hello")], ["text", Buffer.from("go ".repeat(100_000))], ["large", bytesOf("large output", 3_000_000)]];

async function build(label: string, key = server.write): Promise<void> {
  const go = start(key, "--label", label);
  for (const [name, body] of BODIES) {
    expect(await go.get(`${label} ${name}`)).toMatchObject({ Miss: true });
    expect(readFileSync((await go.put(`${label} ${name}`, body)).DiskPath!).equals(body)).toBe(true);
  }
  await go.close();
}

async function expectAll(go: Go, label: string): Promise<void> {
  for (const [name, body] of BODIES) {
    const got = await go.get(`${label} ${name}`);
    expect(got).toMatchObject({ OutputID: base64Of(hash("sha256", body)), Size: body.length });
    expect(readFileSync(got.DiskPath!).equals(body)).toBe(true);
  }
}

describe("a build", () => {
  it("gets from the server what another machine has built", async () => {
    await build("shared");
    rmSync(root, { recursive: true });
    const go = start(server.read, "--label", "shared");
    expect(await go.commands).toEqual(["get", "put", "close"]);
    await expectAll(go, "shared");
    await go.close();
  });

  it("gets it all the same when the bundle is larger than it may keep in memory", async () => {
    await build("spilled");
    rmSync(root, { recursive: true });
    const log = `${root}.log`;
    const go = start(server.read, "--label", "spilled", "--memory", "1KiB", "--stats", "--log-file", log);
    await expectAll(go, "spilled");
    await go.close();
    expect(readFileSync(log, "utf8")).toContain("4 of 4 found (disk 0, bundle 4, server 0)");
    rmSync(log);
  });

  it("gets it one by one where there is no bundle", async () => {
    await build("single");
    rmSync(root, { recursive: true });
    const go = start(server.read, "--no-bundle");
    await expectAll(go, "single");
    await go.close();
  });

  it("gets what another build has stored in few exchanges, although no bundle lists it", async () => {
    const first = start(server.write, "--label", "neighbours");
    for (let i = 0; i < 100; i++) await first.put(`neighbour ${i}`, Buffer.from(`output ${i}`));
    await first.close();
    rmSync(root, { recursive: true });
    const before = await requests();
    expect(before).toBeGreaterThan(0);
    const go = start(server.read, "--label", "none of theirs");
    for (let i = 0; i < 100; i++) expect(readFileSync((await go.get(`neighbour ${i}`)).DiskPath!, "utf8")).toBe(`output ${i}`);
    await go.close();
    expect((await requests()) - before).toBeLessThan(10);
  });

  it("waits for no server that has had nothing for long", async () => {
    const slow = createServer((request, response) => {
      request.resume();
      setTimeout(() => response.writeHead(404).end(), 40);
    });
    await once(slow.listen(0, "127.0.0.1"), "listening");
    const go = new Go(["--dir", root, "--server", `http://127.0.0.1:${(slow.address() as AddressInfo).port}`]);
    const took: number[] = [];
    for (let i = 0; i < 100; i++) {
      const began = performance.now();
      expect(await go.get(`cold ${i}`)).toMatchObject({ Miss: true });
      took.push(performance.now() - began);
    }
    expect(took.filter((ms) => ms >= 35).length).toBeLessThan(30);
    await go.close();
    slow.closeAllConnections();
    slow.close();
  });

  it("gets it from disk the second time, without a server", async () => {
    await build("local");
    const go = new Go(["--dir", root]);
    await expectAll(go, "local");
    await go.close();
  });

  it("asks for no more of a bundle than this machine lacks", async () => {
    await build("partly");
    const log = path.join(root, "log");
    const go = start(server.read, "--label", "partly", "--stats", "--log-file", log);
    await expectAll(go, "partly");
    await go.close();
    expect(readFileSync(log, "utf8")).toContain("4 of 4 found (disk 4, bundle 0, server 0), 0 made, 0.0 MB received");
  });

  it("tells the server nothing when it has used exactly what the server has listed", async () => {
    await build("unchanged");
    rmSync(root, { recursive: true });
    const manifests = async () => Number(/stowhouse_requests_total\{[^}]*op="manifest"[^}]*\} (\d+)/.exec(await (await fetch(`${server.url}/metrics`)).text())![1]);
    const before = await manifests();
    const same = start(server.write, "--label", "unchanged");
    await expectAll(same, "unchanged");
    await same.close();
    expect(await manifests()).toBe(before);
    rmSync(root, { recursive: true });
    const less = start(server.write, "--label", "unchanged");
    await less.get("unchanged large");
    await less.close();
    expect(await manifests()).toBe(before + 1);
  });

  it("leaves profiles and a trace where they are wanted", async () => {
    await build("profiled");
    const files = ["cpu", "heap", "trace"].map((name) => path.join(root, name));
    const go = start(server.read, "--label", "profiled", "--cpu-profile", files[0]!, "--heap-profile", files[1]!, "--trace", files[2]!);
    await expectAll(go, "profiled");
    await go.close();
    const [cpu, heap, trace] = files.map((file) => JSON.parse(readFileSync(file, "utf8"))) as [{ nodes: unknown[] }, { head: unknown }, { name: string }[]];
    expect([cpu.nodes.length > 0, heap.head !== undefined]).toEqual([true, true]);
    expect(trace.filter(({ name }) => name === "get")).toHaveLength(BODIES.length);
    expect(trace.map(({ name }) => name)).toContain("bundle");
  });

  it("keeps prefixes apart, on disk and on the server", async () => {
    const lint = start(server.write, "--prefix", "golangci-lint");
    await lint.put("one action", Buffer.from("lint"));
    await lint.close();
    const go = start(server.write);
    expect(await go.get("one action")).toMatchObject({ Miss: true });
    await go.close();
  });

  it("that may not write announces no put when told so, and else stores on disk alone", async () => {
    const none = start(server.read, "--disable-put");
    expect(await none.commands).toEqual(["get", "close"]);
    await none.close();
    const readOnly = start(server.read, "--read-only");
    expect((await readOnly.put("mine", Buffer.from("mine"))).DiskPath).toBeDefined();
    await readOnly.close();
    const again = start(server.read);
    expect(await again.get("mine")).toMatchObject({ Size: 4 });
    await again.close();
  });

  it("goes on with a read-only key, whose uploads are refused", async () => {
    const go = start(server.read);
    expect((await go.put("refused", Buffer.from("x"))).Err).toBeUndefined();
    await go.close();
    rmSync(root, { recursive: true });
    const other = start(server.read);
    expect(await other.get("refused")).toMatchObject({ Miss: true });
    await other.close();
  });

  it("that is killed leaves a store that others can use", async () => {
    const go = start(server.write);
    await go.put("before", Buffer.from("before the kill"));
    await go.vanish();
    const next = new Go(["--dir", root]);
    expect(await next.get("before")).toMatchObject({ Size: 15 });
    await next.close();
  });

  it("shares its store with others at the same time", async () => {
    const all = await Promise.all(Array.from({ length: 4 }, async () => {
      const go = new Go(["--dir", root]);
      for (let i = 0; i < 30; i++) expect((await go.put(`shared ${i}`, Buffer.from(`output ${i}`))).Err).toBeUndefined();
      return go;
    }));
    for (const go of all) for (let i = 0; i < 30; i++) expect(readFileSync((await go.get(`shared ${i}`)).DiskPath!, "utf8")).toBe(`output ${i}`);
    await Promise.all(all.map((go) => go.close()));
  });

  it("goes on after settings that are wrong", async () => {
    const go = new Go(["--drain", "soon"], {});
    expect(await go.commands).toEqual(["get", "put", "close"]);
    await go.close();
  });

  it("pushes its figures where it is told to", async () => {
    const seen: string[] = [];
    const endpoint = createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on("data", (chunk: Buffer) => chunks.push(chunk)).on("end", () => {
        seen.push(`${request.method} ${String(request.headers["x-team"])} ${gunzipSync(Buffer.concat(chunks)).toString()}`);
        response.end();
      });
    });
    await once(endpoint.listen(0, "127.0.0.1"), "listening");
    const go = start(server.write, "--metrics-endpoint", `http://127.0.0.1:${(endpoint.address() as AddressInfo).port}/push`, "--metrics-labels", "job=ci", "--metrics-headers", "x-team:blue");
    await go.get("nothing");
    await go.close();
    endpoint.close();
    expect(seen).toHaveLength(1);
    expect(seen[0]).toContain("POST blue");
    expect(seen[0]).toContain('stowhouse_go_gets{job="ci",source="miss"} 1');
  });
});

describe("a server that is of no use", () => {
  let bad: Server;
  afterEach(() => {
    bad.closeAllConnections();
    bad.close();
  });

  const poison = Buffer.from("poison");
  it.each([
    ["is hung", () => {}],
    ["answers 500", (response: import("node:http").ServerResponse) => response.writeHead(500).end()],
    ["answers a page", (response: import("node:http").ServerResponse) => response.writeHead(200, { "content-type": "text/html" }).end("<html>sign in</html>")],
    ["cuts its answers", (response: import("node:http").ServerResponse) => response.writeHead(200, { "content-length": "100" }).write("x", () => response.destroy())],
    ["sends other bytes than it says", (response: import("node:http").ServerResponse) =>
      response.writeHead(200, { "x-cacheprog-outputid": "ab".repeat(32), "x-cacheprog-uncompressedsize": "6", "content-length": "6" }).end(poison)],
  ])("costs a build nothing but moments when it %s", async (_, answer) => {
    bad = createServer((request, response) => {
      request.resume();
      answer(response);
    });
    await once(bad.listen(0, "127.0.0.1"), "listening");
    const began = performance.now();
    const go = new Go(["--dir", root, "--server", `http://127.0.0.1:${(bad.address() as AddressInfo).port}`, "--token", "t", "--get-timeout", "1s", "--drain", "1s"]);
    for (let i = 0; i < 5; i++) expect(await go.get(`action ${i}`)).toMatchObject({ Miss: true });
    expect((await go.put("mine", Buffer.from("mine"))).Err).toBeUndefined();
    expect(await go.get("mine")).toMatchObject({ Size: 4 });
    await go.close();
    expect(performance.now() - began).toBeLessThan(15_000);
  });
});
