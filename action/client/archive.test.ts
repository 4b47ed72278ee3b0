import fc from "fast-check";
import { execFileSync } from "node:child_process";
import { chmodSync, existsSync, linkSync, lstatSync, lutimesSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, statSync, symlinkSync, truncateSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { randomBytes } from "node:crypto";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { startArchive, type ArchiveServer } from "../../test/fixtures/archive.ts";
import { restoreArchive, saveArchive, type Connection, type RestoreOptions, type RestoreResult, type SaveResult } from "./archive.ts";

let server: ArchiveServer;
let connection: Connection;
let dir: string;
let keys = 0;
beforeAll(async () => {
  server = await startArchive();
  connection = { url: server.url, token: server.write };
});
afterAll(() => server.stop());
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "archive-client-"));
  for (const name of ["from", "to"]) mkdirSync(join(dir, name));
});
afterEach(() => {
  execFileSync("chmod", ["-R", "u+rwX", dir]);
  rmSync(dir, { recursive: true, force: true });
});

const OLD = 1_600_000_000;
const from = (...names: string[]) => join(dir, "from", ...names);
const to = (...names: string[]) => join(dir, "to", ...names);

/** A file whose times are old enough for an index to trust. */
function put(path: string, content: string | Buffer, time = OLD, mode = 0o644): void {
  mkdirSync(join(path, ".."), { recursive: true });
  writeFileSync(path, content);
  chmodSync(path, mode);
  utimesSync(path, time, time);
}

/** Gives directories and links times that a double holds exactly: what the system gave them may be rounded either way. */
function still(path: string | Buffer): void {
  const stats = lstatSync(path);
  if (stats.isDirectory()) for (const name of readdirSync(path, { encoding: "buffer" }) as Buffer[]) still(Buffer.concat([Buffer.from(path), Buffer.from("/"), name]));
  if (!stats.isFile()) lutimesSync(path, OLD, OLD);
}

function save(options: Partial<RestoreOptions> = {}, c = connection): Promise<SaveResult> {
  still(options.root ?? from());
  return saveArchive(c, { key: `key-${++keys}`, version: "v", paths: ["tree"], root: from(), stateDir: join(dir, "state"), deadlineMs: 20_000, ...options });
}

function restore(options: Partial<RestoreOptions> = {}, c = connection): Promise<RestoreResult> {
  return restoreArchive(c, { key: `key-${keys}`, version: "v", restoreKeys: [], paths: ["tree"], root: to(), stateDir: join(dir, "state-to"), deadlineMs: 20_000, ...options });
}

/** Everything that can be seen of a tree: names as bytes, kinds, modes, times, contents, links. */
function look(path: string | Buffer): unknown {
  const stats = lstatSync(path);
  const about = { mode: stats.mode & 0o7777, time: Math.round(stats.mtimeMs * 1000) };
  if (stats.isSymbolicLink()) return { link: readlinkSync(path, { encoding: "latin1" }), time: about.time };
  if (!stats.isDirectory()) return { ...about, content: readFileSync(path).toString("latin1"), links: stats.nlink };
  const names = (readdirSync(path, { encoding: "buffer" }) as Buffer[]).toSorted((a, b) => a.compare(b));
  return { ...about, entries: names.map((name) => [name.toString("latin1"), look(Buffer.concat([Buffer.from(path), Buffer.from("/"), name]))]) };
}

