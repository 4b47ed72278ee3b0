import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Entry } from "../../core/entry.ts";
import type { EntryName } from "../operations/entries.ts";
import { inline, named, newCache, put, type Subject } from "./subject.ts";

const START = { scope: "", version: "", key: "" };
const nameOf = ({ scope, version, key }: Pick<EntryName, "scope" | "version" | "key">) => ({ scope, version, key });

export function browse(get: () => Subject): void {
  describe("looking through a cache", () => {
    const db = () => get().database;

    async function pages(cache: string, keyspace: string, limit: number) {
      const found = [];
      for (let after = START; ; ) {
        const names = await db().scan("namesAfter", { cache, keyspace, after, limit });
        found.push(...names);
        if (names.length < limit) return found;
        after = names.at(-1)!;
      }
    }

    test("names come by scope, version and key, byte by byte, each once, whatever the page", async () => {
      const word = fc.constantFrom("a", "B", "ab", "a b", "ä", "\u{1F600}", "\u{FFFD}", "0");
      const name = fc.record({ scope: fc.constantFrom("local:main", "team:ci", "7:refs/heads/ä"), version: fc.option(word, { nil: "" }), key: word });
      await fc.assert(
        fc.asyncProperty(fc.uniqueArray(name, { selector: (one) => JSON.stringify(one), maxLength: 15 }), fc.integer({ min: 1, max: 6 }), async (names, limit) => {
          const cache = newCache();
          for (const one of names) await put(db(), named(cache, one.key, one), inline("x"));
          await put(db(), named(cache, "other", { keyspace: "go" }), inline("x"));
          const bytes = (one: typeof START) => Buffer.from(`${one.scope}\n${one.version}\n${one.key}`);
          expect((await pages(cache, "gha", limit)).map(nameOf)).toEqual(names.map(nameOf).sort((a, b) => Buffer.compare(bytes(a), bytes(b))));
        }),
        { numRuns: 15 },
      );
    });

    test("entries are fetched by id; those that are not there are left out", async () => {
      const cache = newCache();
      const [first, second] = [await put(db(), named(cache, "a"), inline("123")), await put(db(), named(cache, "b"), inline("x"))];
      const found = await db().scan("entriesById", { ids: [second.entry.id, first.entry.id, 987_654_321] });
      expect(found.map(({ key, size, digest }) => ({ key, size, digest })).sort((a, b) => a.size - b.size)).toEqual([
        { key: "b", size: 1, digest: second.entry.digest },
        { key: "a", size: 3, digest: first.entry.digest },
      ]);
      expect(await db().scan("entriesById", { ids: [] })).toEqual([]);
    });

    test("the last used come first, trusted or not, each once, also where times are equal", async () => {
      const cache = newCache();
      const times = [5, 3, 3, 9, 3, 7];
      for (const [n, now] of times.entries()) await put(db(), named(cache, `k${n}`), inline("x"), { now, trusted: n % 2 === 0 });
      const found: Entry[] = [];
      for (let before: { accessed: number; id: number } | undefined; ; ) {
        const page = await db().scan("entriesByUse", { cache, before, limit: 2 });
        found.push(...page);
        if (page.length < 2) break;
        before = page.at(-1)!;
      }
      expect(found.map((entry) => entry.key)).toEqual(["k3", "k5", "k0", "k4", "k2", "k1"]);
    });

    test("ages are summed up page by page", async () => {
      const cache = newCache();
      const entries = [];
      for (const [n, now] of [100, 200, 300].entries()) entries.push((await put(db(), named(cache, `k${n}`), inline("x"), { now })).entry);
      const first = await db().scan("agesPage", { after: entries[0]!.id - 1, now: 1_000, limit: 2 });
      expect(first).toEqual([{ cache, keyspace: "gha", entries: 2, age: 1_700, last: entries[1]!.id }]);
      expect(await db().scan("agesPage", { after: entries[1]!.id, now: 1_000, limit: 2 })).toMatchObject([{ cache, entries: 1, age: 700, last: entries[2]!.id }]);
      expect(await db().scan("agesPage", { after: entries[2]!.id, now: 1_000, limit: 2 })).toEqual([]);
    });
  });
}
