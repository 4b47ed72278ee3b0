import { createHash } from "node:crypto";
import fc from "fast-check";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { bytesOf, CAS, FIXED, grant, LOOSE, startCore, testCache, type TestCore } from "../../test/fixtures/core.ts";
import type { Entry, Keyspace } from "./entry.ts";
import type { StowError } from "./errors.ts";
import type { Grant } from "./grant.ts";
import type { Upload } from "./uploads.ts";

/** Two repositories with the same branches, keys with names of their own, readers, and a cache beside. */
const REPOSITORIES = ["1", "2"].flatMap((id) => {
  const [main, feature, pull] = ["refs/heads/main", "refs/heads/feature", "refs/pull/7/merge"].map((ref) => `${id}:${ref}`) as [string, string, string];
  return [
    grant(main),
    grant(feature, { read: [feature, main], trusted: false }),
    grant(pull, { read: [pull, feature, main], trusted: false }),
    grant(main, { write: null, trusted: false, actor: `fork of ${id}` }),
  ];
});
const GRANTS: Grant[] = [
  ...REPOSITORIES,
  grant("local:main"),
  grant("team:a"),
  grant("team:b", { read: ["team:b", "team:a"] }),
  grant("team:b", { read: ["team:b"], write: null, actor: "key:reader of b" }),
  grant("team:c", { read: [], actor: "key:writes only" }),
  grant("team:a", { cache: "other", actor: "key:same scope, other cache" }),
  grant("1:refs/heads/main", { cache: "other", actor: "session:same repository, other cache" }),
];

const KEYSPACES = { fixed: FIXED, loose: LOOSE };
const who = fc.nat(GRANTS.length - 1);
const keyspace = fc.constantFrom("fixed" as const, "loose" as const);
const key = fc.constantFrom("a", "ab", "b");
const version = fc.constantFrom("", "2");
const name = { who, keyspace, key, version };
const command = fc.oneof(
  { weight: 5, arbitrary: fc.record({ do: fc.constant("put" as const), ...name, life: fc.option(fc.integer({ min: 1, max: 40 }), { freq: 3 }) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("cas" as const), who, body: fc.nat(3) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("reserve" as const), ...name }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("part" as const), who, upload: fc.nat(30), part: fc.nat(2) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("commit" as const), who, upload: fc.nat(30) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("abort" as const), who, upload: fc.nat(30) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("remove" as const), ...name }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant("get" as const), ...name }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("find" as const), ...name, prefixes: fc.array(fc.constantFrom("a", "b", "ab"), { maxLength: 2 }) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("list" as const), who }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("wait" as const), ms: fc.integer({ min: 1, max: 30 }) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("upkeep" as const) }) },
);
type Command = typeof command extends fc.Arbitrary<infer C> ? C : never;

interface Stored {
  readonly cache: string;
  readonly keyspace: string;
  readonly scope: string;
  readonly key: string;
  readonly version: string;
  readonly text: string;
  readonly expires: number;
  readonly serial: number;
}

interface Reserved extends Omit<Stored, "text" | "expires" | "serial"> {
  readonly upload: Upload;
  readonly parts: Map<string, string>;
}

const secretOf = (by: Grant) => `<${createHash("sha256").update(`${by.cache} ${by.write ?? by.actor}`).digest("hex").slice(0, 16)}>`;

/**
 * No sequence of operations by any grants reveals a mapped entry outside a grant's read scopes, nor changes what the reads of
 * another scope return: whatever happens, each read is what a model says that knows the reader's own scopes and no others.
 */