describe("a tree", () => {
  it("comes back with everything that was in it", async () => {
    put(from("tree/plain"), "plain", OLD + 0.123456789);
    put(from("tree/empty"), "");
    put(from("tree/program"), "#!/bin/sh\n", OLD, 0o755);
    put(from("tree/secret"), "x", OLD, 0o600);
    put(from("tree/odd \n name"), "odd");
    put(from("tree/ünïcode/ß"), "utf-8");
    put(from("tree/large"), randomBytes(3_000_000));
    put(from("tree/zeros"), Buffer.alloc(2_000_000));
    writeFileSync(Buffer.concat([Buffer.from(from("tree/not-utf8-")), Buffer.from([0xff, 0xfe])]), "bytes");
    mkdirSync(from("tree/empty directory/below"), { recursive: true });
    linkSync(from("tree/plain"), from("tree/same as plain"));
    symlinkSync("plain", from("tree/link"));
    symlinkSync("/nowhere/at/all", from("tree/dangling"));
    put(from("tree/read-only/file"), "r", OLD, 0o444);
    chmodSync(from("tree/read-only"), 0o555);
    expect(await save()).toMatchObject({ status: "saved", files: 10, unchanged: false });
    expect(await restore()).toMatchObject({ status: "hit", exact: true, matchedKey: `key-${keys}`, files: 10 });
    expect(look(to())).toMatchObject({ entries: (look(from()) as { entries: unknown }).entries as unknown[] });
    expect(lstatSync(to("tree/plain")).ino).toBe(lstatSync(to("tree/same as plain")).ino);
    const nanoseconds = (path: string) => Number(lstatSync(path, { bigint: true }).mtimeNs % 1_000_000_000n);
    expect(Math.abs(nanoseconds(to("tree/plain")) - nanoseconds(from("tree/plain")))).toBeLessThan(130);
    execFileSync("diff", ["-r", "--no-dereference", from(), to()]);
    expect(readdirSync(to())).toEqual(["tree"]);
  });

  it("keeps the holes of a sparse file", async () => {
    put(from("tree/sparse"), "begin");
    truncateSync(from("tree/sparse"), 50_000_000);
    const { bytesSent } = await save();
    expect(bytesSent).toBeLessThan(20_000);
    await restore();
    expect(statSync(to("tree/sparse")).size).toBe(50_000_000);
    expect(statSync(to("tree/sparse")).blocks * 512).toBeLessThan(3_000_000);
  });

  it("may be a file, several paths, or lie outside the workspace", async () => {
    put(from("single"), "single");
    put(from("a/b/c"), "c");
    put(join(dir, "home/.cache/tool"), "tool");
    put(join(dir, "elsewhere/x"), "x");
    const paths = ["single", "a/b", "~/.cache", join(dir, "elsewhere")];
    const saved = await save({ paths: ["single", "a/b", join(dir, "home/.cache"), join(dir, "elsewhere")], home: join(dir, "home") });
    expect(saved).toMatchObject({ status: "saved", files: 4 });
    rmSync(join(dir, "elsewhere"), { recursive: true });
    expect(await restore({ paths, home: join(dir, "to/other-home") })).toMatchObject({ status: "hit", files: 4 });
    expect([to("single"), to("a/b/c"), to("other-home/.cache/tool"), join(dir, "elsewhere/x")].map((path) => readFileSync(path, "utf8"))).toEqual(["single", "c", "tool", "x"]);
  });

  it("is found by a restore key, and only looked for when that is all that was asked", async () => {
    put(from("tree/a"), "a");
    await save({ key: "prefix-1" });
    expect(await restore({ key: "prefix-2", restoreKeys: ["prefix-"], lookupOnly: true })).toMatchObject({ status: "hit", matchedKey: "prefix-1", exact: false });
    expect(existsSync(to("tree"))).toBe(false);
    expect(await restore({ key: "other" })).toEqual({ status: "miss", bytes: 0, files: 0 });
  });

  it("any tree is the same after save and restore", async () => {
    const name = fc.string({ unit: "grapheme", minLength: 1, maxLength: 12 }).filter((text) => !/[/\0]/.test(text) && text !== "." && text !== ".." && Buffer.byteLength(text) < 100 && text.isWellFormed());
    const leaf = fc.oneof(
      { weight: 6, arbitrary: fc.record({ kind: fc.constant("file"), size: fc.oneof(fc.integer({ min: 0, max: 3_000 }), fc.integer({ min: 0, max: 400_000 })), seed: fc.integer({ min: 0, max: 5 }), mode: fc.constantFrom(0o644, 0o755, 0o400, 0o777), time: fc.integer({ min: 1, max: 2e9 }) }) },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant("link"), target: fc.constantFrom("a", "../x", "/etc", "no\nsuch") }) },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant("directory") }) },
    );
    const trees = fc.array(fc.tuple(fc.array(name, { minLength: 1, maxLength: 4 }), leaf), { maxLength: 30 });
    let round = 0;
    await fc.assert(
      fc.asyncProperty(trees, trees, async (first, second) => {
        const root = join(dir, `round-${++round}`);
        const one = { root: join(root, "from"), stateDir: join(root, "state") };
        make(join(root, "from/tree"), first);
        // Once as it is, once changed with the index of before, once changed without.
        for (const [i, stateDir] of [one.stateDir, one.stateDir, join(root, "none")].entries()) {
          if (i > 0) make(join(root, "from/tree"), second);
          expect(await save({ ...one, stateDir })).toMatchObject({ status: "saved" });
          mkdirSync(join(root, `to-${i}`));
          expect(await restore({ root: join(root, `to-${i}`) })).toMatchObject({ status: "hit" });
          expect(look(join(root, `to-${i}/tree`))).toEqual(look(join(root, "from/tree")));
        }
      }),
      { numRuns: 6 },
    );
  }, 60_000);

  function make(root: string, leaves: [string[], { kind: string; size?: number; seed?: number; mode?: number; time?: number; target?: string }][]): void {
    mkdirSync(root, { recursive: true });
    for (const [names, leaf] of leaves) {
      const path = join(root, ...names);
      try {
        mkdirSync(join(path, ".."), { recursive: true });
        if (leaf.kind === "directory") mkdirSync(path);
        else if (leaf.kind === "link") symlinkSync(leaf.target!, path);
        else {
          rmSync(path, { force: true });
          put(path, Buffer.alloc(leaf.size!, `content ${leaf.seed!} `), leaf.time!, leaf.mode!);
        }
      } catch {
        // Another leaf has the name, or lies on the way.
      }
    }
  }
});

