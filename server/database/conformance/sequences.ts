import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { NewBlob } from "../operations/blobs.ts";
import type { EntryName } from "../operations/entries.ts";
import { audit, commit, expectSound, inline, named, newCache, newUpload, put, read, stored, textOf, type Subject } from "./subject.ts";

/** Few names and few bodies, so that operations meet each other all the time. */
const name = fc.record({ cache: fc.nat(1), keyspace: fc.constantFrom("gha", "go"), key: fc.constantFrom("a", "b") });
const body = fc.record({ text: fc.constantFrom("", "x", "yy", "zzz"), file: fc.boolean() });
const slot = fc.nat(2);
const command = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: fc.constant("put" as const), name, body, overwrite: fc.boolean(), trusted: fc.boolean(), expires: fc.option(fc.nat(20)) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("reserve" as const), name, slot, overwrite: fc.boolean() }) },
  { weight: 5, arbitrary: fc.record({ do: fc.constant("part" as const), slot, part: fc.nat(3), body }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("commit" as const), slot, parts: fc.option(fc.array(fc.nat(3), { maxLength: 3 })), overwrite: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("abort" as const), slot }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("remove" as const), names: fc.array(name, { maxLength: 3 }) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("lift" as const), name }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("collect" as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("lose" as const), name }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("wait" as const), time: fc.nat(15) }) },
);
type Command = typeof command extends fc.Arbitrary<infer C> ? C : never;

interface Reservation {
  readonly id: string;
  readonly name: EntryName;
  expires: number;
  readonly parts: Map<string, { position: number; text: string }>;
}

const LIFE = 10;
const nameOf = (entry: EntryName) => `${entry.cache}/${entry.keyspace}/${entry.key}`;

/** What the operations should do, on plain maps. */
class Model {
  now = 1_000;
  readonly entries = new Map<string, { text: string; expires: number | null }>();
  readonly uploads = new Map<string, Reservation>();

  /** What the database still has of this name, dead or alive. */
  blocks(entry: EntryName, overwrite: boolean): boolean {
    const there = this.entries.get(nameOf(entry));
    return there !== undefined && !overwrite && (there.expires === null || there.expires > this.now);
  }
}

