import { hash, randomBytes } from "node:crypto";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startApp, type TestApp } from "../../../test/fixtures/app.ts";
import { NixClient, nixKey, testPath, type TestPath } from "../../../test/fixtures/nix.ts";
import type { Grant } from "../../core/grant.ts";
import type { NixFsckView } from "./fsck-admin.ts";
import { nixFsck, type NixFsckOptions, type NixFsckReport } from "./fsck.ts";
import { nix } from "./index.ts";
import { NARINFOS, NARS } from "./keyspaces.ts";

const HOUR = 3_600_000;
const main: Grant & { write: string } = { cache: "default", read: ["local:main"], write: "local:main", trusted: true, admin: false, actor: "test" };
const audit = { at: 0, actor: "test", action: "break", cache: "default", keyspace: "", scope: "", key: "", size: 0, result: "ok", address: "" };

let app: TestApp;
let client: NixClient;
let admin: string;
let url: string;
beforeAll(async () => {
  app = await startApp({ caches: { default: {}, other: {} } }, [nix]);
  url = await app.listen();
  client = new NixClient(`${url}/nix/default`, await nixKey(app, { permission: "write", caches: ["default"] }));
  admin = await nixKey(app, { permission: "admin" });
});
afterAll(() => app.close());

async function fsck(options: Partial<NixFsckOptions> = {}): Promise<NixFsckReport> {
  return nixFsck({ verify: false, repair: false, ...options, core: app.core, storeDir: "/nix/store", signal: new AbortController().signal, progress: () => {} });
}
const faults = ({ findings }: NixFsckReport) => findings.map(({ fault, key, what }) => `${fault} ${key}: ${what}`);
const entryOf = async (path: TestPath, keyspace = NARINFOS) => (await app.core.catalog.get(main, keyspace, keyspace === NARS ? path.fileHash : path.hash)).entry!;

/** Flips a byte of its file in the storage. */
async function damage({ file }: TestPath): Promise<void> {
  for (const one of await readdir(app.data, { recursive: true, withFileTypes: true })) {
    const name = join(one.parentPath, one.name);
    const bytes = one.isFile() ? await readFile(name) : undefined;
    if (!bytes?.equals(file)) continue;
    bytes[bytes.length >> 1]! ^= 1;
    await writeFile(name, bytes);
    return;
  }
  throw new Error("its file was not found");
}