describe("an incremental save", () => {
  const MANY = 400;
  beforeEach(() => {
    for (let i = 0; i < MANY; i++) put(from(`tree/d${i % 20}/f${i}`), randomBytes(4_000 + i));
    put(from("tree/large"), randomBytes(5_000_000));
  });

  /** Index times are compared with change times, which no test can set: it waits until they are past. */
  const settle = () => new Promise((resolve) => setTimeout(resolve, 30));

  it("of an unchanged tree sends a few bytes, after a save and after a restore", async () => {
    await settle();
    const first = await save();
    expect(first.bytesSent).toBeGreaterThan(6_000_000);
    const second = await save();
    expect(second).toMatchObject({ status: "saved", unchanged: true, files: MANY + 1 });
    expect(second.bytesSent).toBeLessThan(1_000);
    await restore();
    const third = await save({ root: to(), stateDir: join(dir, "state-to") });
    expect(third).toMatchObject({ status: "saved", unchanged: true });
    expect(third.bytesSent).toBeLessThan(1_000);
    rmSync(to("tree"), { recursive: true });
    await restore();
    expect(look(to("tree"))).toEqual(look(from("tree")));
  });

  it("without an index sends identifiers, not contents", async () => {
    await save();
    const again = await save({ stateDir: join(dir, "none") });
    expect(again.bytesSent).toBeLessThan(30_000);
    await restore();
    expect(look(to("tree"))).toEqual(look(from("tree")));
  });

  it("of new times alone sends the times", async () => {
    await save();
    for (let i = 0; i < MANY; i++) utimesSync(from(`tree/d${i % 20}/f${i}`), OLD + i, OLD + i);
    expect((await save()).bytesSent).toBeLessThan(30_000);
    await restore();
    expect(look(to("tree"))).toEqual(look(from("tree")));
  });

  it("of some new files sends them and little else", async () => {
    await settle();
    await save();
    for (let i = 0; i < 8; i++) put(from(`tree/d${i}/f${i}`), randomBytes(4_000 + i), OLD + 5);
    expect((await save()).bytesSent).toBeLessThan(500_000);
    await restore();
    expect(look(to("tree"))).toEqual(look(from("tree")));
  });

  it("sends little more than what changed, save after save", async () => {
    await settle();
    await save();
    for (let generation = 1; generation <= 4; generation++) {
      let changed = 0;
      for (let i = generation; i < MANY; i += 50) {
        const path = from(`tree/d${i % 20}/f${i}`);
        if (generation === 2) rmSync(path);
        else put(path, randomBytes(4_000 + i), OLD + generation);
        if (generation !== 2) changed += 4_000 + i;
      }
      put(from(`tree/d${generation}/another`), randomBytes(3_000));
      const { bytesSent } = await save();
      expect(bytesSent).toBeLessThan(changed + 3_000 + 60_000);
      mkdirSync(to(`${generation}`));
      await restore({ root: to(`${generation}`) });
      expect(look(to(`${generation}/tree`))).toEqual(look(from("tree")));
      await settle();
    }
  }, 60_000);

  it("of new times alone sends the times, also when some files were rewritten before, with an index and without", async () => {
    await settle();
    await save();
    for (let i = 0; i < MANY; i += 21) put(from(`tree/d${i % 20}/f${i}`), randomBytes(4_000 + i), OLD + 5);
    await save();
    for (const [round, state] of ["none", "state"].entries()) {
      for (let i = 0; i < MANY; i++) utimesSync(from(`tree/d${i % 20}/f${i}`), OLD + 10 + round, OLD + i);
      expect((await save({ stateDir: join(dir, state) })).bytesSent).toBeLessThan(18_000);
    }
    await restore();
    expect(look(to("tree"))).toEqual(look(from("tree")));
  });

  it("sends only what is new in a large file", async () => {
    await settle();
    await save();
    const large = readFileSync(from("tree/large"));
    put(from("tree/large"), Buffer.concat([large.subarray(0, 1_000_000), Buffer.from("inserted"), large.subarray(1_000_000)]), OLD + 5);
    expect((await save()).bytesSent).toBeLessThan(2_500_000);
    await restore();
    expect(look(to("tree"))).toEqual(look(from("tree")));
  });

  it("notices a file rewritten with the same size and times", async () => {
    await settle();
    await save();
    put(from("tree/d1/f1"), randomBytes(4_001));
    const saved = await save();
    expect(saved.unchanged).toBe(false);
    await restore();
    expect(readFileSync(to("tree/d1/f1")).equals(readFileSync(from("tree/d1/f1")))).toBe(true);
  });

  it("sends again what would fetch frames mostly in vain", async () => {
    const state = { stateDir: join(dir, "state") };
    await save(state);
    for (let i = 0; i < MANY; i++) if (i % 20 !== 3) rmSync(from(`tree/d${i % 20}/f${i}`));
    rmSync(from("tree/large"));
    await save(state);
    const { bytes } = await restore();
    expect(bytes).toBeLessThan(200_000);
    expect(look(to("tree"))).toEqual(look(from("tree")));
  });

  it("sends again what the server has lost meanwhile", async () => {
    await settle();
    await save();
    const all = await server.core.catalog.list({ cache: "default", read: ["local:main"], write: null, trusted: true, admin: false, actor: "t" }, { limit: 500 });
    await server.core.catalog.removeIds(all.map(({ id }) => id), { at: 0, actor: "t", action: "rm", cache: "default", keyspace: "", scope: "", key: "", size: 0, result: "ok", address: "" });
    await server.core.maintenance.collect(-1_000);
    // In the middle of packs: what the index still knows of them is gone too.
    for (let i = 0; i < MANY; i += 10) put(from(`tree/d${i % 20}/f${i}`), "new", OLD + 5);
    put(from("tree/new"), "new");
    expect(await save()).toMatchObject({ status: "saved" });
    await restore();
    expect(look(to("tree"))).toEqual(look(from("tree")));
  });
});

