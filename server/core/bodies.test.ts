import { createHash } from "node:crypto";
import { truncateSync, unlinkSync, writeFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, onTestFinished, test } from "vitest";
import { bytesOf, CAS, FIXED, grant, LOOSE, putText, startCore, testCache, textOf, type TestCore, type TestOptions } from "../../test/fixtures/core.ts";
import type { Database } from "../database/database.ts";
import type { BlobStore } from "../storage/store.ts";
import type { Entry } from "./entry.ts";

const main = grant("local:main");
const pull = grant("1:refs/pull/7/merge", { read: ["1:refs/pull/7/merge", "local:main"], trusted: false });
const reader = grant("local:main", { write: null, trusted: false, actor: "key:reader" });

async function core(options: TestOptions = {}): Promise<TestCore> {
  const started = await startCore(options);
  onTestFinished(() => started.remove());
  return started;
}

const sha256 = (bytes: Buffer | string) => createHash("sha256").update(bytes).digest("hex");
const pattern = (size: number) => Buffer.from(Array.from({ length: size }, (_, i) => (i * 7) % 256));

async function* chunks(...sizes: number[]): AsyncGenerator<Buffer> {
  for (const size of sizes) yield pattern(size);
}

/** Nothing in the database, nothing on the disk, nothing counted. */
async function expectEmpty(on: TestCore): Promise<void> {
  expect(await on.files()).toEqual([]);
  expect(await on.database.scan("listBlobs", { after: 0, limit: 10 })).toEqual([]);
  expect(await on.database.scan("listEntries", { cache: "default", limit: 10 })).toEqual([]);
  expect((await on.database.read("usage", {})).filter((row) => row.bytes !== 0 || row.entries !== 0)).toEqual([]);
  expect(await on.quota.usage("default", true)).toEqual({ trusted: 0, untrusted: 0 });
}