/** Runs sequences of operations against a model; whatever happens, the tables must agree with themselves. */
export function sequences(get: () => Subject): void {
  describe("any sequence of operations", () => {
    const blobOf = ({ text, file }: { text: string; file: boolean }): NewBlob => (file ? stored(text) : inline(text));

    async function run(commands: readonly Command[]): Promise<void> {
      const db = get().database;
      const caches = [newCache(), newCache()];
      const model = new Model();
      const held: (Reservation | undefined)[] = [];
      const full = (one: { cache: number; keyspace: string; key: string }) => named(caches[one.cache]!, one.key, { keyspace: one.keyspace });
      for (const c of commands) {
        const { now } = model;
        switch (c.do) {
          case "wait":
            model.now += c.time;
            break;
          case "put": {
            const target = full(c.name);
            const expires = c.expires === null ? null : now + c.expires;
            const { status } = await put(db, target, blobOf(c.body), { overwrite: c.overwrite, trusted: c.trusted, expires, now });
            const blocked = model.blocks(target, c.overwrite);
            expect(status).toBe(blocked ? "exists" : model.entries.has(nameOf(target)) ? "replaced" : "created");
            if (!blocked) model.entries.set(nameOf(target), { text: c.body.text, expires });
            break;
          }
          case "reserve": {
            const target = full(c.name);
            const upload = newUpload(target, { created: now, expires: now + LIFE });
            const { status } = await db.write("reserveUpload", { upload, now, overwrite: c.overwrite });
            const taken = model.uploads.get(nameOf(target));
            const free = !model.blocks(target, c.overwrite) && (taken === undefined || taken.expires <= now);
            expect(status).toBe(free ? "reserved" : "exists");
            if (free) model.uploads.set(nameOf(target), (held[c.slot] = { id: upload.id, name: target, expires: upload.expires, parts: new Map() }));
            break;
          }
          case "part": {
            const upload = held[c.slot];
            if (!upload) break;
            const alive = model.uploads.get(nameOf(upload.name)) === upload && upload.expires > now;
            const { status } = await db.write("addPart", { id: upload.id, name: `p${c.part}`, position: c.part, blob: blobOf(c.body), now, expires: now + LIFE, maxParts: 10 });
            expect(status).toBe(alive ? "stored" : "gone");
            if (alive) {
              upload.parts.set(`p${c.part}`, { position: c.part, text: c.body.text });
              upload.expires = now + LIFE;
            }
            break;
          }
          case "commit": {
            const upload = held[c.slot];
            if (!upload) break;
            const alive = model.uploads.get(nameOf(upload.name)) === upload && upload.expires > now;
            const { status } = await commit(db, upload, { parts: c.parts?.map((one) => `p${one}`) ?? null, overwrite: c.overwrite, now });
            const names = c.parts?.map((one) => `p${one}`) ?? [...upload.parts].toSorted(([, a], [, b]) => a.position - b.position).map(([one]) => one);
            if (!alive) expect(status).toBe("gone");
            else if (names.some((one) => !upload.parts.has(one))) expect(status).toBe("missing");
            else {
              model.uploads.delete(nameOf(upload.name));
              const blocked = model.blocks(upload.name, c.overwrite);
              expect(status).toBe(blocked ? "exists" : model.entries.has(nameOf(upload.name)) ? "replaced" : "created");
              if (!blocked) model.entries.set(nameOf(upload.name), { text: names.map((one) => upload.parts.get(one)!.text).join(""), expires: null });
            }
            break;
          }
          case "abort": {
            const upload = held[c.slot];
            if (!upload) break;
            const there = model.uploads.get(nameOf(upload.name)) === upload;
            expect(await db.write("abortUpload", { id: upload.id, now })).toBe(there);
            if (there) model.uploads.delete(nameOf(upload.name));
            break;
          }
          case "remove": {
            const found = (await Promise.all(c.names.map((one) => read(db, full(one))))).filter((entry) => entry !== undefined);
            const gone = await db.write("removeEntries", { ids: found.map((entry) => entry.id), now, audit: audit("remove") });
            expect(gone.length).toBe(new Set(c.names.map((one) => nameOf(full(one))).filter((one) => model.entries.has(one))).size);
            for (const one of c.names) model.entries.delete(nameOf(full(one)));
            break;
          }
          case "lift": {
            const entry = await read(db, full(c.name));
            if (entry) await db.write("touchEntries", { touches: [{ id: entry.id, at: now, trust: true }] });
            break;
          }
          case "collect":
            await db.write("collectBlobs", { before: now });
            break;
          case "lose": {
            const entry = await read(db, full(c.name));
            const blob = entry?.blob;
            if (!blob) break;
            const { entries, done } = await db.write("loseBlob", { blob: blob.id, now, audit: audit("repair") });
            expect(done).toBe(true);
            for (const lost of entries) model.entries.delete(nameOf(lost));
            for (const upload of model.uploads.values()) {
              if (upload.name.cache !== entry.cache) continue;
              for (const [key, one] of upload.parts) if (inline(one.text).digest === blob.digest) upload.parts.delete(key);
            }
          }
        }
      }
      for (const cache of caches) {
        for (const keyspace of ["gha", "go"]) {
          for (const key of ["a", "b"]) {
            const entry = await read(db, named(cache, key, { keyspace }));
            const expected = model.entries.get(`${cache}/${keyspace}/${key}`);
            expect(entry && { size: entry.size, expires: entry.expires }).toEqual(expected && { size: expected.text.length, expires: expected.expires });
            const inDatabase = entry?.blob ? entry.blob.store === null : entry && (await db.read("entryParts", { entry: entry.id })).every((blob) => blob.store === null);
            if (entry && inDatabase) expect(await textOf(db, entry)).toBe(expected!.text);
          }
        }
      }
    }

    test("does what a model of plain maps does, and leaves the tables sound", { timeout: 60_000 }, async () => {
      await fc.assert(
        fc.asyncProperty(fc.array(command, { minLength: 5, maxLength: 60 }), async (commands) => {
          await run(commands);
          await expectSound(get());
        }),
        { numRuns: 40 },
      );
    });

    test("at once, from several processes, leaves the tables sound", { timeout: 60_000 }, async () => {
      const { replicas } = get();
      await fc.assert(
        fc.asyncProperty(fc.array(fc.array(command, { minLength: 5, maxLength: 25 }), { minLength: 3, maxLength: 5 }), async (streams) => {
          const cache = newCache();
          const target = (one: { keyspace: string; key: string }) => named(cache, one.key, { keyspace: one.keyspace });
          await Promise.all(
            streams.map(async (commands, i) => {
              const db = replicas[i % replicas.length]!;
              const held: string[] = [];
              for (const c of commands) await one(db, c, held, target);
            }),
          );
          await expectSound(get());
        }),
        { numRuns: 15 },
      );
    });

    /** Runs a command whatever comes of it: others are doing the same. */
    async function one(db: Subject["database"], c: Command, held: string[], target: (one: { keyspace: string; key: string }) => EntryName): Promise<void> {
      const now = 1_000;
      switch (c.do) {
        case "put":
          await put(db, target(c.name), blobOf(c.body), { overwrite: c.overwrite, trusted: c.trusted, expires: c.expires === null ? null : now + 1 - (c.expires % 2), now });
          break;
        case "reserve": {
          // Some have expired as soon as they are made, so that others take them away.
          const upload = newUpload(target(c.name), { created: now, expires: now + (c.overwrite ? 0 : 10) });
          if ((await db.write("reserveUpload", { upload, now, overwrite: c.overwrite })).status === "reserved") held[c.slot] = upload.id;
          break;
        }
        case "part":
          if (held[c.slot]) await db.write("addPart", { id: held[c.slot]!, name: `p${c.part}`, position: c.part, blob: blobOf(c.body), now, expires: now + 10, maxParts: 3 });
          break;
        case "commit":
          if (held[c.slot]) await commit(db, { id: held[c.slot]! }, { parts: c.parts?.map((p) => `p${p}`) ?? null, overwrite: c.overwrite, now });
          break;
        case "abort":
          if (held[c.slot]) await db.write("abortUpload", { id: held[c.slot]!, now });
          break;
        case "remove": {
          const found = (await Promise.all(c.names.map((n) => read(db, target(n))))).filter((entry) => entry !== undefined);
          await db.write("removeEntries", { ids: found.map((entry) => entry.id), now, audit: audit("remove") });
          break;
        }
        case "lift": {
          const entry = await read(db, target(c.name));
          if (entry) await db.write("touchEntries", { touches: [{ id: entry.id, at: now, trust: true }] });
          break;
        }
        case "collect":
        case "wait":
          await db.write("collectBlobs", { before: now + 1 });
          break;
        case "lose": {
          const blob = (await read(db, target(c.name)))?.blob;
          if (blob) await db.write("loseBlob", { blob: blob.id, now, audit: audit("repair") });
        }
      }
    }
  });
}