describe("fsck of Nix's caches", () => {
  it("finds nothing where all is well", async () => {
    const lib = testPath("well-lib");
    for (const path of [lib, testPath("well", undefined, { references: [lib.info.storePath] })]) expect(await client.push(path)).toBe(204);
    for (const verify of [false, true]) expect(await fsck({ verify })).toMatchObject({ narInfos: 2, nars: 2, lost: 0, wrong: 0, corrupt: 0, unused: 0, missingReferences: 0, unverified: 0, unreadable: 0, removed: 0, findings: [] });
  });

  it("names references that are not here, and takes none for a fault", async () => {
    const absent = testPath("absent");
    const path = testPath("refers", undefined, { references: [absent.info.storePath] });
    await client.push(path);
    const report = await fsck({ repair: true });
    expect([report.missingReferences, report.removed]).toEqual([1, 0]);
    expect(faults(report)).toEqual([`missing reference ${path.hash}: ${path.info.storePath} refers to ${absent.info.storePath}`]);
    await client.push(absent);
    expect((await fsck()).missingReferences).toBe(0);
  });

  it("removes narinfos whose NAR is gone, when it is to repair", async () => {
    const path = testPath("without-nar");
    await client.push(path);
    await app.core.catalog.removeIds([(await entryOf(path, NARS)).id], audit);
    const found = await fsck();
    expect([found.lost, found.removed]).toEqual([1, 0]);
    expect(faults(found)).toEqual([`lost ${path.hash}: ${path.info.storePath}: its NAR is gone`]);
    expect((await fsck({ repair: true })).removed).toBe(1);
    expect((await fsck()).lost).toBe(0);
  });

  it("removes narinfos that don't say what their NAR is", async () => {
    const path = testPath("wrong-size");
    await client.push(path);
    const broken = [path.text.replace(/FileSize: \d+/, "FileSize: 7"), path.text.replace(/NarSize: \d+/, "NarSize: 7"), path.text.replace("Compression: zstd", "Compression: xz"), "no narinfo\n"];
    for (const text of broken) {
      await app.core.bodies.put(main, NARINFOS, path.hash, Buffer.from(text), { overwrite: true, metadata: (await entryOf(path)).metadata, needs: [] });
      expect((await fsck()).wrong, text).toBe(1);
    }
    expect((await fsck({ repair: true })).removed).toBe(1);
    expect(await client.status("HEAD", `/${path.hash}.narinfo`)).toBe(404);
  });

  it("removes NARs no narinfo names, but not while one may still come", async () => {
    const path = testPath("unnamed");
    expect(await client.status("PUT", `/${path.info.url}`, path.file)).toBe(204);
    expect((await fsck()).unused).toBeLessThanOrEqual(1);
    const { id } = await entryOf(path, NARS);
    // As it looks two hours later.
    const { now } = Date;
    Date.now = () => now() + 2 * HOUR;
    try {
      const report = await fsck({ repair: true });
      expect(report.findings.filter(({ fault }) => fault === "unused").map(({ key }) => key)).toContain(path.fileHash);
      expect(await app.core.database.read("entryById", { id })).toBeUndefined();
      expect((await fsck()).unused).toBe(0);
    } finally {
      Date.now = now;
    }
  });

  it("finds bytes that are not what they were, with every narinfo that names them, and lets them come again", async () => {
    const path = testPath("corrupt", randomBytes(200_000));
    await client.push(path);
    await damage(path);
    expect((await fsck()).corrupt).toBe(0);
    const found = await fsck({ verify: true });
    expect([found.corrupt, found.lost, found.removed]).toEqual([1, 1, 0]);
    expect(await fsck({ verify: true, repair: true })).toMatchObject({ corrupt: 1, lost: 1, removed: 2 });
    expect(await client.push(path)).toBe(204);
    expect(await fsck({ verify: true })).toMatchObject({ corrupt: 0, lost: 0 });
    expect(hash("sha256", Buffer.from(await (await client.get(`/${path.info.url}`)).arrayBuffer()))).toBe(path.fileHash);
  });

  it("says which NarHash it could not verify", async () => {
    const path = testPath("unknown-compression", undefined, { compression: "lzip" }, (plain) => Buffer.concat([Buffer.from("LZIP?"), plain]));
    await client.push(path);
    for (const verify of [false, true]) expect(await fsck({ verify })).toMatchObject({ unverified: 1, corrupt: 0, wrong: 0 });
  });

  it("looks at one cache alone when it is told to", async () => {
    expect(await fsck({ cache: "other" })).toMatchObject({ narInfos: 0, nars: 0 });
  });
});

describe("the admin API's fsck of Nix's caches", () => {
  const call = async (method: string, path: string, key = admin) => {
    const answer = await fetch(`${url}/v1/admin/nix/fsck${path}`, { method, headers: { authorization: `Bearer ${key}` } });
    return { status: answer.status, body: (await answer.json()) as NixFsckView };
  };

  it("runs in the background, one at a time, and shows how far it is", async () => {
    const started = await call("POST", "?verify=true");
    expect(started).toMatchObject({ status: 202, body: { number: 1, verify: true, repair: false } });
    await expect.poll(async () => (await call("GET", "")).body.state).toBe("done");
    expect((await call("GET", "")).body.report).toMatchObject({ corrupt: 0, unreadable: 0 });
    expect((await call("POST", "?cache=nowhere")).status).toBe(404);
    expect((await call("POST", "?verify=perhaps")).status).toBe(400);
  });

  it("is for administrators", async () => {
    expect((await call("POST", "", await nixKey(app, { permission: "write" }))).status).toBe(403);
  });
});
