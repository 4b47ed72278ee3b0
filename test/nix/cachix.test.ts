import { hash, randomBytes } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { zstdCompressSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { CachixClient, CachixError, md5, narInfoCreate, PART_SIZE, type NarInfoCreate, type Part } from "../fixtures/cachix.ts";
import { startServer, type TestServer } from "../fixtures/server.ts";
import { startStowhouse } from "../fixtures/stowhouse.ts";
import { parseSha256 } from "../../server/protocols/nix/hash.ts";
import { narUrl } from "../../server/protocols/nix/nar-url.ts";
import { NixRig } from "./nix.ts";
import { newerNix } from "./tools.ts";

let server: TestServer;
let client: CachixClient;

beforeAll(async () => {
  server = await startServer({ config: { caches: { default: {}, other: {} } } });
  client = new CachixClient(server.url, server.writeKey);
});
afterAll(() => server.stop());

/** A Nix for the tests beside it. @param root as NixRig has it */
function useRig(root: () => Promise<string | undefined> = async () => undefined): () => NixRig {
  let rig: NixRig;
  beforeAll(async () => void (rig = new NixRig(await root())));
  afterAll(() => rig.remove());
  return () => rig;
}

const ok = { code: 0 };
const status = (work: Promise<unknown>) => work.then(() => 200, (error: unknown) => (error instanceof CachixError ? error.status : Promise.reject(error)));

interface Packed {
  readonly file: Buffer;
  readonly create: NarInfoCreate;
}

/** A path of the real store as `cachix push` would send it. */
async function packed(rig: NixRig, storePath: string): Promise<Packed> {
  const dump = path.join(rig.home, "dump.nar");
  expect(await rig.run("sh", "-c", `nix-store --dump ${storePath} > ${dump}`)).toMatchObject(ok);
  const nar = readFileSync(dump);
  const query = async (what: string) => (await rig.run("nix-store", "-q", what, storePath)).said.trim();
  const file = zstdCompressSync(nar);
  const fileHash = hash("sha256", file);
  const references = (await query("--references")).split("\n").filter((one) => one !== "").map((one) => path.basename(one)).toSorted();
  const narHash = parseSha256(await query("--hash"))!;
  const info = { storePath: path.basename(storePath), url: narUrl(fileHash, "zstd"), compression: "zstd", fileHash, fileSize: file.length, narHash, narSize: nar.length, references, signatures: [] };
  return { file, create: narInfoCreate(info) };
}

/** A file of so many MiB that don't pack, in the store. */
async function large(rig: NixRig, name: string, size: number): Promise<string> {
  const file = path.join(rig.home, `stowhouse-${rig.mark}-${name}`);
  writeFileSync(file, randomBytes(size * 1024 * 1024));
  const ran = await rig.run("nix-store", "--add", file);
  expect(ran).toMatchObject(ok);
  return ran.said.trim();
}

/** Reads paths as `cachix use` has set Nix up, netrc and all, into a store with nothing in it. */
async function pull(rig: NixRig, from: string, ...paths: string[]): Promise<string> {
  const [store, netrc] = [rig.store(), path.join(rig.home, "cachix-netrc")];
  writeFileSync(netrc, `machine 127.0.0.1 password ${server.readKey}\n`, { mode: 0o600 });
  const keys = (await client.cache("default")).publicSigningKeys.join(" ");
  expect(await rig.run("nix", "copy", "--from", from, "--to", store, "--option", "trusted-public-keys", keys, "--option", "netrc-file", netrc, ...paths)).toMatchObject(ok);
  return store;
}

describe.each([["Debian's", async () => undefined], ["a current", newerNix]])("%s Nix", (_, root) => {
  const nix = useRig(root);

  test("reads a closure that was pushed by the Cachix API, there and below the API", async () => {
    const rig = nix();
    const [top, self] = await rig.build("top", "self");
    const closure = (await rig.run("nix-store", "-q", "-R", top!, self!)).said.trim().split("\n");
    const hashes = closure.map((one) => path.basename(one).slice(0, 32));
    expect(await client.missing("default", hashes)).toEqual(hashes);
    for (const one of closure) {
      const { file, create } = await packed(rig, one);
      await client.push("default", file, create);
    }
    expect(await client.missing("default", hashes)).toEqual([]);
    for (const from of [(await client.cache("default")).uri, `${server.url}/api/v1/cache/default`]) {
      const store = await pull(rig, from, top!, self!);
      expect(readFileSync(path.join(store, top!, "both"), "utf8")).toBe(readFileSync(path.join(rig.at(top!), "both"), "utf8"));
      expect(await rig.run("nix-store", "--verify", "--check-contents", "--store", store)).toMatchObject(ok);
    }
  });
});

describe("a NAR in parts of 32 MiB", () => {
  const nix = useRig();

  test("of more than 100 MB, sent at once, out of order, one of them three times and broken off once, is read byte for byte", async () => {
    const rig = nix();
    const storePath = await large(rig, "parts", 110);
    const { file, create } = await packed(rig, storePath);
    const upload = await client.create("default");
    const pieces = Array.from({ length: Math.ceil(file.length / PART_SIZE) }, (_, i) => file.subarray(i * PART_SIZE, (i + 1) * PART_SIZE));
    expect(pieces).toHaveLength(4);

    // A client that left in the middle of a part, and one whose bytes were changed on the way.
    const target = await client.sign("default", upload, 2, md5(pieces[1]!));
    const leaving = (async function* () {
      yield new Uint8Array(pieces[1]!.subarray(0, PART_SIZE / 2));
      throw new Error("the client left");
    })();
    await expect(fetch(target, { method: "PUT", body: ReadableStream.from(leaving), duplex: "half" })).rejects.toThrow();
    expect(await status(client.put(target, Buffer.alloc(1_000), md5(pieces[1]!)))).toBe(400);
    const send = (i: number) => client.part("default", upload, i + 1, pieces[i]!);
    const parts = await Promise.all([3, 1, 2, 0].map(send));
    expect(await send(1)).toEqual(parts[1]);
    const listed = parts.toSorted((a, b) => a.partNumber - b.partNumber);

    const refused: [Part[], NarInfoCreate][] = [
      [listed.slice(0, 3), create], [listed.toReversed(), create], [listed, { ...create, cFileHash: "0".repeat(64) }], [listed, { ...create, cFileSize: create.cFileSize + 1 }],
      [listed, { ...create, cNarHash: `sha256:${"0".repeat(52)}` }],
    ];
    for (const [some, of] of refused) expect(await status(client.complete("default", upload, some, of))).toBe(400);
    expect(await client.has("default", create.cStoreHash)).toBe(false);

    const complete = () => status(client.complete("default", upload, listed, create));
    expect(await Promise.all([complete(), complete()])).toEqual([200, 200]);
    expect(await complete()).toBe(200);
    const store = await pull(rig, (await client.cache("default")).uri, storePath);
    expect(readFileSync(path.join(store, storePath)).equals(readFileSync(storePath))).toBe(true);
  });

  test("leaves nothing when it is aborted, and no other cache takes its parts", async () => {
    const file = randomBytes(40 * 1024 * 1024);
    const upload = await client.create("default");
    const target = await client.sign("default", upload, 1, md5(file));
    expect(await status(client.put(target.replace("/default/", "/other/"), file))).toBe(401);
    expect(await status(client.put(target.replace(/se=\d+/, `se=${Math.floor(Date.now() / 1000) - 1}`), file))).toBe(401);
    await client.put(target, file);
    await client.abort("default", upload);
    expect(await status(client.put(target, file))).toBe(404);
    const create = { cStoreHash: "0".repeat(32), cStoreSuffix: "x", cNarHash: `sha256:${"0".repeat(52)}`, cNarSize: 1, cFileHash: hash("sha256", file), cFileSize: file.length, cReferences: [], cDeriver: "unknown-deriver", cSig: null };
    expect(await status(client.complete("default", upload, null, create))).toBe(404);
  });

  test("outlives a server that is killed between its parts and before it is complete", async () => {
    const rig = nix();
    const data = path.join(rig.home, "killed");
    let killed = await startStowhouse({ data });
    const again = async () => {
      await killed.kill("SIGKILL");
      killed = await startStowhouse({ data, port: killed.port });
    };
    try {
      const by = new CachixClient(killed.url, killed.key);
      const { file, create } = await packed(rig, await large(rig, "killed", 40));
      const upload = await by.create("default");
      const rest = file.subarray(PART_SIZE);
      const target = await by.sign("default", upload, 2, md5(rest));
      const first = await by.part("default", upload, 1, file.subarray(0, PART_SIZE));
      await again();
      const second = { partNumber: 2, eTag: await by.put(target, rest) };
      await again();
      await by.complete("default", upload, [first, second], create);
      await again();
      const answer = await fetch(await by.nar("default", `${create.cFileHash}.nar.zst`), { headers: { authorization: `Bearer ${killed.key}` } });
      expect(Buffer.from(await answer.arrayBuffer()).equals(file)).toBe(true);
      expect(await by.has("default", create.cStoreHash)).toBe(true);
    } finally {
      await killed.stop();
    }
  });
});