describe("storing a body", () => {
  test.each([0, 1, 99, 100, 101, 65_536, 3_000_000])("%i bytes come back as they were sent, the small ones from the database", async (size) => {
    const on = await core();
    const bytes = pattern(size);
    const { entry } = await on.bodies.put(main, FIXED, "k", chunks(...(size > 150 ? [50, size - 150, 100] : [size])));
    const sent = size > 150 ? Buffer.concat([pattern(50), pattern(size - 150), pattern(100)]) : bytes;
    expect(entry).toMatchObject({ size, digest: sha256(sent) });
    expect(await on.files()).toHaveLength(size > 100 ? 1 : 0);
    expect((await bytesOf(await on.bodies.open(entry))).equals(sent)).toBe(true);
    expect((await on.bodies.bytes(entry)).equals(sent)).toBe(true);
    // As after a restart, when RAM holds nothing.
    const again = await on.restart();
    onTestFinished(() => again.close());
    const { entry: found } = await again.catalog.get(main, FIXED, "k");
    expect((await again.bodies.bytes(found!)).equals(sent)).toBe(true);
  });

  test("a small slice does not carry the buffer it was cut from", async () => {
    const on = await core();
    const write = on.database.write.bind(on.database);
    let sent = 0;
    (on.database as { write: unknown }).write = (name: "putEntry", args: { blob: { bytes: Uint8Array } }) => {
      sent = args.blob.bytes.buffer.byteLength;
      return write(name, args as never);
    };
    const socket = Buffer.alloc(65_536, 1);
    await on.bodies.put(main, FIXED, "k", socket.subarray(10, 20));
    expect(sent).toBe(10);
  });

  const failing = [
    ["fewer bytes than announced", { size: 500 }, () => chunks(300), "STOW_DIGEST_MISMATCH"],
    ["more bytes than announced", { size: 500 }, () => chunks(300, 300), "STOW_DIGEST_MISMATCH"],
    ["another digest than announced", { digest: "0".repeat(64) }, () => chunks(300), "STOW_DIGEST_MISMATCH"],
    ["another digest, of a small body", { digest: "0".repeat(64) }, () => chunks(30), "STOW_DIGEST_MISMATCH"],
    ["an announced size above the limit", { size: 1_001 }, () => chunks(1_001), "STOW_TOO_LARGE"],
    ["a body above the limit", {}, () => chunks(500, 500, 500), "STOW_TOO_LARGE"],
    ["a client that leaves in the middle", {}, async function* () { yield pattern(300); throw new Error("connection reset"); }, "STOW_CLIENT_GONE"],
    ["a client that leaves at once", {}, async function* (): AsyncGenerator<Buffer> { throw new Error("connection reset"); }, "STOW_CLIENT_GONE"],
  ] as const;
  test.each(failing)("%s is refused and leaves nothing behind", async (_, options, source, code) => {
    const on = await core({ caches: [testCache({ entrySize: 1_000 })] });
    await expect(on.bodies.put(main, FIXED, "k", source(), options)).rejects.toMatchObject({ code });
    await expectEmpty(on);
  });

  test("what a grant may not write is refused before a byte is read", async () => {
    const on = await core();
    let read = false;
    const source = async function* () {
      read = true;
      yield pattern(10);
    };
    await expect(on.bodies.put(reader, FIXED, "k", source())).rejects.toMatchObject({ code: "STOW_FORBIDDEN_WRITE" });
    await expect(on.bodies.put(main, CAS, "no digest", source())).rejects.toMatchObject({ status: 400 });
    await expect(on.bodies.put({ ...main, cache: "unknown" }, FIXED, "k", source())).rejects.toMatchObject({ code: "STOW_NO_CACHE" });
    await expect(on.bodies.put(main, FIXED, "k", source(), { size: 2e9 })).rejects.toMatchObject({ code: "STOW_TOO_LARGE" });
    expect(read).toBe(false);
  });

  test("a name that is taken keeps its entry; its second file is deleted at once", async () => {
    const on = await core();
    await on.bodies.put(main, FIXED, "k", pattern(300));
    await expect(on.bodies.put(main, FIXED, "k", pattern(400))).rejects.toMatchObject({ code: "STOW_EXISTS", status: 409 });
    expect(await on.files()).toHaveLength(1);
    const replaced = await on.bodies.put(main, FIXED, "k", pattern(400), { overwrite: true });
    expect(replaced).toMatchObject({ replaced: true, entry: { size: 400 } });
    // The old bytes outlive their entry for who is reading them.
    expect(await on.files()).toHaveLength(2);
    expect(await on.maintenance.collect(-1)).toBe(1);
    expect(await on.files()).toHaveLength(1);
  });

  test("metadata is asked for when the body is there", async () => {
    const on = await core();
    let seen = 0;
    const source = async function* () {
      seen++;
      yield pattern(10);
      seen++;
    };
    const { entry } = await on.bodies.put(main, FIXED, "k", source(), { metadata: () => `{"seen":${seen}}` });
    expect(entry.metadata).toBe('{"seen":2}');
  });

  test("every write leaves a line and a row in the audit log", async () => {
    const on = await core();
    await on.bodies.put(main, FIXED, "k", pattern(10), { address: "10.0.0.1" });
    const line = { action: "put", actor: "key:local:main", cache: "default", keyspace: "fixed", scope: "local:main", key: "k", size: 10, result: "ok", address: "10.0.0.1" };
    expect(on.audited).toMatchObject([line]);
    expect(await on.database.read("queryAudit", { limit: 5 })).toMatchObject([line]);
  });
});

