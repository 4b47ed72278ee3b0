import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import type { FrameContent } from "../operations/chunks.ts";
import { audit, commit, expectSound, inline, named, newCache, reserve, stored, type Subject } from "./subject.ts";

const id = (text: string): Buffer => createHash("sha256").update(text).digest();

/** What a frame of these chunks holds. */
function content(...texts: readonly string[]): FrameContent {
  let raw = 0;
  const chunks = texts.map((text) => {
    raw += text.length;
    return { id: id(text), start: raw - text.length, length: text.length };
  });
  return { raw, chunks };
}

export function archives(get: () => Subject): void {
  describe("archives", () => {
    const db = () => get().database;
    const MAX = 100;
    const scope = "local:main";
    const archive = (cache: string, key: string, more = {}) => named(cache, key, { keyspace: "archive", ...more });
    const part = (upload: { id: string }, name: string, blob: ReturnType<typeof inline>, frame?: FrameContent) =>
      db().write("addPart", { id: upload.id, name, position: 0, blob, now: 1_000, expires: 5_000, maxParts: MAX, content: frame });
    const find = async (upload: { id: string }, texts: readonly string[], maxParts = MAX, scopes = [scope]) =>
      db().write("leaseChunks", { upload: upload.id, ids: texts.map(id), keyspace: "archive", scopes, now: 1_000, expires: 5_000, maxParts });
    const complete = (upload: { id: string }, digests: readonly string[], scopes: readonly string[] = [scope]) =>
      db().write("leaseParts", { upload: upload.id, digests, keyspace: "archive", scopes, now: 1_000, expires: 5_000, maxParts: MAX });
    const copy = (cache: string, key: string, digest: string, scopes: readonly string[] = [scope], more = {}) =>
      db().write("copyArchive", { ...archive(cache, key), digest, scopes, maxSize: 1_000, trusted: true, expires: null, now: 1_000, overwrite: false, audit: audit(), ...more });

    /** An archive of a manifest and one frame. */
    async function saved(cache: string, key: string, frame: ReturnType<typeof inline>, holds: FrameContent, more = {}) {
      const upload = await reserve(db(), archive(cache, key, more), { expires: 5_000 });
      const manifest = inline(`manifest of ${key} in ${cache}`);
      await part(upload, "manifest", manifest);
      await part(upload, frame.digest, frame, holds);
      const done = await commit(db(), upload, { parts: ["manifest", frame.digest] });
      if (done.status !== "created") throw new Error(done.status);
      return { entry: done.entry, manifest };
    }

    test("chunks are found where the latest frame has them, and their frames become parts", async () => {
      const cache = newCache();
      const [first, second] = [stored("first frame"), inline("second frame")];
      await saved(cache, "a", first, content("one", "two"));
      await saved(cache, "b", second, content("zero", "two"));
      const upload = await reserve(db(), archive(cache, "c"), { expires: 5_000 });
      const found = await find(upload, ["two", "none", "one"]);
      expect(found.status).toBe("leased");
      const places = found.status === "leased" ? found.places.map((place) => ({ id: Buffer.from(place.id).toString("hex"), digest: place.digest, start: place.start, length: place.length, raw: place.raw })) : [];
      expect(places.toSorted((a, b) => a.start - b.start)).toEqual([
        { id: id("one").toString("hex"), digest: first.digest, start: 0, length: 3, raw: 6 },
        { id: id("two").toString("hex"), digest: second.digest, start: 4, length: 3, raw: 7 },
      ]);
      expect((await db().read("uploadParts", { id: upload.id })).map(({ name }) => name).toSorted()).toEqual([first.digest, second.digest].toSorted());
      await expectSound(get());
    });

    test("a frame is offered to other scopes only when all of its chunks are named, and never its neighbours for one of them", async () => {
      const cache = newCache();
      await saved(cache, "a", inline("a frame"), content("public", "secret", "more"));
      let serial = 0;
      const asked = async (scopes: string[], own: string, ...texts: string[]) => {
        const upload = await reserve(db(), archive(cache, `b${++serial}`, { scope: own }), { expires: 5_000 });
        const found = await find(upload, texts, MAX, scopes);
        return found.status === "leased" ? [found.places.length, (await db().read("uploadParts", { id: upload.id })).length] : found.status;
      };
      expect(await asked(["team:x"], "team:x", "public")).toEqual([0, 0]);
      expect(await asked([], "team:x", "public")).toEqual([0, 0]);
      expect(await asked(["team:x"], "team:x", "public", "more")).toEqual([0, 0]);
      // Naming one of them very often does not fill the frame.
      expect(await asked(["team:x"], "team:x", ...Array.from({ length: 600 }, () => "public"))).toEqual([0, 0]);
      expect(await asked(["team:x"], "team:x", "more", "public", "secret")).toEqual([3, 1]);
      // Who reads the archive has the neighbours anyway; so has its own scope.
      expect(await asked(["team:y", scope], "team:y", "public")).toEqual([1, 1]);
      expect(await asked([], scope, "public")).toEqual([1, 1]);
      await expectSound(get());
    });

    test("a frame that was sent but not committed yet is offered to uploads of its own scope alone", async () => {
      const cache = newCache();
      const first = await reserve(db(), archive(cache, "a"), { expires: 5_000 });
      await part(first, "frame", inline("pending frame"), content("one", "two"));
      const places = async (own: string) => {
        const found = await find(await reserve(db(), archive(cache, `b ${own}`, { scope: own }), { expires: 5_000 }), ["one"], MAX, []);
        return found.status === "leased" && found.places.length;
      };
      expect([await places(scope), await places("team:x")]).toEqual([1, 0]);
      await expectSound(get());
    });

    test("chunks of another cache, of an ended upload, or beyond the most parts are not found", async () => {
      const cache = newCache();
      await saved(cache, "a", inline("frame"), content("one"));
      expect(await find(await reserve(db(), archive(newCache(), "c"), { expires: 5_000 }), ["one"])).toEqual({ status: "leased", places: [] });
      const upload = await reserve(db(), archive(cache, "c"), { expires: 5_000 });
      expect(await find(upload, ["one"], 0)).toEqual({ status: "full" });
      await db().write("abortUpload", { id: upload.id, now: 1_000 });
      expect(await find(upload, ["one"])).toEqual({ status: "gone" });
      await expectSound(get());
    });

    test("a leased frame outlives its archive; without lease its chunks go with it", async () => {
      const cache = newCache();
      const { entry } = await saved(cache, "a", stored("lasting"), content("one"));
      const upload = await reserve(db(), archive(cache, "b"), { expires: 5_000 });
      await find(upload, ["one"]);
      await db().write("removeEntries", { ids: [entry.id], now: 2_000, audit: audit("remove") });
      while ((await db().write("collectBlobs", { before: 3_000 })).rows > 0);
      expect((await complete(upload, [stored("lasting").digest])).status).toBe("leased");
      await db().write("abortUpload", { id: upload.id, now: 2_000 });
      while ((await db().write("collectBlobs", { before: 3_000 })).rows > 0);
      const after = await reserve(db(), archive(cache, "c"), { expires: 5_000 });
      expect(await find(after, ["one"])).toEqual({ status: "leased", places: [] });
      expect(await get().query(`SELECT count(*) AS n FROM chunks WHERE cache = '${cache}'`)).toMatchObject([{ n: expect.toSatisfy((n: unknown) => Number(n) === 0) }]);
      await expectSound(get());
    });

    test("an upload is completed with what a readable archive holds, and with nothing else", async () => {
      const cache = newCache();
      const [mine, theirs] = [inline("mine"), inline("theirs")];
      await saved(cache, "a", mine, content("m"));
      await saved(cache, "a", theirs, content("t"), { scope: "local:other" });
      const upload = await reserve(db(), archive(cache, "b"), { expires: 5_000 });
      const wanted = [mine.digest, theirs.digest, inline("nobody's").digest];
      expect(await complete(upload, wanted, [])).toEqual({ status: "leased", missing: wanted });
      expect(await complete(upload, wanted)).toEqual({ status: "leased", missing: wanted.slice(1) });
      expect(await complete(upload, wanted, [scope, "local:other"])).toEqual({ status: "leased", missing: wanted.slice(2) });
      await expectSound(get());
    });

    test("a copy has the parts of its original, which may go", async () => {
      const cache = newCache();
      const frame = stored("shared");
      const { entry, manifest } = await saved(cache, "a", frame, content("s"));
      const made = await copy(cache, "b", manifest.digest);
      expect(made).toMatchObject({ status: "created", entry: { key: "b", size: entry.size } });
      expect(await copy(cache, "b", manifest.digest)).toMatchObject({ status: "exists" });
      expect(await copy(cache, "c", manifest.digest, ["local:other"])).toEqual({ status: "unknown" });
      expect(await copy(cache, "c", manifest.digest, [])).toEqual({ status: "unknown" });
      expect(await copy(cache, "c", frame.digest)).toEqual({ status: "unknown" });
      expect(await copy(cache, "c", manifest.digest, [scope], { maxSize: 1 })).toEqual({ status: "large" });
      await db().write("removeEntries", { ids: [entry.id], now: 2_000, audit: audit("remove") });
      while ((await db().write("collectBlobs", { before: 3_000 })).rows > 0);
      if (made.status !== "created") throw new Error(made.status);
      expect((await db().read("entryParts", { entry: made.entry.id })).map(({ digest }) => digest)).toEqual([manifest.digest, frame.digest]);
      await expectSound(get());
    });
  });
}
