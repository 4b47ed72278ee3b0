import { createHash, randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startServer, type TestServer } from "../fixtures/server.ts";
import { run } from "../fixtures/tools.ts";
import { npmClients } from "./tools.ts";

const MiB = 1024 * 1024;
const DRIVER = fileURLToPath(new URL("./actions-cache.mjs", import.meta.url));

let server: TestServer;
let modules: string;
let home: string;

beforeAll(async () => {
  modules = path.join(await npmClients(), "node_modules");
  server = await startServer();
  home = mkdtempSync(path.join(tmpdir(), "stowhouse-actions-cache-"));
});
afterAll(async () => {
  rmSync(home, { recursive: true, force: true });
  await server.stop();
});

interface Done {
  readonly value?: string | number;
  readonly error?: string;
  /** Everything it wrote into the job's log. */
  readonly log: string;
  readonly seconds: number;
}

/** A job's checkout: its files, and the toolkit in the environment a runner gives to an action. */
class Job {
  readonly workspace = mkdtempSync(path.join(home, "job-"));
  readonly #library: string;
  readonly #env: Record<string, string>;

  constructor(library: string, env: Record<string, string>) {
    this.#library = library;
    this.#env = env;
  }

  write(name: string, body: string | Buffer): void {
    mkdirSync(path.dirname(path.join(this.workspace, name)), { recursive: true });
    writeFileSync(path.join(this.workspace, name), body);
  }

  read(name: string): Buffer {
    return readFileSync(path.join(this.workspace, name));
  }

  clear(name: string): void {
    rmSync(path.join(this.workspace, name), { recursive: true });
  }

  save(name: string, key: string): Promise<Done> {
    return this.#call("save", { paths: [name], key });
  }

  restore(name: string, key: string, restoreKeys: string[] = [], options = {}): Promise<Done> {
    return this.#call("restore", { paths: [name], key, restoreKeys, options });
  }

  async #call(call: "save" | "restore", what: object): Promise<Done> {
    const began = performance.now();
    const { stdout } = await run(process.execPath, [DRIVER, this.#library, call, JSON.stringify(what)], {
      cwd: this.workspace, timeout: 120_000, maxBuffer: 16 * MiB,
      env: { PATH: process.env["PATH"], HOME: this.workspace, GITHUB_WORKSPACE: this.workspace, RUNNER_TEMP: home, GITHUB_REF: "refs/heads/main", ...this.#env },
    });
    const [log, result] = stdout.split("\nRESULT ") as [string, string];
    return { ...(JSON.parse(result) as object), log, seconds: (performance.now() - began) / 1000 };
  }
}

/** Bodies that were put so far: blobs, blocks, lists of blocks, chunks. */
async function bodiesStored(): Promise<number> {
  const text = await (await fetch(`${server.url}/metrics`)).text();
  return Number(/^stowhouse_requests_total\{protocol="github-actions",op="upload",result="stored"\} (\d+)$/m.exec(text)?.[1] ?? 0);
}

/** How each major version says what it was told; it never fails the job. */
const DENIED: Record<string, RegExp> = { "4": /Failed to save: Unable to reserve cache/, "5": /::warning::Failed to save: .*cache write denied: /, "6": /::warning::Failed to save: .*cache write denied: / };