describe("content-addressed bodies", () => {
  const text = "content";
  const key = sha256(text);
  const trusted = async (on: TestCore) => {
    await on.journal.flush();
    return (await on.database.read("getEntry", { cache: "default", keyspace: "cas", scope: "*", key, version: "" }))!.trusted;
  };

  test("must be what their name says", async () => {
    const on = await core();
    await expect(putText(on, main, CAS, key, "something else")).rejects.toMatchObject({ code: "STOW_DIGEST_MISMATCH" });
    await expectEmpty(on);
    await putText(on, main, CAS, key, text);
    expect((await on.bodies.put(main, CAS, key, Buffer.from(text))).replaced).toBe(false);
  });

  test("can't be sent in parts, whose digest nobody has checked", async () => {
    const on = await core();
    await expect(on.uploads.reserve(main, CAS, key, "")).rejects.toMatchObject({ code: "STOW_BAD_REQUEST" });
  });

  test("become trusted when a trusted scope writes or reads them", async () => {
    for (const use of ["write", "read"] as const) {
      const on = await core();
      await putText(on, pull, CAS, key, text);
      expect(await trusted(on)).toBe(false);
      if (use === "write") await putText(on, main, CAS, key, text);
      else on.catalog.touch((await on.catalog.get(main, CAS, key)).entry!, main);
      expect(await trusted(on)).toBe(true);
      expect(await on.quota.usage("default", true)).toEqual({ trusted: text.length, untrusted: 0 });
    }
  });

  test("do not when an untrusted scope or a read-only key uses them, nor do mapped ones ever", async () => {
    const on = await core();
    await putText(on, pull, CAS, key, text);
    await putText(on, pull, CAS, key, text);
    for (const by of [pull, reader, grant("x:y", { write: null, trusted: true })]) on.catalog.touch((await on.catalog.get(by, CAS, key)).entry!, by);
    expect(await trusted(on)).toBe(false);
    const mapped = await putText(on, pull, FIXED, "k", "x");
    on.catalog.touch(mapped, main);
    await on.journal.flush();
    expect((await on.database.read("entryById", { id: mapped.id }))!.trusted).toBe(false);
  });
});