describe("scopes are isolated", () => {
  let on: TestCore;
  let serial = 0;
  beforeAll(async () => {
    on = await startCore({ caches: [testCache(), testCache({ name: "other" })], entryMemory: 40, maintenance: { interval: 1e9, grace: 10, auditRetention: 1e9 } });
  });
  afterAll(() => on.remove());
  beforeEach(() => void vi.useFakeTimers({ now: 1_000_000 + serial * 1_000, toFake: ["Date"] }));
  afterEach(() => void vi.useRealTimers());

  /** Everything that was handed to this grant: nothing in it may bear the mark of a scope it does not read. */
  function expectNoSecret(of: Grant, shown: unknown): void {
    const text = shown instanceof Error ? `${shown.message} ${shown.stack}` : JSON.stringify(shown);
    for (const other of GRANTS) {
      if (other.write === null || (other.cache === of.cache && (of.read.includes(other.write) || of.write === other.write))) continue;
      expect(text.includes(secretOf(other)), `${of.actor} sees ${other.write} in ${other.cache}: ${text.slice(0, 300)}`).toBe(false);
    }
  }

  async function run(commands: readonly Command[]): Promise<void> {
    const round = ++serial;
    const keyOf = (plain: string) => `${round}/${plain}`;
    const entries = new Map<string, Stored>();
    const nameOf = (one: Omit<Stored, "text" | "expires" | "serial">) => [one.cache, one.keyspace, one.scope, one.key, one.version].join(" ");
    const alive = () => [...entries.values()].filter((one) => one.expires > Date.now());
    const uploads: Reserved[] = [];
    const shared = new Map<string, string>();

    /** What the grant sees of its own scopes, in its order. */
    const visible = (by: Grant, wanted: (one: Stored) => boolean) => by.read.map((scope) => alive().filter((one) => one.cache === by.cache && one.scope === scope && wanted(one)));
    const refused = async (by: Grant, work: Promise<unknown>, codes: readonly string[]) => {
      const error = await work.then(() => undefined, (thrown: StowError) => thrown);
      expect(error?.code, by.actor).toBeOneOf([...codes]);
      expectNoSecret(by, error);
    };
    const textOf = async (by: Grant, entry: Entry) => {
      expectNoSecret(by, entry);
      const text = (await bytesOf(await on.bodies.open(entry))).toString();
      expectNoSecret(by, text);
      return text;
    };

    for (const c of commands) {
      if (c.do === "wait") {
        vi.advanceTimersByTime(c.ms);
        continue;
      }
      if (c.do === "upkeep") {
        await on.maintenance.pass();
        continue;
      }
      const by = GRANTS[c.who]!;
      const ks: Keyspace = "keyspace" in c ? KEYSPACES[c.keyspace] : FIXED;
      const target = "key" in c && by.write !== null ? { cache: by.cache, keyspace: ks.name, scope: by.write, key: keyOf(c.key), version: c.version } : undefined;
      const taken = target && alive().some((one) => nameOf(one) === nameOf(target));
      switch (c.do) {
        case "put": {
          const text = `${secretOf(by)} ${++serial} ${"x".repeat(serial % 3 ? 0 : 150)}`;
          const expires = c.life === null ? null : Date.now() + c.life;
          const put = on.bodies.put(by, ks, keyOf(c.key), Buffer.from(text), { version: c.version, overwrite: ks.overwrite ?? false, expires, metadata: JSON.stringify(secretOf(by)) });
          if (!target) await refused(by, put, ["STOW_FORBIDDEN_WRITE"]);
          else if (taken && !ks.overwrite) await refused(by, put, ["STOW_EXISTS"]);
          else {
            expectNoSecret(by, await put);
            entries.set(nameOf(target), { ...target, text, expires: expires ?? Infinity, serial: ++serial });
          }
          break;
        }
        case "cas": {
          const text = `shared ${round} ${c.body}`;
          const digest = createHash("sha256").update(text).digest("hex");
          const lookup = (await on.catalog.get(by, CAS, digest)).entry;
          // Shared by all scopes of a cache, and never between caches.
          expect(lookup !== undefined).toBe(by.read.length > 0 && shared.has(`${by.cache} ${digest}`));
          const put = on.bodies.put(by, CAS, digest, Buffer.from(text));
          if (by.write === null) await refused(by, put, ["STOW_FORBIDDEN_WRITE"]);
          else {
            await put;
            shared.set(`${by.cache} ${digest}`, text);
          }
          break;
        }
        case "reserve": {
          const reserving = on.uploads.reserve(by, ks, keyOf(c.key), c.version, { metadata: JSON.stringify(secretOf(by)) });
          if (!target) await refused(by, reserving, ["STOW_FORBIDDEN_WRITE"]);
          else if ((taken && !ks.overwrite) || uploads.some((one) => nameOf(one) === nameOf(target))) await refused(by, reserving, ["STOW_EXISTS"]);
          else uploads.push({ ...target, upload: await reserving, parts: new Map() });
          break;
        }
        case "part":
        case "abort":
        case "commit": {
          const held = uploads[c.upload % Math.max(uploads.length, 1)];
          if (!held) break;
          if (c.do === "part") {
            // Whoever may add parts is its protocol's to say; here its own writer does.
            const owner = GRANTS.find((one) => one.cache === held.cache && one.write === held.scope)!;
            const text = `${secretOf(owner)} part ${++serial};`;
            await on.uploads.part(held.upload, `p${c.part}`, c.part, Buffer.from(text));
            held.parts.set(`p${c.part}`, text);
          } else if (c.do === "abort") {
            await on.uploads.abort(held.upload);
            uploads.splice(uploads.indexOf(held), 1);
          } else {
            const ours = held.keyspace === "fixed" ? FIXED : LOOSE;
            const committing = on.uploads.commit(by, ours, held.upload, { parts: null });
            if (by.write === null) await refused(by, committing, ["STOW_FORBIDDEN_WRITE", "STOW_UPLOAD_GONE"]);
            else if (by.cache !== held.cache || by.write !== held.scope) await refused(by, committing, ["STOW_UPLOAD_GONE"]);
            else {
              uploads.splice(uploads.indexOf(held), 1);
              if (alive().some((one) => nameOf(one) === nameOf(held)) && !ours.overwrite) await refused(by, committing, ["STOW_EXISTS"]);
              else {
                expectNoSecret(by, await committing);
                const text = [...held.parts].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, one]) => one).join("");
                const { cache, keyspace: of, scope, key: its, version: its2 } = held;
                entries.set(nameOf(held), { cache, keyspace: of, scope, key: its, version: its2, text, expires: Infinity, serial: ++serial });
              }
            }
          }
          break;
        }
        case "remove": {
          const audit = { at: 1, actor: by.actor, action: "remove", cache: by.cache, keyspace: ks.name, scope: by.write ?? "", key: keyOf(c.key), size: 0, result: "ok", address: "" };
          const removing = on.catalog.remove(by, ks, keyOf(c.key), c.version, audit);
          if (!target) await refused(by, removing, ["STOW_FORBIDDEN_WRITE"]);
          else {
            expect(await removing).toBe(taken);
            if (taken) entries.delete(nameOf(target));
          }
          break;
        }
        case "get": {
          const expected = visible(by, (one) => one.keyspace === ks.name && one.key === keyOf(c.key) && one.version === c.version).flat()[0];
          const { entry } = await on.catalog.get(by, ks, keyOf(c.key), c.version);
          expect(entry && (await textOf(by, entry))).toBe(expected?.text);
          break;
        }
        case "find": {
          const expected = visible(by, (one) => one.keyspace === ks.name && one.version === c.version)
            .map((inScope) => {
              const newest = (prefix: string) => inScope.filter((one) => one.key.startsWith(keyOf(prefix))).toSorted((a, b) => b.serial - a.serial)[0];
              return inScope.find((one) => one.key === keyOf(c.key)) ?? c.prefixes.map(newest).find((one) => one !== undefined);
            })
            .find((one) => one !== undefined);
          const found = await on.catalog.find(by, ks, { key: keyOf(c.key), prefixes: c.prefixes.map(keyOf), version: c.version });
          expect(found && (await textOf(by, found))).toBe(expected?.text);
          break;
        }
        case "list": {
          const listed = await on.catalog.list(by, { prefix: `${round}/`, limit: 500 });
          expectNoSecret(by, listed);
          const expected = visible(by, () => true).flat().toSorted((a, b) => b.serial - a.serial);
          expect(listed.map(nameOf)).toEqual(expected.map(nameOf));
        }
      }
      // Nobody else's reads have changed by it.
      const witness = GRANTS[(c.who * 7 + commands.indexOf(c)) % GRANTS.length]!;
      const expected = visible(witness, (one) => one.keyspace === "loose" && one.key === keyOf("a") && one.version === "").flat()[0];
      const { entry } = await on.catalog.get(witness, LOOSE, keyOf("a"));
      expect(entry && (await textOf(witness, entry)), `what ${witness.actor} reads after ${JSON.stringify(c)}`).toBe(expected?.text);
    }
    for (const held of uploads) await on.uploads.abort(held.upload);
  }

  test("whatever any grants do, in whatever order", { timeout: 120_000 }, async () => {
    await fc.assert(fc.asyncProperty(fc.array(command, { minLength: 20, maxLength: 120 }), run), { numRuns: 40 });
    expect(on.failures).toEqual([]);
  });
});
