import crypto from "node:crypto";
import { setImmediate } from "node:timers/promises";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { MissingBlob, TruncatedBlob, type BlobStore } from "./store.ts";

const KiB = 1024;
const MiB = 1024 * KiB;

export interface Subject {
  readonly store: BlobStore;
  /** Descriptors or the like that only open blobs and writers may hold; compared before and after. */
  resources?(): Promise<number>;
  stop(): Promise<void>;
}

export const sha256 = (bytes: Buffer): string => crypto.hash("sha256", bytes);

/** Writes a blob in chunks of the given sizes (repeated), minding back pressure. Returns its name. */
export async function put(store: BlobStore, bytes: Buffer, chunks: readonly number[] = [64 * KiB], cache = "default"): Promise<string> {
  const writer = await store.create(cache);
  for (let start = 0, turn = 0; start < bytes.length; turn++) {
    const end = Math.min(bytes.length, start + chunks[turn % chunks.length]!);
    // A copy: the buffer is the writer's from now on.
    await writer.write(Buffer.from(bytes.subarray(start, end)));
    start = end;
  }
  return writer.commit(sha256(bytes));
}

/** Reads [start, end) of a blob, keeping each chunk for only as long as it is valid. */
export async function get(store: BlobStore, name: string, size: number, start = 0, end = size): Promise<Buffer> {
  const reader = await store.open(name, size);
  try {
    const parts: Buffer[] = [];
    await reader.read(start, end, (chunk) => {
      parts.push(Buffer.from(chunk));
      return undefined;
    });
    return Buffer.concat(parts);
  } finally {
    await reader.close();
  }
}

export async function names(store: BlobStore): Promise<string[]> {
  const found: string[] = [];
  for await (const blob of store.list()) found.push(blob.name);
  return found.toSorted();
}

