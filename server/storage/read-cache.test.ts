import crypto from "node:crypto";
import fs from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { setTimeout } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { conformance, get, put } from "./conformance.ts";
import { openFilesystem } from "./filesystem.ts";
import { CacheDirectory } from "./read-cache/directory.ts";
import { openReadCache, type ReadCacheOptions } from "./read-cache.ts";
import { MissingBlob, type BlobStore } from "./store.ts";

const KiB = 1024;
const MiB = 1024 * KiB;
const temporary = () => fs.mkdtemp(path.join(os.tmpdir(), "stowhouse-read-cache-"));

conformance("read cache over filesystem", async () => {
  const root = await temporary();
  const copies = path.join(root, "copies");
  const store = await openReadCache(await openFilesystem({ root: path.join(root, "blobs") }), { path: copies, size: 256 * MiB });
  const unfinished = () => fs.readdir(path.join(copies, "tmp"));
  return {
    store,
    // A copy is finished behind the read; what must not stay is one that nobody finishes.
    resources: async () => {
      await expect.poll(unfinished).toEqual([]);
      return 0;
    },
    stop: async () => {
      await store.close();
      await fs.rm(root, { recursive: true });
    },
  };
});

/** A store in memory that counts what is read of it and waits before every chunk where it is told to. */
class Remote {
  readonly blobs = new Map<string, Buffer>();
  opens = 0;
  reads: string[] = [];
  wait: Promise<void> | undefined;
  readonly store: BlobStore = {
    kind: "s3",
    create: () => Promise.reject(new Error("not here")),
    open: async (name, size) => {
      this.opens++;
      const bytes = this.blobs.get(name);
      if (!bytes) throw new MissingBlob(name);
      return {
        size,
        read: async (start, end, push) => {
          this.reads.push(`${name} ${start}-${end}`);
          for (let at = start; at < end; at += 64 * KiB) {
            await this.wait;
            await push(Buffer.from(bytes.subarray(at, Math.min(end, at + 64 * KiB))));
          }
        },
        close: async () => {},
      };
    },
    remove: async (name) => void this.blobs.delete(name),
    list: async function* () {},
    sweep: async () => 0,
    capacity: async () => undefined,
    presign: async (name) => `https://bucket.example.com/${name}`,
    close: async () => {},
  };

  add(name: string, size: number): Buffer {
    const bytes = crypto.randomBytes(size);
    this.blobs.set(name, bytes);
    return bytes;
  }
}

/** Until a cache copies: it does from its first look at the directory on. */
async function ready(cache: BlobStore, remote: Remote): Promise<void> {
  remote.add("probe", 1);
  do await get(cache, "probe", 1);
  while (remote.reads.splice(0).length > 0);
  await cache.remove("probe");
  remote.opens = 0;
}