describe("reading a body", () => {
  test("in parts: any range across any borders", { timeout: 60_000 }, async () => {
    const on = await core();
    let serial = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(fc.constantFrom(0, 1, 7, 99, 100, 101, 250), { minLength: 1, maxLength: 8 }), fc.array(fc.tuple(fc.nat(1_000), fc.nat(1_000)), { maxLength: 6 }), async (sizes, ranges) => {
        const parts = sizes.map((size, i) => pattern(size + 7 * i).subarray(7 * i));
        const whole = Buffer.concat(parts);
        const upload = await on.uploads.reserve(main, FIXED, `k${++serial}`, "");
        for (const [i, part] of parts.entries()) await on.uploads.part(upload, `p${i}`, i, part);
        const entry = await on.uploads.commit(main, FIXED, upload, { parts: null, size: whole.length });
        const body = await on.bodies.open(entry);
        // One reader for all of them, forwards and backwards.
        for (const [a, b] of [[0, whole.length] as const, ...ranges]) {
          const [start, end] = [Math.min(a, b, whole.length), Math.min(Math.max(a, b), whole.length)];
          const got: Buffer[] = [];
          await body.read(start, end, (chunk) => void got.push(Buffer.from(chunk)));
          expect(Buffer.concat(got).equals(whole.subarray(start, end))).toBe(true);
        }
        await body.close();
        expect((await on.bodies.bytes(entry)).equals(whole)).toBe(true);
      }),
      { numRuns: 40 },
    );
  });

  const losses: [string, number, (on: TestCore) => Promise<void>][] = [
    ["its file is deleted", 500, async (on) => unlinkSync((await on.files())[0]!)],
    ["its file is cut short", 500, async (on) => truncateSync((await on.files())[0]!, 499)],
    ["its row of bytes is gone", 50, async (on) => {
      const [blob] = await on.database.scan("listBlobs", { after: 0, limit: 1 });
      await on.database.write("moveBlob", { blob: blob!.id, from: null, store: "disk", name: "nowhere", bytes: null });
    }],
    ["its row of bytes is too short", 50, async (on) => {
      const [blob] = await on.database.scan("listBlobs", { after: 0, limit: 1 });
      await on.database.write("moveBlob", { blob: blob!.id, from: null, store: "disk", name: "nowhere", bytes: null });
      await on.database.write("moveBlob", { blob: blob!.id, from: "disk", store: null, name: null, bytes: Buffer.from("short") });
    }],
  ];
  test.each(losses)("is a miss when %s, for every entry with these bytes, until they are stored again", async (_, size, lose) => {
    const on = await core({ bodyMemory: 0 });
    const bytes = pattern(size);
    await on.bodies.put(main, LOOSE, "one", bytes);
    await on.bodies.put(pull, LOOSE, "two", bytes);
    await lose(on);
    const { entry } = await on.catalog.get(main, LOOSE, "one");
    await expect((async () => on.bodies.bytes(entry!))()).rejects.toMatchObject({ code: "STOW_NOT_FOUND" });
    expect((await on.catalog.get(main, LOOSE, "one")).entry).toBeUndefined();
    expect((await on.catalog.get(pull, LOOSE, "two")).entry).toBeUndefined();
    expect(on.audited.some((line) => line.result === "body lost")).toBe(true);

    const again = (await on.bodies.put(main, LOOSE, "one", bytes)).entry;
    expect((await on.bodies.bytes(again)).equals(bytes)).toBe(true);
    expect(await on.files()).toHaveLength(size > 100 ? 1 : 0);
  });

  test("in parts is a miss when one part is lost, also in the middle of reading", async () => {
    const on = await core({ bodyMemory: 0 });
    const upload = await on.uploads.reserve(main, FIXED, "k", "");
    for (let i = 0; i < 3; i++) await on.uploads.part(upload, `p${i}`, i, pattern(300 + i));
    const entry = await on.uploads.commit(main, FIXED, upload, { parts: null });
    const body = await on.bodies.open(entry);
    const { blobs } = { blobs: await on.bodies.parts(entry) };
    unlinkSync((await on.files()).find((file) => file.includes(blobs[1]!.name!))!);
    await expect(bytesOf(body)).rejects.toMatchObject({ code: "STOW_NOT_FOUND" });
    expect((await on.catalog.get(main, FIXED, "k")).entry).toBeUndefined();
  });

  test("that was removed since it was looked up is a miss, never a short body", async () => {
    const on = await core();
    const upload = await on.uploads.reserve(main, FIXED, "k", "");
    for (let i = 0; i < 2; i++) await on.uploads.part(upload, `p${i}`, i, pattern(300 + i));
    const entry = await on.uploads.commit(main, FIXED, upload, { parts: null });
    await on.catalog.removeIds([entry.id], { at: 1, actor: "x", action: "remove", cache: "default", keyspace: "", scope: "", key: "", size: 0, result: "ok", address: "" });
    await expect(on.bodies.open(entry)).rejects.toMatchObject({ code: "STOW_NOT_FOUND" });
  });

  test("that was joined into one blob since it was looked up goes on", async () => {
    const on = await core();
    const upload = await on.uploads.reserve(main, FIXED, "k", "");
    await on.uploads.part(upload, "p0", 0, Buffer.from("one "));
    await on.uploads.part(upload, "p1", 1, Buffer.from("two"));
    const entry = await on.uploads.commit(main, FIXED, upload, { parts: null });
    const whole = Buffer.from("one two");
    await on.database.write("joinParts", { id: entry.id, blob: { digest: sha256(whole), size: 7, store: null, name: null, bytes: whole }, now: Date.now() });
    expect((await bytesOf(await on.bodies.open(entry))).toString()).toBe("one two");
  });

  test("from RAM is bounded in bytes, large ones never", async () => {
    const on = await core({ bodyMemory: 1_600 });
    let reads = 0;
    const read = on.database.read.bind(on.database);
    (on.database as { read: unknown }).read = (name: "blobBytes", args: never) => {
      if (name === "blobBytes") reads++;
      return read(name, args);
    };
    const entries: Entry[] = [];
    for (let i = 0; i < 40; i++) entries.push((await on.bodies.put(main, FIXED, `k${i}`, Buffer.alloc(100, i))).entry);
    const cost = async (entry: Entry, times: number) => {
      const before = reads;
      for (let i = 0; i < times; i++) await on.bodies.bytes(entry);
      return reads - before;
    };
    expect(await cost(entries[0]!, 5)).toBe(1);
    for (const entry of entries.slice(1)) await cost(entry, 1);
    // Sixteen of them fit: the first has made room.
    expect(await cost(entries[0]!, 5)).toBe(1);
    expect(await cost(entries[39]!, 5)).toBe(0);
    const small = await core({ bodyMemory: 1_000 });
    const { entry } = await small.bodies.put(main, FIXED, "k", Buffer.alloc(100, 1));
    let count = 0;
    const direct = small.database.read.bind(small.database);
    (small.database as { read: unknown }).read = (name: "blobBytes", args: never) => (count++, direct(name, args));
    for (let i = 0; i < 3; i++) await small.bodies.bytes(entry);
    expect(count).toBe(3);
  });
});

