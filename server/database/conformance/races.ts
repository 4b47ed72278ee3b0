import { describe, expect, test } from "vitest";
import { audit, commit, expectSound, inline, named, newCache, newUpload, part, put, read, reserve, stored, textOf, type Subject } from "./subject.ts";

const RACERS = 16;

/** Many writers of one name, through all replicas. */
export function races(get: () => Subject): void {
  describe("races", () => {
    const db = () => get().database;
    const race = <T>(run: (database: Subject["database"], i: number) => Promise<T>) => {
      const { replicas } = get();
      return Promise.all(Array.from({ length: RACERS }, (_, i) => run(replicas[i % replicas.length]!, i)));
    };
    const count = <T>(all: T[], is: (one: T) => boolean) => all.filter(is).length;

    test("of many puts of an immutable name exactly one wins, and all learn who", async () => {
      const name = named(newCache());
      const results = await race((one, i) => put(one, name, inline(`body ${i}`)));
      expect(count(results, (r) => r.status === "created")).toBe(1);
      expect(new Set(results.map((r) => r.entry.id)).size).toBe(1);
      const winner = results.findIndex((r) => r.status === "created");
      expect(await textOf(db(), (await read(db(), name))!)).toBe(`body ${winner}`);
      await expectSound(get());
    });

    test("of many puts of the same bytes one file is kept, all others are given back", async () => {
      const cache = newCache();
      const files = Array.from({ length: RACERS }, () => stored("the same bytes"));
      const results = await race((one, i) => put(one, named(cache, `key ${i}`), files[i]!));
      const kept = results[0]!.entry.blob!.name;
      expect(results.flatMap((r) => r.unused.map((file) => file.name)).toSorted()).toEqual(files.map((file) => file.name!).filter((name) => name !== kept).toSorted());
      await expectSound(get());
    });

    test("overwriting at once loses nobody's answer: one is there in the end, none is told that it exists", async () => {
      const name = named(newCache());
      await put(db(), name, inline("before"));
      // Two bodies in turn: who replaces one by the other meets who does the reverse.
      const results = await race((one, i) => put(one, name, inline(i % 2 ? "odd" : "even"), { overwrite: true, trusted: i % 3 === 0 }));
      expect(results.map((r) => r.status)).toEqual(Array.from({ length: RACERS }, () => "replaced"));
      expect(["odd", "even"]).toContain(await textOf(db(), (await read(db(), name))!));
      await expectSound(get());
    });

    test("of many reservations exactly one wins, also over an expired one", async () => {
      for (const stale of [false, true]) {
        const name = named(newCache());
        if (stale) await part(db(), await reserve(db(), name, { expires: 900 }, 800), "p", 0, inline("left behind"), 850);
        const now = 5_000;
        const results = await race((one) => one.write("reserveUpload", { upload: newUpload(name, { expires: now + 100 }), now, overwrite: false }));
        expect(count(results, (r) => r.status === "reserved")).toBe(1);
      }
      await expectSound(get());
    });

    test("of many commits of one upload exactly one wins", async () => {
      const upload = await reserve(db(), named(newCache()));
      await part(db(), upload, "a", 0, inline("1"));
      await part(db(), upload, "b", 1, inline("2"));
      const results = await race((one) => commit(one, upload));
      expect(results.map((r) => r.status).toSorted()).toEqual(["created", ...Array.from({ length: RACERS - 1 }, () => "gone")].toSorted());
      await expectSound(get());
    });

    test("a put and a commit of one name: exactly one wins", async () => {
      for (let round = 0; round < 4; round++) {
        const name = named(newCache());
        const upload = await reserve(db(), name);
        await part(db(), upload, "a", 0, inline("upload"));
        const results = await race(async (one, i) => (i % 2 ? await commit(one, upload) : await put(one, name, inline(`put ${i}`))).status);
        expect(count(results, (r) => r === "created")).toBe(1);
      }
      await expectSound(get());
    });

    test("parts that arrive while the upload is committed or aborted are in it or refused", async () => {
      for (const end of ["commit", "abort"] as const) {
        const upload = await reserve(db(), named(newCache()));
        await part(db(), upload, "p0", 0, inline("0"));
        await race(async (one, i) => {
          if (i === 7) return end === "commit" ? (await commit(one, upload)).status : one.write("abortUpload", { id: upload.id, now: 1_000 });
          return (await part(one, upload, `p${i}`, i, inline(`${i}`))).status;
        });
      }
      await expectSound(get());
    });

    test("a blob is never collected while somebody takes it up again", async () => {
      for (let round = 0; round < 5; round++) {
        const cache = newCache();
        const { entry } = await put(db(), named(cache, "first"), inline("shared"));
        await db().write("removeEntries", { ids: [entry.id], now: 1, audit: audit("remove") });
        await race<unknown>((one, i) => (i % 2 ? one.write("collectBlobs", { before: 2 }) : put(one, named(cache, `key ${i}`), inline("shared"))));
        for (let i = 0; i < RACERS; i += 2) expect(await textOf(db(), (await read(db(), named(cache, `key ${i}`)))!)).toBe("shared");
      }
      await expectSound(get());
    });

    test("replicas that flush the same touches, statistics and removals in other orders don't lock each other out", async () => {
      const cache = newCache();
      const made = await Promise.all(Array.from({ length: 120 }, (_, i) => put(db(), named(cache, `k${i}`), inline(`${i % 7}`), { trusted: false })));
      const ids = made.map((one) => one.entry.id);
      const shuffled = (i: number) => ids.toSorted((a, b) => ((a * (i + 7)) % 31) - ((b * (i + 7)) % 31));
      const began = performance.now();
      await race((one, i) => one.write("touchEntries", { touches: shuffled(i).map((id) => ({ id, at: 2_000 + i, trust: i % 2 === 0 })) }));
      await race((one, i) => one.write("addStats", { day: 1, rows: shuffled(i).map((id) => ({ cache, keyspace: "gha", name: `n${id}`, value: 1 })) }));
      await race((one, i) => one.write("removeEntries", { ids: shuffled(i), now: 3_000, audit: audit("evict") }));
      // A deadlock costs its second at least.
      expect(performance.now() - began).toBeLessThan(10_000);
      expect(await db().read("listEntries", { cache, limit: 10 })).toEqual([]);
      expect((await db().read("readStats", { since: 0, cache })).every((row) => row.value === RACERS)).toBe(true);
      await expectSound(get());
    });
  });
}
