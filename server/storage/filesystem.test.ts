import crypto from "node:crypto";
import fs from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { setTimeout } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { conformance, get, names, put, sha256 } from "./conformance.ts";
import { openFilesystem } from "./filesystem.ts";
import { TruncatedBlob, type BlobStore, type BlobWriter } from "./store.ts";

const MiB = 1024 * 1024;
const temporary = () => fs.mkdtemp(path.join(os.tmpdir(), "stowhouse-store-"));

/** Open descriptors of this process that lead into `root`, deleted files included. */
async function descriptors(root: string): Promise<string[]> {
  const links = (await fs.readdir("/proc/self/fd")).map((fd) => fs.readlink(`/proc/self/fd/${fd}`).catch(() => ""));
  return (await Promise.all(links)).filter((target) => target.startsWith(root));
}

conformance("filesystem", async () => {
  const root = await temporary();
  const store = await openFilesystem({ root });
  return {
    store,
    resources: async () => (await descriptors(root)).length,
    stop: async () => {
      await store.close();
      await fs.rm(root, { recursive: true });
    },
  };
});

describe("filesystem store", () => {
  let root: string;
  let store: BlobStore;
  beforeEach(async () => {
    root = await temporary();
    store = await openFilesystem({ root, unwrittenBytes: 4 * MiB, openFiles: 4 });
  });
  afterEach(async () => {
    await store.close();
    await expect.poll(() => descriptors(root)).toEqual([]);
    await fs.rm(root, { recursive: true });
  });

  test("a blob lies under its cache and digest, and nothing else is left", async () => {
    const bytes = crypto.randomBytes(100_000);
    const name = await put(store, bytes);
    const digest = sha256(bytes);
    expect(name).toMatch(new RegExp(`^default/${digest.slice(0, 2)}/${digest}\\.[0-9a-f]{24}$`));
    expect((await fs.readFile(path.join(root, name))).equals(bytes)).toBe(true);
    expect(await fs.readdir(path.join(root, "tmp"))).toEqual([]);
  });

  test("a store opened again holds what was written", async () => {
    const bytes = crypto.randomBytes(70_000);
    const name = await put(store, bytes);
    await store.close();
    store = await openFilesystem({ root });
    expect((await get(store, name, bytes.length)).equals(bytes)).toBe(true);
    expect(await names(store)).toEqual([name]);
  });

  test("an unfinished write of a killed process is swept when it is old enough", async () => {
    const left = path.join(root, "tmp", "0123456789abcdef01234567");
    await fs.writeFile(left, "half");
    await fs.writeFile(path.join(root, "tmp", "README"), "not ours");
    expect(await store.sweep(3_600_000)).toBe(0);
    expect(await store.sweep(0)).toBe(1);
    expect(await fs.readdir(path.join(root, "tmp"))).toEqual(["README"]);
  });

  test("foreign files are not listed", async () => {
    const name = await put(store, crypto.randomBytes(10));
    const directory = path.dirname(path.join(root, name));
    await fs.writeFile(path.join(directory, "x"), "");
    await fs.writeFile(path.join(directory, `${"0".repeat(64)}.${"0".repeat(24)}`), "digest of another directory");
    await fs.writeFile(path.join(root, "default", "notes"), "");
    await fs.writeFile(path.join(root, "lost"), "");
    expect(await names(store)).toEqual([name]);
  });

  test("a directory tidied away while the server runs is made again", async () => {
    const bytes = crypto.randomBytes(10);
    await fs.rm(path.join(root, path.dirname(path.dirname(await put(store, bytes)))), { recursive: true });
    expect((await get(store, await put(store, bytes), 10)).equals(bytes)).toBe(true);
  });

  test("a file cut short while it is open ends the read with an error, not with other bytes", async () => {
    const bytes = crypto.randomBytes(3 * MiB);
    const name = await put(store, bytes);
    const reader = await store.open(name, bytes.length);
    await fs.truncate(path.join(root, name), MiB + 5);
    let received = 0;
    await expect(reader.read(0, bytes.length, (chunk) => void (received += chunk.length))).rejects.toThrow(TruncatedBlob);
    expect(received).toBeLessThanOrEqual(MiB + 5);
    await reader.close();
  });

  test("only a few files stay open, those in use among them, and a removed one is closed", async () => {
    const blobs = await Promise.all(Array.from({ length: 9 }, () => put(store, crypto.randomBytes(1000))));
    const readers = await Promise.all(blobs.slice(0, 6).map((name) => store.open(name, 1000)));
    await expect.poll(async () => (await descriptors(root)).length).toBe(6);
    for (const name of blobs.slice(6)) await get(store, name, 1000);
    for (const reader of readers) await reader.close();
    await expect.poll(async () => (await descriptors(root)).length).toBe(4);
    for (const name of blobs) await store.remove(name);
    await expect.poll(() => descriptors(root)).toEqual([]);
  });

  test("a file nobody reads is closed after a while, so that a deletion by another server frees its space", async () => {
    await store.close();
    store = await openFilesystem({ root, idle: 20 });
    const name = await put(store, crypto.randomBytes(1000));
    await get(store, name, 1000);
    await expect.poll(() => descriptors(root)).toEqual([]);
  });

  test("writers over the common budget wait, and an idle one can't hold up the others", async () => {
    const idle: BlobWriter[] = [];
    for (let index = 0; index < 8; index++) {
      const writer = await store.create("default");
      await writer.write(crypto.randomBytes(MiB - 1));
      idle.push(writer);
    }
    const bytes = crypto.randomBytes(12 * MiB);
    const name = await Promise.race([put(store, bytes), setTimeout(15_000, "stuck", { ref: false })]);
    expect(sha256(await get(store, name, bytes.length))).toBe(sha256(bytes));
    await Promise.all(idle.map((writer) => writer.abort()));
  });

  test("a writer is told to wait once it is two batches ahead of the disk", async () => {
    const writer = await store.create("default");
    let waits = 0;
    for (let index = 0; index < 200; index++) {
      const wait = writer.write(Buffer.alloc(64 * 1024, index));
      if (wait) waits++;
      await wait;
    }
    expect(waits).toBeGreaterThan(0);
    await writer.abort();
  });

  test("a wait is over when its writer is aborted", async () => {
    const writer = await store.create("default");
    const wait = writer.write(crypto.randomBytes(8 * MiB));
    expect(wait).toBeInstanceOf(Promise);
    await Promise.all([writer.abort(), wait]);
    expect(await fs.readdir(path.join(root, "tmp"))).toEqual([]);
  });

  test("a write in flight when the store can't publish fails the commit and leaves nothing", async () => {
    const bytes = crypto.randomBytes(2 * MiB);
    await fs.writeFile(path.join(root, "blocked"), "a file where the cache's directory belongs");
    await expect(put(store, bytes, [MiB], "blocked")).rejects.toMatchObject({ code: "ENOTDIR" });
    await fs.rm(path.join(root, "blocked"));
    expect(await fs.readdir(path.join(root, "tmp"))).toEqual([]);
    expect((await get(store, await put(store, bytes, [MiB], "blocked"), bytes.length)).equals(bytes)).toBe(true);
  });

  test("a commit under something that is no digest is refused and leaves nothing", async () => {
    const writer = await store.create("default");
    await writer.write(crypto.randomBytes(3 * MiB));
    await expect(writer.commit("../../escape")).rejects.toThrow();
    expect(await fs.readdir(path.join(root, "tmp"))).toEqual([]);
    expect(await names(store)).toEqual([]);
  });

  test("the capacity is the filesystem's", async () => {
    const capacity = await store.capacity();
    expect(capacity!.total).toBeGreaterThan(capacity!.free);
    expect(capacity!.free).toBeGreaterThan(0);
  });
});