describe("when storage or database fail", () => {
  const failing = (code: object) => (store: BlobStore): BlobStore => ({
    ...store, kind: store.kind, open: store.open.bind(store), remove: store.remove.bind(store), list: store.list.bind(store), sweep: store.sweep.bind(store), capacity: store.capacity.bind(store), close: store.close.bind(store),
    create: async (cache) => {
      const writer = await store.create(cache);
      return { write: () => Promise.reject(Object.assign(new Error("failed"), code)), commit: (digest) => writer.commit(digest), abort: () => writer.abort() };
    },
  });

  test.each([[{ code: "ENOSPC" }, "STOW_DISK_FULL", 507], [{ code: "EIO" }, "STOW_WRITE_FAILURE", 503]])("a write that fails with %o leaves nothing, and says so", async (code, name, status) => {
    const on = await core({ store: failing(code) });
    await expect(on.bodies.put(main, FIXED, "k", pattern(500))).rejects.toMatchObject({ code: name, status });
    await expectEmpty(on);
    await putText(on, main, FIXED, "small", "goes on");
  });

  const refusing = (error: object) => (database: Database): Database => ({ ...database, write: (name, args) => (name === "putEntry" ? Promise.reject(Object.assign(new Error("no"), error)) : database.write(name, args)) });

  test("a row the database has refused costs its file; one that may have been written keeps it", async () => {
    const full = await core({ wrap: refusing({ errcode: 13 }) });
    await expect(full.bodies.put(main, FIXED, "k", pattern(500))).rejects.toMatchObject({ code: "STOW_DISK_FULL" });
    expect(await full.files()).toEqual([]);
    const lost = await core({ wrap: refusing({ code: "CONNECTION_CLOSED" }) });
    await expect(lost.bodies.put(main, FIXED, "k", pattern(500))).rejects.toMatchObject({ code: "STOW_WRITE_FAILURE" });
    expect(await lost.files()).toHaveLength(1);
  });

  test("a storage that can't be read just now is no loss", async () => {
    let broken = true;
    const flaky = (store: BlobStore): BlobStore => ({
      ...failing({})(store), create: store.create.bind(store), open: (name, size) => (broken ? Promise.reject(Object.assign(new Error("EIO"), { code: "EIO" })) : store.open(name, size)),
    });
    const on = await core({ store: flaky });
    await on.bodies.put(main, FIXED, "k", pattern(500));
    const { entry } = await on.catalog.get(main, FIXED, "k");
    await expect(on.bodies.open(entry!)).rejects.toMatchObject({ code: "STOW_READ_FAILURE", status: 503 });
    broken = false;
    expect((await bytesOf(await on.bodies.open(entry!))).equals(pattern(500))).toBe(true);
    expect(await textOf(on, main, FIXED, "k")).toBeDefined();
  });
});

test("a file nobody wrote is no body", async () => {
  const on = await core();
  await on.bodies.put(main, FIXED, "k", pattern(500));
  const [file] = await on.files();
  writeFileSync(file!, Buffer.alloc(500));
  // Same length, other bytes: reading can't tell; fsck --verify does.
  const report = await on.repair({ verify: true });
  expect(report.corrupt).toBe(1);
  expect((await on.catalog.get(main, FIXED, "k")).entry).toBeUndefined();
});
