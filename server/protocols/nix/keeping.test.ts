import { randomBytes } from "node:crypto";
import fc from "fast-check";
import { afterEach, describe, expect, it } from "vitest";
import { startApp, type TestApp } from "../../../test/fixtures/app.ts";
import { NixClient, nixKey, STORE, testPath, type TestPath } from "../../../test/fixtures/nix.ts";
import { NixUpstream, pathNamed, testKey } from "../../../test/fixtures/nix-upstream.ts";
import { nix } from "./index.ts";
import { NARINFOS } from "./keyspaces.ts";
import { parseNarInfo } from "./narinfo.ts";

const DAY = 86_400_000;
const PATHS = 10;

let ends: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0)) await end();
});

async function start(cache: object, nixCache: object = {}): Promise<{ app: TestApp; client: NixClient; pull: NixClient; admin: string; url: string }> {
  const app = await startApp({ caches: { default: cache }, protocols: { nix: { caches: { default: nixCache } } } }, [nix]);
  ends.unshift(() => app.close());
  const url = await app.listen();
  const base = `${url}/nix/default`;
  const client = new NixClient(base, await nixKey(app, { permission: "write", caches: ["default"] }));
  const pull = new NixClient(base, await nixKey(app, { permission: "write", caches: ["default"], scope: "team:pull", reads: ["team:pull", "local:main"], trusted: false }));
  return { app, client, pull, admin: await nixKey(app, { permission: "admin" }), url };
}

/** What a client is told of a path: undefined when there is none. @throws when it was told of a NAR that is not there */
async function told(client: NixClient, hash: string) {
  const text = await client.text(`/${hash}.narinfo`);
  if (text.startsWith("404")) return undefined;
  const info = parseNarInfo(text, STORE);
  expect(await client.status("GET", `/${info.url}`)).toBe(200);
  return info;
}

describe("in a cache that is too small", () => {
  it("whatever a client was told of a path stays true: its NAR and the references it had are there, through any pushes, reads and evictions, also at once", async () => {
    const { app, client, pull } = await start({ quota: "48KiB", untrustedShare: "50%" });
    // Each refers to some before it, and does not pack.
    const paths: TestPath[] = [];
    for (let i = 0; i < PATHS; i++) {
      const references = [i - 1, i - 3, Math.floor(i / 2)].filter((one) => one >= 0 && one < i).map((one) => paths[one]!.info.storePath);
      paths.push(testPath(`p${i}`, randomBytes(7_000), { references: [...new Set(references)].toSorted() }));
    }
    const writers = [{ client, scope: "local:main" }, { client: pull, scope: "team:pull" }];
    const action = fc.record({ path: fc.nat(PATHS - 1), by: fc.constantFrom(0, 1), push: fc.boolean(), pass: fc.boolean() });
    /** By the id of a narinfo: the references its writer has seen beside it. */
    const promised = new Map<number, string[]>();
    await fc.assert(
      fc.asyncProperty(fc.array(fc.array(action, { minLength: 1, maxLength: 3 }), { minLength: 2, maxLength: 12 }), async (rounds) => {
        for (const round of rounds) {
          await Promise.all(
            round.map(async ({ path: which, by, push, pass }) => {
              const path = paths[which]!;
              const writer = writers[by]!.client;
              if (push) await writer.push(path);
              else await writer.status("GET", `/${path.hash}.narinfo`);
              if (pass) await app.core.maintenance.pass();
            }),
          );
          for (const { client: writer, scope } of writers) {
            for (const path of paths) {
              const entry = await app.core.database.read("getEntry", { cache: "default", keyspace: NARINFOS.name, scope, key: path.hash, version: "" });
              if (!entry) continue;
              const info = (await told(writer, path.hash))!;
              const there = [];
              for (const reference of info.references) if (await told(writer, reference.slice(0, 32))) there.push(reference);
              expect(there).toEqual(expect.arrayContaining(promised.get(entry.id) ?? []));
              promised.set(entry.id, there);
            }
          }
        }
      }),
      { numRuns: 4 },
    );
    const { trusted, untrusted } = await app.core.quota.usage("default", true);
    expect(trusted + untrusted).toBeGreaterThan(0);
    expect(trusted + untrusted).toBeLessThanOrEqual(48 * 1024 * 1.25);
  });
});

describe("a path that a pusher was told is here", () => {
  it("was used by that: the push that leaves it out may rely on it", async () => {
    const { app, client, admin, url } = await start({ retention: "30d" });
    const [asked, other] = [testPath("asked"), testPath("other")];
    for (const path of [asked, other]) await client.push(path);
    const { now } = Date;
    let days = 29;
    Date.now = () => now() + days * DAY;
    try {
      const answer = await fetch(`${url}/api/v1/cache/default/narinfo`, { method: "POST", headers: { authorization: `Bearer ${admin}` }, body: JSON.stringify([asked.hash]) });
      expect(await answer.json()).toEqual([]);
      days = 40;
      await app.core.maintenance.pass();
      expect(await told(client, asked.hash)).toBeDefined();
      expect(await told(client, other.hash)).toBeUndefined();
    } finally {
      Date.now = now;
    }
  });
});

describe("a pinned path of an upstream", () => {
  it("outlives its retention with its closure and their NARs, also those that come later", async () => {
    const upstream = await new NixUpstream().start();
    ends.push(() => upstream.stop());
    const lib = pathNamed("lib-1.0");
    const top = pathNamed("top-1.0", { info: { references: [lib.info.storePath] } });
    const loose = pathNamed("loose-1.0");
    for (const path of [lib, top, loose]) upstream.add(path);
    const { app, client, admin, url } = await start({ retention: "30d" }, { upstreams: { up: { url: upstream.url, trustedKeys: [testKey("upstream-1").public.text] } } });
    for (const path of [top, lib, loose]) expect(await client.status("GET", `/${path.hash}.narinfo`)).toBe(200);
    for (const path of [top, loose]) expect(await client.status("GET", `/${path.narUrl}`)).toBe(200);
    const kept = ({ digest }: typeof lib) => expect.poll(() => app.core.database.read("getEntry", { cache: "default", keyspace: "nix-nar", scope: "*", key: digest, version: "" }), { timeout: 5_000 }).toBeDefined();
    await kept(top);
    await kept(loose);
    const pinned = await fetch(`${url}/v1/admin/nix/pins`, {
      method: "POST", headers: { authorization: `Bearer ${admin}` }, body: JSON.stringify({ name: "up", storePath: `${STORE}/${top.info.storePath}` }),
    });
    expect(await pinned.json()).toMatchObject({ pin: { paths: 2, missing: 1 }, missing: [lib.info.storePath] });
    expect(await client.status("GET", `/${lib.narUrl}`)).toBe(200);
    await kept(lib);
    const { now } = Date;
    Date.now = () => now() + 40 * DAY;
    try {
      await app.core.maintenance.pass();
      await upstream.stop();
      for (const path of [top, lib]) {
        expect(await client.status("GET", `/${path.hash}.narinfo`), path.info.storePath).toBe(200);
        expect(await client.status("GET", `/${path.narUrl}`), path.info.storePath).toBe(200);
      }
      expect(await client.status("GET", `/${loose.hash}.narinfo`)).toBe(503);
    } finally {
      Date.now = now;
    }
  });
});
