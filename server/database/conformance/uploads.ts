import { describe, expect, test } from "vitest";
import { audit, commit, expectSound, inline, named, newCache, newUpload, part, put, read, reserve, stored, textOf, type Subject } from "./subject.ts";

export function uploads(get: () => Subject): void {
  describe("uploads", () => {
    const db = () => get().database;
    const pending = async (cache: string) => (await db().read("usage", { cache })).filter((row) => row.keyspace === "uploads" && (row.entries !== 0 || row.bytes !== 0));

    test("a reservation is found by its id, its number and its name", async () => {
      const name = named(newCache());
      const upload = await reserve(db(), name, { metadata: "{}", trusted: false });
      expect(await db().read("getUpload", { id: upload.id })).toEqual(upload);
      expect(await db().read("uploadByNumber", { number: upload.number })).toEqual(upload);
      expect(await db().read("findUpload", name)).toEqual(upload);
      expect(await db().read("getUpload", { id: "nobody" })).toBeUndefined();
      expect(await db().read("findUpload", { ...name, scope: "local:other" })).toBeUndefined();
    });

    test("a name is reserved once, until the reservation has expired", async () => {
      const name = named(newCache());
      const first = await reserve(db(), name, { expires: 2_000 });
      await part(db(), first, "1", 0, inline("first"), 1_000);
      const again = (now: number) => db().write("reserveUpload", { upload: newUpload(name, { created: now, expires: now + 1_000 }), now, overwrite: false });
      expect((await again(1_999)).status).toBe("exists");
      const second = await again(2_000);
      expect(second.status).toBe("reserved");
      expect(await db().read("getUpload", { id: first.id })).toBeUndefined();
      expect((await part(db(), first, "2", 1, inline("late"), 2_000)).status).toBe("gone");
      expect((await commit(db(), first, { now: 2_000 })).status).toBe("gone");
      expect(await pending(name.cache)).toEqual([]);
      await expectSound(get());
    });

    test("a name with an entry can't be reserved, unless it may be overwritten or its time is over", async () => {
      const name = named(newCache());
      await put(db(), name, inline("there"), { expires: 1_500 });
      const reserved = async (now: number, overwrite: boolean) => {
        const { status, ...rest } = await db().write("reserveUpload", { upload: newUpload(name), now, overwrite });
        if ("upload" in rest) await db().write("abortUpload", { id: rest.upload.id, now });
        return status;
      };
      expect(await reserved(1_000, false)).toBe("exists");
      expect(await reserved(1_000, true)).toBe("reserved");
      expect(await reserved(1_500, false)).toBe("reserved");
    });

    test("parts arrive in any order and are listed by position", async () => {
      const upload = await reserve(db(), named(newCache()));
      await part(db(), upload, "c", 20, inline("3"));
      await part(db(), upload, "a", 0, inline("1"));
      await part(db(), upload, "b", 10, inline("2"));
      expect(await db().read("uploadParts", { id: upload.id })).toEqual([{ name: "a", position: 0, size: 1 }, { name: "b", position: 10, size: 1 }, { name: "c", position: 20, size: 1 }]);
      const done = await commit(db(), upload);
      if (done.status !== "created") throw new Error(done.status);
      expect(done.entry).toMatchObject({ size: 3, digest: null, blob: null });
      expect(await textOf(db(), done.entry)).toBe("123");
      expect(await read(db(), named(done.entry.cache))).toEqual(done.entry);
      await expectSound(get());
    });

    test("a part with the same name replaces the one before", async () => {
      const upload = await reserve(db(), named(newCache()));
      await part(db(), upload, "a", 0, inline("first version"));
      await part(db(), upload, "a", 0, inline("second"));
      expect(await pending(upload.cache)).toMatchObject([{ entries: 1, bytes: 6 }]);
      const done = await commit(db(), upload);
      if (done.status !== "created") throw new Error(done.status);
      // One part is one blob: its digest is the body's.
      expect(done.entry).toMatchObject({ digest: inline("second").digest, blob: { digest: inline("second").digest } });
      await expectSound(get());
    });

    test("a commit takes the listed parts in their order and drops the others", async () => {
      const upload = await reserve(db(), named(newCache()));
      for (const [i, text] of ["a", "b", "c"].entries()) await part(db(), upload, text, i, inline(text));
      const done = await commit(db(), upload, { parts: ["c", "a", "c"], size: 3 });
      if (done.status !== "created") throw new Error(done.status);
      expect(await textOf(db(), done.entry)).toBe("cac");
      expect(await pending(upload.cache)).toEqual([]);
      await expectSound(get());
    });

    test("a commit without parts is an empty entry", async () => {
      const upload = await reserve(db(), named(newCache()));
      const done = await commit(db(), upload, { parts: [], size: 0 });
      expect(done).toMatchObject({ status: "created", entry: { size: 0, blob: null } });
      await expectSound(get());
    });

    test("a wrong commit changes nothing: a missing part, a wrong size, too large", async () => {
      const upload = await reserve(db(), named(newCache()));
      await part(db(), upload, "a", 0, inline("four"));
      expect(await commit(db(), upload, { parts: ["a", "z"] })).toEqual({ status: "missing", part: "z" });
      expect(await commit(db(), upload, { size: 5 })).toEqual({ status: "size", size: 4 });
      expect(await commit(db(), upload, { maxSize: 3 })).toEqual({ status: "large", size: 4 });
      expect(await pending(upload.cache)).toMatchObject([{ entries: 1, bytes: 4 }]);
      expect((await commit(db(), upload, { size: 4 })).status).toBe("created");
      expect((await commit(db(), upload, { size: 4 })).status).toBe("gone");
      await expectSound(get());
    });

    test("an expired upload takes no part and no commit", async () => {
      const upload = await reserve(db(), named(newCache()), { expires: 2_000 });
      await part(db(), upload, "a", 0, inline("x"), 1_500);
      expect((await db().read("getUpload", { id: upload.id }))!.expires).toBe(2_500);
      const late = stored("late");
      expect(await part(db(), upload, "b", 1, late, 2_500)).toEqual({ status: "gone", unused: [{ store: "disk", name: late.name }] });
      expect((await commit(db(), upload, { now: 2_500 })).status).toBe("gone");
      expect((await db().scan("expiredUploads", { now: 2_499 })).some((one) => one.id === upload.id)).toBe(false);
      expect((await db().scan("expiredUploads", { now: 2_500 })).some((one) => one.id === upload.id)).toBe(true);
      expect(await db().write("abortUpload", { id: upload.id, now: 3_000 })).toBe(true);
      expect(await db().write("abortUpload", { id: upload.id, now: 3_000 })).toBe(false);
      await expectSound(get());
    });

    test("an upload has a bounded number of parts", async () => {
      const upload = await reserve(db(), named(newCache()));
      const add = (name: string) => db().write("addPart", { id: upload.id, name, position: 0, blob: inline(name), now: 1_000, expires: 2_000, maxParts: 2 });
      expect([(await add("a")).status, (await add("b")).status, (await add("c")).status]).toEqual(["stored", "stored", "full"]);
      expect((await add("b")).status).toBe("stored");
      expect(await db().read("uploadParts", { id: upload.id })).toHaveLength(2);
      await expectSound(get());
    });

    test("a name that was written meanwhile ends the upload", async () => {
      const name = named(newCache());
      const upload = await reserve(db(), name);
      await part(db(), upload, "a", 0, inline("mine"));
      await put(db(), name, inline("theirs"));
      expect((await commit(db(), upload)).status).toBe("exists");
      expect(await textOf(db(), (await read(db(), name))!)).toBe("theirs");
      expect(await db().read("getUpload", { id: upload.id })).toBeUndefined();
      await expectSound(get());
    });

    test("a commit that may overwrite replaces", async () => {
      const name = named(newCache());
      const upload = await reserve(db(), name);
      await part(db(), upload, "a", 0, inline("mine"));
      await part(db(), upload, "b", 1, inline(" too"));
      await put(db(), name, inline("theirs"));
      expect((await commit(db(), upload, { overwrite: true })).status).toBe("replaced");
      expect(await textOf(db(), (await read(db(), name))!)).toBe("mine too");
      await expectSound(get());
    });

    test("a verified body is named by its digest, and holds the very blobs that were read", async () => {
      const cache = newCache();
      const upload = await reserve(db(), named(cache, "one"));
      for (const [i, text] of ["left", "right"].entries()) await part(db(), upload, text, i, inline(text));
      const sent = await db().read("uploadBlobs", { id: upload.id });
      expect(sent).toMatchObject([{ name: "left", blob: { size: 4 } }, { name: "right", blob: { size: 5 } }]);
      const verified = { keyspace: "cas", scope: "*", digest: "d".repeat(64), blobs: sent.map((one) => one.blob.id) };
      await part(db(), upload, "right", 1, inline("wrong"));
      expect((await commit(db(), upload, { verified })).status).toBe("missing");
      await part(db(), upload, "right", 1, inline("right"));
      await part(db(), upload, "late", 2, inline("late"));
      expect((await commit(db(), upload, { verified })).status).toBe("missing");
      const done = await commit(db(), upload, { verified, parts: ["left", "right"] });
      if (done.status !== "created") throw new Error(done.status);
      expect(done.entry).toMatchObject({ keyspace: "cas", scope: "*", key: "d".repeat(64), digest: "d".repeat(64), size: 9, blob: null });
      expect(await textOf(db(), done.entry)).toBe("leftright");
      const again = await reserve(db(), named(cache, "two"));
      await part(db(), again, "left", 0, inline("left"));
      expect((await commit(db(), again, { verified: { ...verified, blobs: verified.blobs.slice(0, 1) } })).status).toBe("exists");
      expect(await db().read("getUpload", { id: again.id })).toBeUndefined();
      expect(await pending(cache)).toEqual([]);
      await expectSound(get());
    });

    test("arranging names parts by place and drops the others", async () => {
      const upload = await reserve(db(), named(newCache()));
      for (const [i, text] of ["u1", "u2", "c1", "u3"].entries()) await part(db(), upload, text, i, inline(text));
      const arrange = (places: { from: string[]; to: string }[]) => db().write("arrangeParts", { id: upload.id, places, now: 1_000, expires: 2_000 });
      expect(await arrange([{ from: ["nobody"], to: "x" }])).toEqual({ status: "missing", part: "x" });
      expect(await arrange([{ from: ["u2"], to: "p0" }, { from: ["nobody", "c1"], to: "p1" }])).toEqual({ status: "arranged" });
      expect((await db().read("uploadParts", { id: upload.id })).map((one) => one.name)).toEqual(["p0", "p1"]);
      await expectSound(get());
      expect(await arrange([{ from: ["p1"], to: "p0" }, { from: ["p0"], to: "p1" }])).toEqual({ status: "arranged" });
      const done = await commit(db(), upload);
      if (done.status !== "created") throw new Error(done.status);
      expect(await textOf(db(), done.entry)).toBe("c1u2");
      expect(await db().write("arrangeParts", { id: upload.id, places: [], now: 1_000, expires: 2_000 })).toEqual({ status: "gone" });
      await expectSound(get());
    });

    test("open uploads of an actor are counted while they live", async () => {
      const actor = `key:${newCache()}`;
      const cache = newCache();
      await reserve(db(), named(cache, "a"), { actor, expires: 2_000 });
      const second = await reserve(db(), named(cache, "b"), { actor, expires: 3_000 });
      expect(await db().read("openUploads", { actor, now: 1_999 })).toBe(2);
      expect(await db().read("openUploads", { actor, now: 2_000 })).toBe(1);
      await db().write("abortUpload", { id: second.id, now: 1 });
      expect(await db().read("openUploads", { actor, now: 2_000 })).toBe(0);
    });

    test("a commit leaves one audit line with the body's size", async () => {
      const cache = newCache();
      const upload = await reserve(db(), named(cache));
      await part(db(), upload, "a", 0, inline("12345"));
      await db().write("commitUpload", { id: upload.id, parts: null, size: null, maxSize: 10, expires: null, metadata: null, now: 1_000, overwrite: false, audit: { ...audit("commit"), cache, size: 0 } });
      expect(await db().read("queryAudit", { cache, limit: 10 })).toMatchObject([{ action: "commit", size: 5 }]);
    });
  });
}
