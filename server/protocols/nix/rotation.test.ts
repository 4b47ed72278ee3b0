import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startApp, KEYS, type TestApp } from "../../../test/fixtures/app.ts";
import { NixClient, STORE, storeHash, testPath } from "../../../test/fixtures/nix.ts";
import { nix } from "./index.ts";
import { parsePublicKey, SecretKey } from "./keys.ts";
import { fingerprint, parseNarInfo } from "./narinfo.ts";

const data = mkdtempSync(join(tmpdir(), "stowhouse-nix-keys-"));
let app: TestApp;
let client: NixClient;

/** The same server again, with other settings of its cache. */
async function restart(settings: object): Promise<void> {
  await app?.close();
  app = await startApp({ database: { path: join(data, "index.db") }, storages: { default: { path: join(data, "blobs") } }, protocols: { nix: { caches: { default: settings } } } }, [nix]);
  client = new NixClient(`${await app.listen()}/nix/default`, KEYS.write);
}

beforeAll(() => restart({}));
afterAll(async () => {
  await app.close();
  rmSync(data, { recursive: true, force: true });
});

const imported = new SecretKey("imported-1", Buffer.alloc(32, 3));
const secret = `imported-1:${Buffer.concat([Buffer.alloc(32, 3), Buffer.from(imported.public.text.split(":")[1]!, "base64")]).toString("base64")}`;
const path = testPath("rotated");
const id = `sha256:${"ef".repeat(32)}!out`;

const listed = async () => (await client.text("/pubkey")).split("\n").filter((line) => line !== "").map(parsePublicKey);

/** Names of the listed keys that have signed what was pushed under the first one. */
async function signedBy(): Promise<string[]> {
  const keys = await listed();
  const info = parseNarInfo(await client.text(`/${path.hash}.narinfo`), STORE);
  const { signatures, ...rest } = JSON.parse(await client.text(`/realisations/${id}.doi`)) as { signatures: string[] };
  const ofPath = keys.filter((key) => info.signatures.some((signature) => key.verifies(fingerprint(info, STORE), signature)));
  const ofRealisation = keys.filter((key) => signatures.some((signature) => key.verifies(JSON.stringify(rest), signature)));
  expect(ofRealisation).toEqual(ofPath);
  return ofPath.map(({ name }) => name);
}

describe("keys of a cache", () => {
  it("outlive the server", async () => {
    await client.push(path);
    await client.status("PUT", `/realisations/${id}.doi`, JSON.stringify({ dependentRealisations: {}, id, outPath: `${storeHash("x")}-x`, signatures: [] }));
    const before = await listed();
    await restart({});
    expect(await listed()).toEqual(before);
    expect(await signedBy()).toEqual(["default-1"]);
  });

  it("are changed with an overlap in which both have signed everything", async () => {
    await restart({ keyGenerations: [1, 2] });
    expect(await signedBy()).toEqual(["default-1", "default-2"]);
    const head = await client.send("HEAD", `/${path.hash}.narinfo`);
    expect(head.headers.get("content-length")).toBe(String((await client.text(`/${path.hash}.narinfo`)).length));
    await restart({ keyGenerations: [2] });
    expect((await listed()).map(({ name }) => name)).toEqual(["default-2"]);
    expect(await signedBy()).toEqual(["default-2"]);
  });

  it("may be brought along", async () => {
    await restart({ signingKeys: [secret] });
    expect((await listed()).map(({ text }) => text)).toEqual([imported.public.text]);
    expect(await signedBy()).toEqual(["imported-1"]);
  });

  it("may be called otherwise", async () => {
    await restart({ keyName: "cache.example.com" });
    expect(await signedBy()).toEqual(["cache.example.com-1"]);
  });

  it("sign nothing anew where nothing is to be signed", async () => {
    await restart({ sign: "never" });
    const unsigned = testPath("unsigned");
    await client.push(unsigned);
    expect(await client.text(`/${unsigned.hash}.narinfo`)).not.toContain("Sig:");
  });

  it("leave alone what a trusted key has signed, where only the missing is to be signed", async () => {
    await restart({ sign: "missing", trustedKeys: [imported.public.text] });
    const bare = testPath("bare");
    const signed = testPath("signed", undefined, { signatures: [imported.sign(fingerprint(testPath("signed").info, STORE))] });
    for (const one of [bare, signed]) await client.push(one);
    const names = async (hash: string) => (await client.text(`/${hash}.narinfo`)).match(/(?<=^Sig: )[^:]+/gm);
    expect(await names(bare.hash)).toEqual(["default-1"]);
    expect(await names(signed.hash)).toEqual(["imported-1"]);
  });

  it("that are none keep the server from starting, and are not shown", async () => {
    const wrong = `x-1:${Buffer.alloc(64, 9).toString("base64")}`;
    const failure: unknown = await startApp({ protocols: { nix: { caches: { default: { signingKeys: [wrong] } } } } }, [nix]).catch((error: unknown) => error);
    expect(String(failure)).toContain("protocols.nix.caches.default.signingKeys");
    expect(String(failure)).not.toContain(wrong.slice(4));
  });
});