describe("a restore over what is there", () => {
  it("overwrites and merges as tar does", async () => {
    put(from("tree/a"), "new a", OLD, 0o600);
    put(from("tree/sub/b"), "new b");
    put(from("tree/was a link/c"), "c");
    symlinkSync("a", from("tree/was a file"));
    await save();
    put(to("tree/a"), "old");
    put(to("tree/sub/kept"), "kept");
    put(to("tree/was a file"), "old");
    put(join(dir, "outside/c"), "untouched");
    symlinkSync(join(dir, "outside"), to("tree/was a link"));
    chmodSync(to("tree/sub"), 0o555);
    expect(await restore()).toMatchObject({ status: "hit" });
    expect([to("tree/a"), to("tree/sub/b"), to("tree/sub/kept"), to("tree/was a link/c"), join(dir, "outside/c")].map((path) => readFileSync(path, "utf8"))).toEqual(["new a", "new b", "kept", "c", "untouched"]);
    expect(readlinkSync(to("tree/was a file"))).toBe("a");
    expect(lstatSync(to("tree/was a link")).isSymbolicLink()).toBe(false);
    expect((look(to("tree/sub")) as { mode: number; time: number }).time).toBe((look(from("tree/sub")) as { time: number }).time);
    expect(readdirSync(to())).toEqual(["tree"]);
  });

  it("that can't be done leaves everything as it was", async () => {
    for (const name of ["a", "m/n", "z"]) put(from("tree", name), `new ${name}`);
    await save();
    put(to("tree/a"), "old");
    put(to("tree/m/old"), "old");
    // Where the archive has a file there is a directory with something in it.
    put(to("tree/z/full"), "full");
    utimesSync(to("tree"), OLD, OLD);
    const before = look(to());
    expect(await restore()).toMatchObject({ status: "unavailable", reason: expect.stringContaining("not empty") });
    expect(look(to("tree"))).toEqual((before as { entries: [string, unknown][] }).entries[0]![1]);
    expect(readdirSync(to())).toEqual(["tree"]);
  });
});