describe("read cache", () => {
  let root: string;
  let remote: Remote;
  let cache: BlobStore;
  let seen: string[] = [];
  const open = async (options: Partial<ReadCacheOptions> = {}) => {
    cache = await openReadCache(remote.store, { path: root, size: 64 * MiB, onRead: (result, bytes) => seen.push(`${result} ${bytes}`), ...options });
    await ready(cache, remote);
    seen = [];
  };
  const copies = async () => (await fs.readdir(root, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile() && path.basename(entry.parentPath) !== "tmp").map((entry) => path.join(entry.parentPath, entry.name));
  const unfinished = () => fs.readdir(path.join(root, "tmp"));
  /** Until the copies are these many and none is being made. */
  const settled = async (count: number) => {
    await expect.poll(async () => (await copies()).length).toBe(count);
    await expect.poll(unfinished).toEqual([]);
  };
  const remoteReads = () => remote.reads.splice(0);

  beforeEach(async () => {
    root = await temporary();
    remote = new Remote();
    await open();
  });
  afterEach(async () => {
    await cache.close();
    await fs.rm(root, { recursive: true, force: true });
  });

  test("a blob read whole is read from the local disk from then on", async () => {
    const bytes = remote.add("a", 300 * KiB);
    expect((await get(cache, "a", bytes.length)).equals(bytes)).toBe(true);
    await settled(1);
    expect((await get(cache, "a", bytes.length)).equals(bytes)).toBe(true);
    expect((await get(cache, "a", bytes.length, 1000, 200_000)).equals(bytes.subarray(1000, 200_000))).toBe(true);
    expect(remote.opens).toBe(1);
    expect(seen).toEqual(["miss 307200", "hit 307200", "hit 199000"]);
  });

  test("a read of a part goes to the store, and the next one to a copy fetched behind it", async () => {
    const bytes = remote.add("a", 300 * KiB);
    expect((await get(cache, "a", bytes.length, 10, 20)).equals(bytes.subarray(10, 20))).toBe(true);
    await settled(1);
    expect((await get(cache, "a", bytes.length)).equals(bytes)).toBe(true);
    expect(remoteReads()).toEqual(["a 10-20", "a 0-307200"]);
    expect(seen).toEqual(["miss 10", "hit 307200"]);
  });

  test("readers of one blob at the same time make one copy, and none waits for another", async () => {
    const bytes = remote.add("a", 300 * KiB);
    const slow = await cache.open("a", bytes.length);
    let go = () => {};
    const gate = new Promise<void>((resolve) => (go = resolve));
    const reading = slow.read(0, bytes.length, () => gate);
    const others = await Promise.all(Array.from({ length: 8 }, () => get(cache, "a", bytes.length)));
    for (const other of others) expect(other.equals(bytes)).toBe(true);
    expect((await unfinished()).length).toBe(1);
    expect(await copies()).toEqual([]);
    go();
    await reading;
    await slow.close();
    await settled(1);
    expect((await fs.readFile((await copies())[0]!)).equals(bytes)).toBe(true);
  });

  test("a client that leaves in the middle leaves no copy, and the next one makes it", async () => {
    const bytes = remote.add("a", 300 * KiB);
    const reader = await cache.open("a", bytes.length);
    let chunks = 0;
    await expect(reader.read(0, bytes.length, () => (++chunks === 3 ? Promise.reject(new Error("gone")) : undefined))).rejects.toThrow("gone");
    await reader.close();
    await settled(0);
    await get(cache, "a", bytes.length);
    await settled(1);
  });

  test("a store that fails in the middle leaves no copy", async () => {
    const bytes = remote.add("a", 300 * KiB);
    const reader = await cache.open("a", bytes.length);
    let chunks = 0;
    const read = reader.read(0, bytes.length, () => {
      if (++chunks === 2) remote.wait = Promise.reject(new Error("reset"));
      remote.wait?.catch(() => {});
      return undefined;
    });
    await expect(read).rejects.toThrow("reset");
    await reader.close();
    await settled(0);
  });

  test("a removed blob is gone here too, also when its copy was just being made", async () => {
    remote.add("a", 300 * KiB);
    await get(cache, "a", 300 * KiB);
    await settled(1);
    await cache.remove("a");
    await settled(0);
    await expect(cache.open("a", 300 * KiB)).rejects.toThrow(MissingBlob);

    remote.add("b", 300 * KiB);
    const reader = await cache.open("b", 300 * KiB);
    await reader.read(0, 300 * KiB, async () => cache.remove("b"));
    await reader.close();
    await settled(0);
    await expect(cache.open("b", 300 * KiB)).rejects.toThrow(MissingBlob);
  });

  test("a copy of the wrong size is dropped and the store read", async () => {
    const bytes = remote.add("a", 300 * KiB);
    await get(cache, "a", bytes.length);
    await settled(1);
    await cache.close();
    await fs.truncate((await copies())[0]!, 1000);
    await open();
    expect((await get(cache, "a", bytes.length)).equals(bytes)).toBe(true);
    await settled(1);
    expect((await fs.stat((await copies())[0]!)).size).toBe(bytes.length);
  });

  test("a copy that turns out short while it is read is completed from the store", async () => {
    const bytes = remote.add("a", 3 * MiB);
    await get(cache, "a", bytes.length);
    await settled(1);
    const reader = await cache.open("a", bytes.length);
    await fs.truncate((await copies())[0]!, 1_500_000);
    const parts: Buffer[] = [];
    await reader.read(0, bytes.length, (chunk) => void parts.push(Buffer.from(chunk)));
    await reader.close();
    expect(Buffer.concat(parts).equals(bytes)).toBe(true);
    expect(seen.at(-1)).toBe(`miss ${bytes.length}`);
    expect(await copies()).toEqual([]);
  });

  test("a local disk that fails costs the copy, never the read", async () => {
    const bytes = remote.add("a", 300 * KiB);
    await fs.rm(root, { recursive: true });
    expect((await get(cache, "a", bytes.length)).equals(bytes)).toBe(true);
    await fs.writeFile(root, "no directory");
    expect((await get(cache, "a", bytes.length)).equals(bytes)).toBe(true);
    expect(seen).toEqual(["miss 307200", "miss 307200"]);
  });

  test("the least recently used copies go when it is full, and it never holds more than its size", async () => {
    await cache.close();
    await open({ size: 2 * MiB });
    for (let index = 0; index < 30; index++) {
      remote.add(`blob-${index}`, 100 * KiB);
      await get(cache, `blob-${index}`, 100 * KiB);
      if (index === 0) await settled(1);
      expect((await copies()).length * 100 * KiB).toBeLessThanOrEqual(2 * MiB);
      // Room is made in the background.
      await expect.poll(async () => (await copies()).length * 100 * KiB).toBeLessThanOrEqual(1.8 * MiB);
      // The first one stays in use.
      await get(cache, "blob-0", 100 * KiB);
      await setTimeout(5);
    }
    expect(remoteReads().length).toBe(30);
    for (const index of [0, 1, 29]) await get(cache, `blob-${index}`, 100 * KiB);
    expect(remoteReads()).toEqual(["blob-1 0-102400"]);
  });

  test("a blob too large for the cache is passed through", async () => {
    await cache.close();
    await open({ size: 100 * KiB });
    const bytes = remote.add("a", 300 * KiB);
    for (let round = 0; round < 2; round++) expect((await get(cache, "a", bytes.length)).equals(bytes)).toBe(true);
    await settled(0);
    expect(remote.opens).toBe(2);
  });

  test("a restart keeps the copies and sweeps what was being made", async () => {
    const bytes = remote.add("a", 300 * KiB);
    await get(cache, "a", bytes.length);
    await settled(1);
    await cache.close();
    await fs.writeFile(path.join(root, "tmp", "0123456789abcdef01234567"), "half");
    await open();
    await settled(1);
    expect((await get(cache, "a", bytes.length)).equals(bytes)).toBe(true);
    expect(remote.opens).toBe(0);
  });

  test("a restart with a smaller size makes room, oldest use first", async () => {
    for (const name of ["a", "b", "c", "d"]) {
      remote.add(name, 300 * KiB);
      await get(cache, name, 300 * KiB);
      await setTimeout(10);
    }
    await settled(4);
    await get(cache, "a", 300 * KiB);
    await setTimeout(10);
    await cache.close();
    await open({ size: 800 * KiB });
    await settled(2);
    remoteReads();
    for (const name of ["a", "d"]) await get(cache, name, 300 * KiB);
    expect(remoteReads()).toEqual([]);
  });

  test("two processes share the directory and its size", async () => {
    const other = await openReadCache(remote.store, { path: root, size: 64 * MiB, sharers: 2 });
    await ready(other, remote);
    const bytes = remote.add("a", 300 * KiB);
    await get(cache, "a", bytes.length);
    await settled(1);
    expect((await get(other, "a", bytes.length)).equals(bytes)).toBe(true);
    expect(remote.opens).toBe(1);
    await other.close();
  });

  test("two processes together never hold more than the size, whoever fills it", async () => {
    await cache.close();
    await open({ size: 4 * MiB, sharers: 2 });
    const other = await openReadCache(remote.store, { path: root, size: 4 * MiB, sharers: 2 });
    await ready(other, remote);
    for (let index = 0; index < 150; index++) {
      remote.add(`blob-${index}`, 50 * KiB);
      // The other one is idle while this one fills it, and then makes up for it.
      const who = index < 80 ? cache : index < 110 ? other : [cache, other][index % 2]!;
      await get(who, `blob-${index}`, 50 * KiB);
      await expect.poll(unfinished).toEqual([]);
      expect((await copies()).length * 50 * KiB).toBeLessThanOrEqual(4 * MiB);
    }
    expect((await copies()).length).toBeGreaterThan(20);
    await other.close();
  });

  test("closing it ends a copy that is being made", async () => {
    remote.add("a", 300 * KiB);
    const reader = await cache.open("a", 300 * KiB);
    let go = () => {};
    const gate = new Promise<void>((resolve) => (go = resolve));
    const reading = reader.read(0, 300 * KiB, () => gate);
    await expect.poll(async () => (await unfinished()).length).toBe(1);
    await cache.close();
    expect(await unfinished()).toEqual([]);
    go();
    await reading;
    await reader.close();
    await open();
  });

  test("URLs of the store are handed through", async () => {
    expect(await cache.presign!("a", 60)).toBe("https://bucket.example.com/a");
  });
});

test("a copy is given up when the disk is slower than the client", async () => {
  const root = await temporary();
  const remote = new Remote();
  const cache = await openReadCache(remote.store, { path: root, size: 1024 * MiB });
  await ready(cache, remote);
  const bytes = remote.add("a", 24 * MiB);
  const reader = await cache.open("a", bytes.length);
  // A client without any delay: no turn of the event loop in which the disk could keep up.
  await reader.read(0, bytes.length, () => undefined);
  await reader.close();
  await expect.poll(() => fs.readdir(path.join(root, "tmp"))).toEqual([]);
  await get(cache, "a", bytes.length);
  expect(remote.reads.filter((read) => read === `a 0-${bytes.length}`).length).toBe(2);
  await cache.close();
  await fs.rm(root, { recursive: true });
});

test("nothing is copied that the disk has no room for", async () => {
  const root = await temporary();
  const directory = await CacheDirectory.open({ path: root, size: 2 ** 50 });
  await directory.look();
  expect(directory.fill("a", 2 ** 46)).toBeUndefined();
  const fill = directory.fill("b", 1000)!;
  fill.take(Buffer.alloc(999));
  fill.finish();
  expect(await fill.ended).toBe(false);
  await directory.close();
  await fs.rm(root, { recursive: true });
});

test("what was put through the cache is read through it", async () => {
  const root = await temporary();
  const store = await openReadCache(await openFilesystem({ root: path.join(root, "blobs") }), { path: path.join(root, "copies"), size: 64 * MiB });
  const bytes = crypto.randomBytes(100_000);
  const name = await put(store, bytes);
  expect((await get(store, name, bytes.length)).equals(bytes)).toBe(true);
  await store.close();
  await fs.rm(root, { recursive: true });
});