describe.each(["4", "5", "6"])("@actions/cache %s", (major) => {
  const services: [name: string, env: (url: string) => Record<string, string>][] = [
    ["service v2", (url) => ({ ACTIONS_CACHE_SERVICE_V2: "true", ACTIONS_RESULTS_URL: `${url}/` })],
    ["service v1", (url) => ({ ACTIONS_CACHE_URL: `${url}/` })],
  ];
  describe.each(services)("%s", (service, env) => {
    const prefix = `${major}-${service.replace(" ", "-")}`;
    const job = (key: string) => new Job(path.join(modules, `cache${major}`, "lib", "cache.js"), { ...env(server.url), ACTIONS_RUNTIME_TOKEN: key });

    test("saves, and hits by key and by prefix", async () => {
      const one = job(server.writeKey);
      one.write("deps/a.txt", "first");
      one.write("deps/deep/b.bin", randomBytes(300_000));
      const b = one.read("deps/deep/b.bin");
      expect((await one.save("deps", `${prefix}-deps-1`)).value).toEqual(expect.any(Number));
      one.clear("deps");
      expect((await one.restore("deps", `${prefix}-deps-1`)).value).toBe(`${prefix}-deps-1`);
      expect([one.read("deps/a.txt").toString(), one.read("deps/deep/b.bin").equals(b)]).toEqual(["first", true]);
      one.clear("deps");
      const found = await one.restore("deps", `${prefix}-deps-2`, [`${prefix}-deps-`]);
      expect([found.value, one.read("deps/a.txt").toString()]).toEqual([`${prefix}-deps-1`, "first"]);
    });

    test("looks a key up without downloading it", async () => {
      const one = job(server.writeKey);
      one.write("look", "x");
      await one.save("look", `${prefix}-look`);
      one.clear("look");
      expect((await one.restore("look", `${prefix}-look`, [], { lookupOnly: true })).value).toBe(`${prefix}-look`);
      expect(() => one.read("look")).toThrow(/ENOENT/);
    });

    test("misses at once and without a warning", async () => {
      const done = await job(server.writeKey).restore("deps", `${prefix}-never`, [`${prefix}-neither`]);
      expect([done.value, done.error]).toEqual([undefined, undefined]);
      expect(done.log).not.toMatch(/^::(warning|error)/m);
      expect(done.seconds).toBeLessThan(10);
    });

    test("finds a key taken, and goes on", async () => {
      const one = job(server.writeKey);
      one.write("same", "x");
      await one.save("same", `${prefix}-same`);
      const again = await one.save("same", `${prefix}-same`);
      expect([again.value, again.error]).toEqual([-1, undefined]);
      expect(again.log).toMatch(/Failed to save: Unable to reserve cache with key .*, another job may be creating this cache/);
      expect(again.log).not.toContain("::warning");
    });

    test("reads with a read-only key, and is told why it can't save", async () => {
      const one = job(server.writeKey);
      one.write("ro", "x");
      await one.save("ro", `${prefix}-ro`);
      const reader = job(server.readKey);
      expect((await reader.restore("ro", `${prefix}-ro`)).value).toBe(`${prefix}-ro`);
      const denied = await reader.save("ro", `${prefix}-ro-2`);
      expect([denied.value, denied.error]).toEqual([-1, undefined]);
      expect(denied.log).toMatch(service === "service v1" && major === "4" ? /cache write denied: / : DENIED[major]!);
      expect(denied.seconds).toBeLessThan(10);
    });

    test("without a valid credential it misses and saves nothing, at once", async () => {
      const stranger = job("stow_rw_of-somebody-else");
      stranger.write("x", "x");
      const [restored, saved] = [await stranger.restore("x", `${prefix}-ro`), await stranger.save("x", `${prefix}-x`)];
      expect([restored.value, restored.error, saved.value, saved.error]).toEqual([undefined, undefined, -1, undefined]);
      expect(restored.log).toContain("::warning::Failed to restore");
      expect(restored.seconds + saved.seconds).toBeLessThan(20);
    });

    // Above 128 MiB service v2 takes blocks of 64 MiB, eight at a time; service v1 takes chunks of 32 MiB, four at a time.
    test("uploads 200 MB in pieces and gets them back byte by byte", async () => {
      const one = job(server.writeKey);
      const body = randomBytes(200_000_000);
      const digest = createHash("sha256").update(body).digest("hex");
      one.write("big.bin", body);
      const before = await bodiesStored();
      expect((await one.save("big.bin", `${prefix}-big`)).value).toEqual(expect.any(Number));
      expect(await bodiesStored()).toBe(before + (service === "service v2" ? 3 + 1 : 6));
      one.clear("big.bin");
      expect((await one.restore("big.bin", `${prefix}-big`)).value).toBe(`${prefix}-big`);
      expect(createHash("sha256").update(one.read("big.bin")).digest("hex")).toBe(digest);
    });
  });
});
