import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Database } from "../database.ts";
import { audit, expectSound, inline, named, newCache, put, read, type Subject } from "./subject.ts";

const DAY = 86_400_000;

export function needs(get: () => Subject): void {
  describe("entries that need others", () => {
    const db = () => get().database;
    const name = (key: string) => ({ keyspace: "gha", scope: "local:main", key });
    const putNeeding = (cache: string, key: string, needed: readonly string[], more: object = {}, database: Database = db()) =>
      put(database, named(cache, key), inline(`${key} of ${cache}`), { needs: needed.map(name), ...more });
    const candidates = async (cache: string, held = false) =>
      (await db().scan("evictionCandidates", { cache, trusted: true, before: DAY, limit: 500, held })).map((entry) => entry.key).toSorted();
    const evict = async (cache: string, ...keys: string[]) => {
      const entries = await Promise.all(keys.map((key) => read(db(), named(cache, key))));
      const gone = await db().write("removeEntries", { ids: entries.map((entry) => entry!.id), now: 2_000, audit: audit("evict"), unheld: true });
      return gone.map((entry) => entry.key);
    };

    test("hold them until the last that needs them is gone", async () => {
      const cache = newCache();
      await put(db(), named(cache, "lib"), inline("lib"));
      await putNeeding(cache, "a", ["lib"]);
      await putNeeding(cache, "b", ["lib"]);
      expect([await candidates(cache), await candidates(cache, true)]).toEqual([["a", "b"], ["lib"]]);
      expect(await evict(cache, "lib")).toEqual([]);
      expect(await evict(cache, "a")).toEqual(["a"]);
      expect(await evict(cache, "lib")).toEqual([]);
      // Those before it in the same batch count as gone.
      expect(await evict(cache, "b", "lib")).toEqual(["b", "lib"]);
      await expectSound(get());
    });

    test("hold what comes after them, and what comes again", async () => {
      const cache = newCache();
      await putNeeding(cache, "app", ["lib"]);
      await putNeeding(cache, "lib", []);
      expect(await evict(cache, "lib")).toEqual([]);
      const { id } = (await read(db(), named(cache, "lib")))!;
      // Who names an entry removes it, whatever needs it.
      expect(await db().write("removeEntries", { ids: [id], now: 2_000, audit: audit("remove") })).toHaveLength(1);
      await putNeeding(cache, "lib", []);
      await putNeeding(cache, "lib", ["deep"], { overwrite: true });
      await putNeeding(cache, "deep", []);
      expect(await candidates(cache)).toEqual(["app"]);
      await put(db(), named(cache, "lib"), inline("lib, again"), { overwrite: true });
      expect(await candidates(cache)).toEqual(["app", "deep"]);
      await putNeeding(cache, "lib", ["deep"], { overwrite: true });
      await putNeeding(cache, "app", [], { overwrite: true });
      expect(await candidates(cache)).toEqual(["app", "lib"]);
      await expectSound(get());
    });

    test("hold nothing of another cache, scope or keyspace", async () => {
      const [cache, other] = [newCache(), newCache()];
      const others = [named(other, "lib"), named(cache, "lib", { scope: "local:other" }), named(cache, "lib", { keyspace: "go" })];
      for (const one of others) await put(db(), one, inline("lib"), { needs: [] });
      await putNeeding(cache, "app", ["lib"]);
      expect(await candidates(cache)).toEqual(["app", "lib", "lib"]);
      expect(await candidates(other)).toEqual(["lib"]);
    });

    test("that need each other in a circle, or themselves, stay evictable", async () => {
      const cache = newCache();
      await putNeeding(cache, "self", ["self"]);
      await putNeeding(cache, "a", ["b"]);
      await putNeeding(cache, "b", ["c"]);
      await putNeeding(cache, "c", ["a"]);
      for (let left = 4; left > 0; left--) {
        const [first] = await candidates(cache);
        expect(await evict(cache, first!)).toEqual([first]);
      }
      expect(await candidates(cache, true)).toEqual([]);
      await expectSound(get());
    });

    test("tell what goes with them, and how many need that", async () => {
      const cache = newCache();
      await putNeeding(cache, "deep", []);
      await putNeeding(cache, "lib", ["deep"]);
      await putNeeding(cache, "a", ["lib", "deep", "missing"]);
      const { id } = (await read(db(), named(cache, "a")))!;
      const needed = await db().scan("neededEntries", { entry: id });
      expect(needed.map(({ key, refs, needing }) => [key, refs, needing])).toEqual([["deep", 2, false], ["lib", 1, true]]);
    });

    test("a kept entry is no candidate, and goes when its time is over", async () => {
      const cache = newCache();
      await put(db(), named(cache, "lib"), inline("lib"));
      await put(db(), named(cache, "pin", { scope: "kept" }), inline("pin"), { needs: [name("lib")], kept: true, expires: 5_000 });
      expect(await candidates(cache)).toEqual([]);
      const due = (await db().scan("expiredEntries", { now: 5_000 })).filter((entry) => entry.cache === cache);
      expect(due.map((entry) => entry.key)).toEqual(["pin"]);
      expect(await db().scan("expiredEntries", { now: 5_000, after: due[0] })).toEqual([]);
      await db().write("removeEntries", { ids: due.map(({ id }) => id), now: 5_000, audit: audit("evict") });
      expect(await candidates(cache)).toEqual(["lib"]);
    });

    test("many that come and go at once, from several processes, leave nothing held for nobody and nobody without what it needs", async () => {
      const { replicas } = get();
      const key = fc.integer({ min: 0, max: 7 });
      const action = fc.record({ put: fc.boolean(), key, needed: fc.uniqueArray(key, { maxLength: 3 }), replica: fc.nat() });
      await fc.assert(
        fc.asyncProperty(fc.array(action, { minLength: 5, maxLength: 40 }), async (actions) => {
          const cache = newCache();
          await Promise.all(
            actions.map(async ({ put: puts, key: which, needed, replica }) => {
              const database = replicas[replica % replicas.length]!;
              if (puts) return putNeeding(cache, `k${which}`, needed.filter((one) => one < which).map((one) => `k${one}`), { overwrite: true }, database);
              const entry = await read(database, named(cache, `k${which}`));
              return entry && database.write("removeEntries", { ids: [entry.id], now: 2_000, audit: audit("evict"), unheld: true });
            }),
          );
          await expectSound(get());
          // Whatever is left can be evicted from the top.
          for (let round = 0; round < 9; round++) {
            const entries = await db().scan("evictionCandidates", { cache, trusted: true, before: DAY, limit: 500 });
            if (entries.length > 0) await db().write("removeEntries", { ids: entries.map(({ id }) => id), now: 3_000, audit: audit("evict"), unheld: true });
          }
          expect(await candidates(cache, true)).toEqual([]);
        }),
        { numRuns: 10 },
      );
      await expectSound(get());
    });
  });
}
