import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { startArchive, type ArchiveServer } from "../../../test/fixtures/archive.ts";
import { bytesOf } from "../../../test/fixtures/random.ts";
import { restoreArchive, saveArchive } from "../archive.ts";

let server: ArchiveServer;
let dir: string;
beforeAll(async () => {
  server = await startArchive();
  dir = mkdtempSync(join(tmpdir(), "archive-races-"));
});
afterAll(async () => {
  await server.stop();
  rmSync(dir, { recursive: true, force: true });
});

const AUDIT = { at: 0, actor: "t", action: "rm", cache: "default", keyspace: "", scope: "", key: "", size: 0, result: "ok", address: "" };
const ROUNDS = 5;

/** Contents that savers share with each other and with earlier rounds, by name. */
function fill(root: string, round: number): Map<string, Buffer> {
  const contents = new Map<string, Buffer>();
  mkdirSync(join(root, "tree"), { recursive: true });
  for (let i = 0; i < 60; i++) {
    const bytes = bytesOf(`${i} ${i % 3 === 0 ? round : i % 5}`, 20_000 + i * 100);
    writeFileSync(join(root, `tree/f${i}`), bytes);
    contents.set(`f${i}`, bytes);
  }
  return contents;
}

it("two savers at once, while archives are removed and bytes collected without a pause: what was saved can be restored", async () => {
  let running = true;
  const saved: number[] = [];
  const collecting = (async () => {
    while (running) {
      await server.core.maintenance.collect(-1_000);
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  })();
  const saver = async (name: string) => {
    const root = join(dir, name);
    const options = { version: "v", paths: ["tree"], root, stateDir: join(dir, `${name}-state`), deadlineMs: 20_000 };
    for (let round = 0; round < ROUNDS; round++) {
      const contents = fill(root, round);
      const key = `${name}-${round}`;
      expect(await saveArchive({ url: server.url, token: server.write }, { ...options, key })).toMatchObject({ status: "saved" });
      const target = join(dir, `${name}-to-${round}`);
      mkdirSync(target);
      expect(await restoreArchive({ url: server.url, token: server.read }, { ...options, root: target, stateDir: join(dir, "none"), key, restoreKeys: [] })).toMatchObject({ status: "hit", exact: true });
      expect(readdirSync(join(target, "tree"))).toHaveLength(contents.size);
      for (const [file, bytes] of contents) expect(readFileSync(join(target, "tree", file)).equals(bytes)).toBe(true);
      // Whatever the next round builds on is gone by then, or goes while it does.
      const { entry } = await server.core.catalog.get({ cache: "default", read: ["local:main"], write: null, trusted: true, admin: false, actor: "t" }, { name: "archive", maxKeyLength: 100 }, key, "v");
      saved.push(entry!.id);
      await server.core.catalog.removeIds([entry!.id], AUDIT);
    }
  };
  try {
    await Promise.all([saver("one"), saver("two")]);
  } finally {
    running = false;
    await collecting;
  }
  expect(saved).toHaveLength(2 * ROUNDS);
}, 60_000);

it("two savers of one key: one has it, the other is told so, and nothing of it stays", async () => {
  fill(join(dir, "same"), 9);
  const save = (stateDir: string) => saveArchive({ url: server.url, token: server.write }, { key: "same", version: "v", paths: ["tree"], root: join(dir, "same"), stateDir: join(dir, stateDir), deadlineMs: 20_000 });
  const results = await Promise.all([save("s1"), save("s2")]);
  expect(results.map(({ status }) => status).toSorted()).toEqual(["exists", "saved"]);
  expect(await server.core.database.scan("expiredUploads", { now: Number.MAX_SAFE_INTEGER })).toEqual([]);
});

it("a pull request's writer changes nothing that main restores, whatever it saves", async () => {
  const contents = fill(join(dir, "main"), 7);
  const pull = await server.key({ permission: "write", scope: "team:pull", reads: ["team:pull", "local:main"] });
  const options = { key: "shared", version: "v", paths: ["tree"], root: join(dir, "main"), deadlineMs: 20_000 };
  // The pull request is first: its frames hold chunks of main's, and one that is not.
  writeFileSync(join(dir, "main/tree/f0"), "poison");
  expect(await saveArchive({ url: server.url, token: pull }, { ...options, stateDir: join(dir, "p") })).toMatchObject({ status: "saved" });
  writeFileSync(join(dir, "main/tree/f0"), contents.get("f0")!);
  expect(await saveArchive({ url: server.url, token: server.write }, { ...options, stateDir: join(dir, "m") })).toMatchObject({ status: "saved" });
  for (const [name, token, first] of [["to-main", server.read, contents.get("f0")!], ["to-pull", pull, Buffer.from("poison")]] as const) {
    mkdirSync(join(dir, name));
    expect(await restoreArchive({ url: server.url, token }, { ...options, root: join(dir, name), stateDir: join(dir, "none"), restoreKeys: [] })).toMatchObject({ status: "hit" });
    expect(readFileSync(join(dir, name, "tree/f0")).equals(first)).toBe(true);
  }
});