describe("paths", () => {
  it("that were not asked for are not restored", async () => {
    put(from("tree/a"), "a");
    put(from("other/b"), "b");
    await save({ paths: ["tree", "other"] });
    expect(await restore({ paths: ["tree"] })).toMatchObject({ status: "unavailable", reason: expect.stringContaining("not asked for") });
    expect(readdirSync(to())).toEqual([]);
    expect(await restore({ paths: ["*"] })).toMatchObject({ status: "hit" });
  });

  it("that leave the workspace through a link are refused, at save and at restore", async () => {
    put(join(dir, "outside/tree/secret"), "secret");
    symlinkSync(join(dir, "outside"), from("detour"));
    expect(await save({ paths: ["detour/tree"] })).toMatchObject({ status: "unavailable", reason: expect.stringContaining("leaves the workspace") });
    rmSync(from("detour"));
    put(from("detour/tree/a"), "a");
    expect(await save({ paths: ["detour/tree"] })).toMatchObject({ status: "saved" });
    symlinkSync(join(dir, "outside"), to("detour"));
    expect(await restore({ paths: ["detour/tree"] })).toMatchObject({ status: "unavailable", reason: expect.stringContaining("leaves the workspace") });
    expect(readdirSync(join(dir, "outside/tree"))).toEqual(["secret"]);
  });
});

describe("refusals", () => {
  it("are results: a key that is taken, a credential that may not write, a server that is away", async () => {
    put(from("tree/a"), "a");
    await save({ key: "taken" });
    expect(await save({ key: "taken" })).toMatchObject({ status: "exists" });
    expect(await save({}, { url: server.url, token: server.read })).toMatchObject({ status: "denied", reason: expect.stringContaining("read-only") });
    expect(await save({}, { url: "http://127.0.0.1:9", token: "x" })).toMatchObject({ status: "unavailable", reason: "connection refused" });
    expect(await restore({}, { url: "http://127.0.0.1:9", token: "x" })).toMatchObject({ status: "unavailable", reason: "connection refused" });
    expect(await save({ paths: ["missing"] })).toMatchObject({ status: "unavailable", reason: expect.stringContaining("ENOENT") });
    expect(await save({ signal: AbortSignal.abort() })).toMatchObject({ status: "unavailable", reason: expect.stringContaining("called off") });
  });
});
