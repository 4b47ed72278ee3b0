import { describe, expect, test } from "vitest";
import { audit, commit, expectSound, inline, named, newCache, part, put, read, reserve, stored, textOf, type Subject } from "./subject.ts";

export function blobs(get: () => Subject): void {
  describe("blobs", () => {
    const db = () => get().database;
    const remove = (id: number, now: number) => db().write("removeEntries", { ids: [id], now, audit: audit("remove") });
    const blobsOf = async (cache: string) => {
      const rows = [];
      for (let after = 0; ; ) {
        const page = await db().scan("listBlobs", { after, limit: 500 });
        if (page.length === 0) return rows;
        rows.push(...page.filter((row) => row.cache === cache));
        after = page.at(-1)!.id;
      }
    };

    test("the same bytes are kept once in a cache, and once more in another", async () => {
      const [one, two] = [newCache(), newCache()];
      const first = stored("same");
      const second = stored("same");
      expect((await put(db(), named(one, "a"), first)).unused).toEqual([]);
      // The second file is not needed: the caller is told to delete it.
      expect((await put(db(), named(one, "b"), second)).unused).toEqual([{ store: "disk", name: second.name }]);
      expect((await put(db(), named(two, "a"), stored("same"))).unused).toEqual([]);
      expect(await blobsOf(one)).toMatchObject([{ name: first.name, refs: 2, size: 4, store: "disk" }]);
      expect(await blobsOf(two)).toHaveLength(1);
      await expectSound(get());
    });

    test("a refused write leaves its file to the caller", async () => {
      const cache = newCache();
      await put(db(), named(cache), stored("old"));
      const late = stored("new");
      expect(await put(db(), named(cache), late)).toMatchObject({ status: "exists", unused: [{ store: "disk", name: late.name }] });
      expect(await blobsOf(cache)).toHaveLength(1);
    });

    test("bytes outlive their last reference for the grace, and are then deleted row first", async () => {
      const cache = newCache();
      const file = stored("on disk");
      const a = (await put(db(), named(cache, "a"), file)).entry;
      const b = (await put(db(), named(cache, "b"), inline("in the database"))).entry;
      await remove(a.id, 5_000);
      await remove(b.id, 5_000);
      await db().write("collectBlobs", { before: 5_000 });
      expect(await blobsOf(cache)).toHaveLength(2);
      expect((await db().scan("orphanedBytes", {})).find((row) => row.store === "disk")!.bytes).toBeGreaterThanOrEqual(7);
      const { rows, files } = await db().write("collectBlobs", { before: 5_001 });
      expect(rows).toBeGreaterThanOrEqual(2);
      expect(files).toContainEqual({ store: "disk", name: file.name });
      expect(await blobsOf(cache)).toEqual([]);
      expect(await db().read("blobBytes", { blob: b.blob!.id })).toBeUndefined();
      await expectSound(get());
    });

    test("an orphan that is written again lives on with its first file", async () => {
      const cache = newCache();
      const first = stored("again");
      await remove((await put(db(), named(cache, "a"), first)).entry.id, 5_000);
      await put(db(), named(cache, "b"), stored("again"));
      await db().write("collectBlobs", { before: 9_000 });
      expect(await blobsOf(cache)).toMatchObject([{ name: first.name, refs: 1 }]);
      await expectSound(get());
    });

    test("a body that became small enough for the database keeps its file", async () => {
      const cache = newCache();
      await put(db(), named(cache, "a"), stored("both"));
      const { entry } = await put(db(), named(cache, "b"), inline("both"));
      expect(entry.blob!.store).toBe("disk");
      const other = newCache();
      await put(db(), named(other, "a"), inline("both"));
      const late = stored("both");
      const put2 = await put(db(), named(other, "b"), late);
      expect(put2).toMatchObject({ entry: { blob: { store: null } }, unused: [{ name: late.name }] });
      await expectSound(get());
    });

    test("known files are told from strangers, storage by storage", async () => {
      const file = stored("known");
      await put(db(), named(newCache()), file);
      expect(await db().scan("knownFiles", { store: "disk", names: ["nobody's", file.name!] })).toEqual([file.name]);
      expect(await db().scan("knownFiles", { store: "other", names: [file.name!] })).toEqual([]);
    });

    test("a blob moves between database and storage, once", async () => {
      const cache = newCache();
      const { blob, id } = (await put(db(), named(cache), inline("move me"))).entry;
      expect(await db().write("moveBlob", { blob: blob!.id, from: null, store: "disk", name: "file", bytes: null })).toBe(true);
      expect((await db().read("entryById", { id }))!.blob).toMatchObject({ store: "disk", name: "file" });
      expect(await db().read("blobBytes", { blob: blob!.id })).toBeUndefined();
      expect(await db().write("moveBlob", { blob: blob!.id, from: null, store: "disk", name: "late", bytes: null })).toBe(false);
      expect(await db().write("moveBlob", { blob: blob!.id, from: "disk", store: null, name: null, bytes: Buffer.from("move me") })).toBe(true);
      expect(await textOf(db(), (await read(db(), named(cache)))!)).toBe("move me");
      expect(await db().write("moveBlob", { blob: -1, from: null, store: "disk", name: "x", bytes: null })).toBe(false);
      await expectSound(get());
    });

    test("a body in parts is joined once, and its parts are given back", async () => {
      const cache = newCache();
      const upload = await reserve(db(), named(cache));
      await part(db(), upload, "1", 0, inline("one "));
      await part(db(), upload, "2", 1, inline("two"));
      const done = await commit(db(), upload);
      if (done.status !== "created") throw new Error(done.status);
      const parted = await db().scan("partedEntries", { cache, except: "archive", minSize: 7, before: 5_000, limit: 10 });
      expect(parted.map((entry) => entry.id)).toEqual([done.entry.id]);
      expect(await db().scan("partedEntries", { cache, except: "archive", minSize: 8, before: 5_000, limit: 10 })).toEqual([]);
      const whole = inline("one two");
      expect(await db().write("joinParts", { id: done.entry.id, blob: whole, now: 3_000 })).toEqual({ joined: true, unused: [] });
      const late = stored("one two");
      expect(await db().write("joinParts", { id: done.entry.id, blob: late, now: 3_000 })).toEqual({ joined: false, unused: [{ store: "disk", name: late.name }] });
      const entry = (await read(db(), named(cache)))!;
      expect(entry).toMatchObject({ digest: whole.digest, blob: { digest: whole.digest } });
      expect(await textOf(db(), entry)).toBe("one two");
      await expectSound(get());
    });

    test("a lost blob takes everything that needs it away, and the next write of its bytes brings a new file", async () => {
      const cache = newCache();
      const lost = stored("lost bytes");
      await put(db(), named(cache, "whole"), lost);
      const other = await reserve(db(), named(cache, "parted"));
      await part(db(), other, "1", 0, stored("fine bytes"));
      await part(db(), other, "2", 1, stored("lost bytes"));
      await commit(db(), other);
      const open = await reserve(db(), named(cache, "open"));
      await part(db(), open, "1", 0, stored("lost bytes"));
      await put(db(), named(cache, "other"), stored("other bytes"));
      const { id } = (await blobsOf(cache)).find((row) => row.digest === lost.digest)!;

      const { entries, files, done } = await db().write("loseBlob", { blob: id, now: 2_000, audit: audit("repair") });
      expect(entries.map((entry) => entry.key).toSorted()).toEqual(["parted", "whole"]);
      expect(files).toEqual([{ store: "disk", name: lost.name }]);
      expect(done).toBe(true);
      expect(await db().read("uploadParts", { id: open.id })).toEqual([]);
      expect(await db().read("entriesOfBlob", { blob: id })).toEqual([]);
      await expectSound(get());

      const again = stored("lost bytes");
      expect(await put(db(), named(cache, "whole"), again)).toMatchObject({ status: "created", unused: [], entry: { blob: { name: again.name } } });
      expect(await read(db(), named(cache, "other"))).toBeDefined();
      expect(await db().write("loseBlob", { blob: id, now: 2_000, audit: audit("repair") })).toEqual({ entries: [], files: [], done: true });
      await expectSound(get());
    });
  });
}