/** What every storage driver has to keep. The store must be empty at first. */
export function conformance(label: string, start: () => Promise<Subject>): void {
  describe(label, () => {
    let subject: Subject;
    let store: BlobStore;
    let random: Buffer;
    beforeAll(async () => {
      subject = await start();
      store = subject.store;
      random = crypto.randomBytes(33 * MiB);
    });
    afterAll(() => subject.stop());

    test.each([0, 1, 64 * KiB - 1, 64 * KiB, 64 * KiB + 1, 5 * MiB + 1, 33 * MiB])("%i bytes come back as they were written", async (size) => {
      const bytes = random.subarray(0, size);
      const name = await put(store, bytes);
      expect((await get(store, name, size)).equals(bytes)).toBe(true);
    });

    test("how the bytes were cut into chunks makes no difference", async () => {
      const chunk = fc.oneof(fc.integer({ min: 1, max: 100 }), fc.integer({ min: 1, max: 3 * MiB }));
      const some = fc.tuple(fc.integer({ min: 0, max: 300 * KiB }), fc.array(chunk, { minLength: 1, maxLength: 5 }));
      await fc.assert(
        fc.asyncProperty(some, async ([size, chunks]) => {
          const bytes = random.subarray(0, size);
          expect((await get(store, await put(store, bytes, chunks), size)).equals(bytes)).toBe(true);
        }),
        { numRuns: 15 },
      );
      const large = random.subarray(0, 10 * MiB + 5);
      expect((await get(store, await put(store, large, [9 * MiB, 3, 70_000]), large.length)).equals(large)).toBe(true);
    });

    test("every range of a blob is those bytes", async () => {
      const size = 3 * MiB + 17;
      const bytes = random.subarray(0, size);
      const name = await put(store, bytes);
      const point = fc.oneof(fc.integer({ min: 0, max: size }), fc.constantFrom(0, 1, MiB - 1, MiB, MiB + 1, 2 * MiB, size - 1, size));
      await fc.assert(
        fc.asyncProperty(point, point, async (a, b) => {
          const [start, end] = [Math.min(a, b), Math.max(a, b)];
          expect((await get(store, name, size, start, end)).equals(bytes.subarray(start, end))).toBe(true);
        }),
        { numRuns: 40 },
      );
      await expect(get(store, name, size, 0, size + 1)).rejects.toThrow(RangeError);
      await expect(get(store, name, size, 5, 4)).rejects.toThrow(RangeError);
    });

    test("one reader serves several reads at once", async () => {
      const bytes = random.subarray(0, 4 * MiB);
      const reader = await store.open(await put(store, bytes), bytes.length);
      const reads = [0, 1, 2, 3].map(async (index) => {
        const hash = crypto.createHash("sha256");
        await reader.read(index * MiB, 4 * MiB, async (chunk) => {
          await setImmediate();
          hash.update(chunk);
        });
        return hash.digest("hex");
      });
      expect(await Promise.all(reads)).toEqual([0, 1, 2, 3].map((index) => sha256(bytes.subarray(index * MiB))));
      await reader.close();
    });

    test("an aborted write leaves nothing, at whatever size it stops", async () => {
      const before = await names(store);
      for (const size of [0, 10, 64 * KiB, 2 * MiB, 17 * MiB]) {
        const writer = await store.create("default");
        for (let at = 0; at < size; at += MiB) await writer.write(Buffer.from(random.subarray(at, Math.min(size, at + MiB))));
        await writer.abort();
        await writer.abort();
        await expect(writer.write(Buffer.from("x"))).rejects.toThrow();
        await expect(writer.commit(sha256(random))).rejects.toThrow();
      }
      expect(await names(store)).toEqual(before);
      expect(await store.sweep(0)).toBe(0);
    });

    test("abort after commit harms nothing", async () => {
      const bytes = random.subarray(0, 100);
      const writer = await store.create("default");
      await writer.write(Buffer.from(bytes));
      const name = await writer.commit(sha256(bytes));
      await writer.abort();
      await expect(writer.commit(sha256(bytes))).rejects.toThrow();
      expect((await get(store, name, 100)).equals(bytes)).toBe(true);
    });

    test("writers of the same bytes at the same time get different names", async () => {
      const bytes = random.subarray(0, 200 * KiB);
      const written = await Promise.all(Array.from({ length: 8 }, () => put(store, bytes)));
      expect(new Set(written).size).toBe(8);
      await store.remove(written[0]!);
      for (const name of written.slice(1)) expect((await get(store, name, bytes.length)).equals(bytes)).toBe(true);
    });

    test("many large writes at once all come back right", async () => {
      const bodies = Array.from({ length: 6 }, (_, index) => random.subarray(index * MiB, index * MiB + 11 * MiB));
      const written = await Promise.all(bodies.map((bytes) => put(store, bytes, [MiB, 300 * KiB])));
      for (const [index, bytes] of bodies.entries()) expect(sha256(await get(store, written[index]!, bytes.length))).toBe(sha256(bytes));
    });

    test("a removed blob is missing, and removing it again is no error", async () => {
      const name = await put(store, random.subarray(0, 1000));
      await store.remove(name);
      await store.remove(name);
      await expect(store.open(name, 1000)).rejects.toThrow(MissingBlob);
    });

    test("a blob shorter than the index says is refused before the first byte", async () => {
      const name = await put(store, random.subarray(0, 1000));
      await expect(store.open(name, 1001)).rejects.toThrow(TruncatedBlob);
    });

    test("names no store gives name nothing", async () => {
      for (const name of ["", "..", "../../etc/passwd", "default/../../x", "/etc/passwd", "default", "default/", "DEFAULT/x", "a\0b"]) {
        await expect(store.open(name, 0)).rejects.toThrow(MissingBlob);
        await store.remove(name);
      }
      for (const cache of ["", "..", "Upper", "a/b", ".hidden"]) await expect(store.create(cache)).rejects.toThrow();
    });

    test("the list holds every committed blob of every cache and no unfinished one", async () => {
      const mine = await Promise.all(["default", "tmp", "b-2"].map((cache) => put(store, random.subarray(0, 5000), [777], cache)));
      const unfinished = await store.create("default");
      await unfinished.write(Buffer.from(random.subarray(0, 9 * MiB)));
      const listed = new Map<string, { size: number; modified: number }>();
      for await (const blob of store.list()) listed.set(blob.name, blob);
      for (const name of mine) {
        expect(listed.get(name)?.size).toBe(5000);
        expect(Math.abs(listed.get(name)!.modified - Date.now())).toBeLessThan(600_000);
      }
      const count = listed.size;
      await unfinished.abort();
      expect((await names(store)).length).toBe(count);
    });

    test("a sweep leaves blobs and this process's own writes alone", async () => {
      const bytes = Buffer.from(random.subarray(0, 9 * MiB));
      const name = await put(store, bytes);
      const writer = await store.create("default");
      await writer.write(Buffer.from(bytes));
      await store.sweep(0);
      const second = await writer.commit(sha256(bytes));
      expect(sha256(await get(store, name, bytes.length))).toBe(sha256(bytes));
      expect(sha256(await get(store, second, bytes.length))).toBe(sha256(bytes));
    });

    test("a blob removed while it is read is read to its end or fails cleanly", async () => {
      const bytes = random.subarray(0, 12 * MiB);
      const name = await put(store, bytes);
      const reader = await store.open(name, bytes.length);
      const hash = crypto.createHash("sha256");
      let removed: Promise<void> | undefined;
      const read = reader.read(0, bytes.length, async (chunk) => {
        hash.update(chunk);
        await (removed ??= store.remove(name));
      });
      await read.then(
        () => expect(hash.digest("hex")).toBe(sha256(bytes)),
        (error: unknown) => expect(error).toBeInstanceOf(Error),
      );
      await reader.close();
      await expect(store.open(name, bytes.length)).rejects.toThrow(MissingBlob);
    });

    test("a rejected push stops the read with its error, and nothing stays open", async () => {
      const bytes = random.subarray(0, 9 * MiB);
      const name = await put(store, bytes);
      await get(store, name, bytes.length);
      const before = await subject.resources?.();
      let pushes = 0;
      for (let round = 0; round < 10; round++) {
        const reader = await store.open(name, bytes.length);
        const failure = new Error("the client left");
        await expect(reader.read(0, bytes.length, () => (pushes++, Promise.reject(failure)))).rejects.toBe(failure);
        await reader.close();
        await reader.close();
      }
      expect(pushes).toBe(10);
      expect(await subject.resources?.()).toBe(before);
    });

    test("closing a reader during a read lets the read finish", async () => {
      const bytes = random.subarray(0, 5 * MiB);
      const reader = await store.open(await put(store, bytes), bytes.length);
      const hash = crypto.createHash("sha256");
      const read = reader.read(0, bytes.length, (chunk) => void hash.update(chunk));
      await reader.close();
      await read;
      expect(hash.digest("hex")).toBe(sha256(bytes));
      await expect(reader.read(0, 1, () => undefined)).rejects.toThrow();
    });
  });
}
