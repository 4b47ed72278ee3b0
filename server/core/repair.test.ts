import { mkdirSync, readdirSync, truncateSync, unlinkSync, utimesSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { FIXED, grant, startCore, textOf, type TestCore, type TestOptions } from "../../test/fixtures/core.ts";
import type { BlobStore } from "../storage/store.ts";
import { repair } from "./repair.ts";
import { asShared } from "../../test/fixtures/temporary-database.ts";

const main = grant("local:main");

async function core(options: TestOptions = {}): Promise<TestCore> {
  const started = await startCore({ bodyMemory: 0, ...options });
  onTestFinished(() => started.remove());
  return started;
}

const body = (i: number) => Buffer.alloc(200 + i, i + 1);
const fill = async (on: TestCore, count: number) => {
  for (let i = 0; i < count; i++) await on.bodies.put(main, FIXED, `k${i}`, body(i));
};
const fileOf = async (on: TestCore, key: string) => {
  const { entry } = await on.catalog.get(main, FIXED, key);
  return (await on.files()).find((file) => file.endsWith(entry!.blob!.name!))!;
};
const hits = async (on: TestCore, count: number) => {
  const found = [];
  for (let i = 0; i < count; i++) if ((await on.catalog.get(main, FIXED, `k${i}`)).entry) found.push(i);
  return found;
};
const HOUR = 3_600_000;

describe("repair", () => {
  test("finds nothing to do where all is well", async () => {
    const on = await core();
    await fill(on, 3);
    await on.bodies.put(main, FIXED, "small", Buffer.from("inline"));
    expect(await on.repair()).toEqual({ blobs: 4, missing: 0, corrupt: 0, orphans: 0, swept: 0, unreadable: 0 });
    expect(await on.repair({ verify: true })).toMatchObject({ blobs: 4, missing: 0, corrupt: 0 });
    expect(await hits(on, 3)).toEqual([0, 1, 2]);
  });

  test("drops entries whose file is gone or too short, and what is left of it, so that they can be stored again", async () => {
    const on = await core();
    await fill(on, 4);
    unlinkSync(await fileOf(on, "k1"));
    truncateSync(await fileOf(on, "k2"), 10);
    expect(await on.repair()).toMatchObject({ blobs: 4, missing: 2, corrupt: 0 });
    expect(await hits(on, 4)).toEqual([0, 3]);
    expect(await on.files()).toHaveLength(2);
    await fill(on, 4).catch(() => {});
    for (const i of [1, 2]) await on.bodies.put(main, FIXED, `k${i}`, body(i));
    expect(await on.repair({ verify: true })).toMatchObject({ blobs: 4, missing: 0, corrupt: 0 });
    expect(await textOf(on, main, FIXED, "k2")).toBe(body(2).toString());
    expect(on.audited.filter((line) => line.action === "repair")).toHaveLength(2);
  });

  test("with verify finds bytes that are not what they should be, in files and in the database", async () => {
    const on = await core();
    await fill(on, 2);
    await on.bodies.put(main, FIXED, "small", Buffer.from("inline"));
    const small = (await on.catalog.get(main, FIXED, "small")).entry!;
    writeFileSync(await fileOf(on, "k1"), Buffer.alloc(201, 9));
    await on.database.write("moveBlob", { blob: small.blob!.id, from: null, store: "disk", name: "x", bytes: null });
    await on.database.write("moveBlob", { blob: small.blob!.id, from: "disk", store: null, name: null, bytes: Buffer.from("INLINE") });
    expect(await on.repair()).toMatchObject({ missing: 0, corrupt: 0 });
    expect(await on.repair({ verify: true, dryRun: true })).toMatchObject({ corrupt: 2 });
    expect(await hits(on, 2)).toEqual([0, 1]);
    expect(await on.repair({ verify: true })).toMatchObject({ corrupt: 2 });
    expect(await hits(on, 2)).toEqual([0]);
    expect((await on.catalog.get(main, FIXED, "small")).entry).toBeUndefined();
    expect(await on.files()).toHaveLength(1);
  });

  test("deletes files that no row knows once they are older than the grace, and unfinished ones", async () => {
    const on = await core({ maintenance: { interval: 1e9, grace: HOUR, auditRetention: 1e9 } });
    await fill(on, 1);
    const known = await fileOf(on, "k0");
    const stray = (age: number) => {
      const file = join(dirname(known), `${known.split("/").at(-1)!.slice(0, 64)}.${String(age).padStart(24, "0")}`);
      writeFileSync(file, "nobody's");
      utimesSync(file, new Date(Date.now() - age), new Date(Date.now() - age));
      return file;
    };
    const [young, old] = [stray(HOUR / 2), stray(2 * HOUR)];
    const root = known.slice(0, known.indexOf("/blobs/") + "/blobs".length);
    mkdirSync(join(root, "tmp"), { recursive: true });
    for (const [name, age] of [["a".repeat(24), HOUR / 2], ["b".repeat(24), 2 * HOUR]] as const) {
      writeFileSync(join(root, "tmp", name), "unfinished");
      utimesSync(join(root, "tmp", name), new Date(Date.now() - age), new Date(Date.now() - age));
    }
    expect(await on.repair({ dryRun: true })).toMatchObject({ orphans: 1, swept: 0 });
    expect(await on.files()).toContain(old);
    // Where others may write too, an unfinished file may be one of theirs.
    const parts = { ...on, grace: HOUR };
    expect(await repair({ ...parts, database: asShared(on.database) })).toMatchObject({ orphans: 1, swept: 1 });
    const left = await on.files();
    expect([left.includes(known), left.includes(young), left.includes(old)]).toEqual([true, true, false]);
    expect(readdirSync(join(root, "tmp"))).toEqual(["a".repeat(24)]);
    expect(await on.repair()).toMatchObject({ orphans: 0, swept: 1 });
    expect(readdirSync(join(root, "tmp"))).toEqual([]);
    expect(await textOf(on, main, FIXED, "k0")).toBe(body(0).toString());
  });

  test("drops parts of open uploads whose bytes are gone: a commit says that they are missing", async () => {
    const on = await core();
    const upload = await on.uploads.reserve(main, FIXED, "k", "");
    for (let i = 0; i < 2; i++) await on.uploads.part(upload, `p${i}`, i, body(i));
    unlinkSync((await on.files())[0]!);
    expect(await on.repair()).toMatchObject({ blobs: 2, missing: 1 });
    expect(await on.uploads.parts(upload)).toHaveLength(1);
    await expect(on.uploads.commit(main, FIXED, upload, { parts: ["p0", "p1"] })).rejects.toMatchObject({ code: "STOW_BAD_REQUEST" });
  });

  test("that is interrupted stops at once, has broken nothing, and can be run again", async () => {
    const on = await core();
    await fill(on, 30);
    for (const i of [3, 20]) unlinkSync(await fileOf(on, `k${i}`));
    const stop = new AbortController();
    await expect(on.repair({ signal: stop.signal, onProgress: ({ blobs }) => blobs === 10 && stop.abort() })).rejects.toThrow(/abort/i);
    expect((await hits(on, 30)).length).toBe(29);
    await expect(on.repair({ signal: AbortSignal.abort() })).rejects.toThrow(/abort/i);
    expect(await on.repair()).toMatchObject({ blobs: 29, missing: 1 });
    expect((await hits(on, 30)).length).toBe(28);
  });

  test("goes past what it can't read, and touches none of it", async () => {
    const broken = new Set<string>();
    const on = await core({
      store: (store: BlobStore) => ({
        kind: store.kind, create: store.create.bind(store), remove: store.remove.bind(store), list: store.list.bind(store), sweep: store.sweep.bind(store), capacity: store.capacity.bind(store), close: store.close.bind(store),
        open: (name, size) => (broken.has(name) ? Promise.reject(Object.assign(new Error("i/o error"), { code: "EIO" })) : store.open(name, size)),
      }),
    });
    await fill(on, 30);
    const names = [];
    for (let i = 0; i < 30; i++) names.push((await on.catalog.get(main, FIXED, `k${i}`)).entry!.blob!.name!);
    for (const i of [3, 7]) broken.add(names[i]!);
    unlinkSync(await fileOf(on, "k12"));
    expect(await on.repair()).toMatchObject({ blobs: 30, missing: 1, unreadable: 2 });
    // A storage that is away as a whole is no reason to look at a million files.
    for (const name of names) broken.add(name);
    await expect(on.repair()).rejects.toMatchObject({ code: "STOW_READ_FAILURE" });
    broken.clear();
    expect((await hits(on, 30)).length).toBe(29);
  });

  test("leaves blobs of a storage that is not configured alone", async () => {
    const on = await core();
    await fill(on, 1);
    const { blob } = (await on.catalog.get(main, FIXED, "k0")).entry!;
    await on.database.write("moveBlob", { blob: blob!.id, from: "disk", store: "taken out", name: "x", bytes: null });
    expect(await on.repair({ verify: true })).toMatchObject({ blobs: 1, missing: 0, corrupt: 0 });
    expect(await on.database.scan("listBlobs", { after: 0, limit: 5 })).toHaveLength(1);
  });
});

describe("collecting what nobody needs", () => {
  test("spares what is needed again within the grace, and leaves no row without its file", async () => {
    const on = await core();
    await fill(on, 3);
    const gone = [];
    for (let i = 0; i < 3; i++) gone.push((await on.catalog.get(main, FIXED, `k${i}`)).entry!.id);
    await on.catalog.removeIds(gone, { at: 1, actor: "x", action: "remove", cache: "default", keyspace: "", scope: "", key: "", size: 0, result: "ok", address: "" });
    expect(await on.maintenance.collect()).toBe(0);
    await on.bodies.put(main, FIXED, "again", body(1));
    expect(await on.maintenance.collect(-1)).toBe(2);
    expect(await on.files()).toHaveLength(1);
    expect(await textOf(on, main, FIXED, "again")).toBe(body(1).toString());
    expect(await on.repair({ verify: true })).toMatchObject({ blobs: 1, missing: 0, corrupt: 0, orphans: 0 });
  });
});
