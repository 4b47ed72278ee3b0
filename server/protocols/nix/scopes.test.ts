import { randomBytes } from "node:crypto";
import type { AddressInfo } from "node:net";
import { zstdCompressSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startApp, type TestApp } from "../../../test/fixtures/app.ts";
import { nar, NixClient, nixKey, STORE, storeHash, testPath, type TestPath } from "../../../test/fixtures/nix.ts";
import { nix } from "./index.ts";
import { parsePublicKey, SecretKey, type PublicKey } from "./keys.ts";
import { fingerprint, parseNarInfo } from "./narinfo.ts";

/** Main, a pull request into it, and one key that writes main's scope without being trusted, in caches that anybody may read. */
let app: TestApp;
let main: NixClient;
let pull: NixClient;
let careless: NixClient;
let anybody: NixClient;
let key: PublicKey;
let untrusted: PublicKey;
const builder = new SecretKey("builder-1", Buffer.alloc(32, 5));

beforeAll(async () => {
  app = await startApp({
    caches: { default: { anonymousRead: true }, other: {}, tight: { quota: "1MiB", untrustedShare: "30%" } },
    protocols: { nix: { caches: { default: { trustedKeys: [builder.public.text] } } } },
  }, [nix]);
  const url = `${await app.listen()}/nix/default`;
  const client = async (options: object) => new NixClient(url, await nixKey(app, { permission: "write", caches: ["default"], ...options }));
  main = await client({});
  pull = await client({ scope: "team:pull", reads: ["team:pull", "local:main"], trusted: false });
  careless = await client({ trusted: false });
  anybody = new NixClient(url);
  key = parsePublicKey((await anybody.text("/pubkey")).trim());
  untrusted = parsePublicKey((await pull.text("/pubkey/untrusted")).trim());
});
afterAll(() => app.close());

async function signers(of: NixClient, path: TestPath): Promise<string[]> {
  const text = await of.text(`/${path.hash}.narinfo`);
  if (text.startsWith("404")) return ["nobody"];
  const info = parseNarInfo(text, STORE);
  return [key, untrusted, builder.public].filter((one) => info.signatures.some((signature) => one.verifies(fingerprint(info, STORE), signature))).map(({ name }) => name);
}

/** The same path with other contents and a signature that says what it likes. */
const forged = (name: string, ...signatures: string[]) => testPath(name, "evil", { signatures });

describe("what a pull request pushes", () => {
  it("is its own: signed for itself alone, and unknown to everybody else", async () => {
    const path = testPath("of-a-pull");
    expect(await pull.push(path)).toBe(204);
    expect(await signers(pull, path)).toEqual(["default-untrusted"]);
    for (const other of [main, anybody]) expect(await signers(other, path)).toEqual(["nobody"]);
    for (const other of [main, anybody]) expect(await other.status("HEAD", `/${path.hash}.narinfo`)).toBe(404);
  });

  it("does not get the cache's key by any signature it brings along", async () => {
    const path = forged("by-signature", `default-1:${Buffer.alloc(64, 1).toString("base64")}`, `builder-1:${Buffer.alloc(64, 1).toString("base64")}`, key.text.replace("default-1", "default-2"));
    expect(await pull.push(path)).toBe(204);
    expect(await signers(pull, path)).toEqual(["default-untrusted"]);
    expect(await pull.text(`/${path.hash}.narinfo`)).not.toMatch(/^Sig: default-1:/m);
  });

  it("does not get it with a signature of the cache that belongs to another path", async () => {
    const genuine = testPath("genuine");
    await main.push(genuine);
    const { signatures } = parseNarInfo(await pull.text(`/${genuine.hash}.narinfo`), STORE);
    const path = forged("by-transplant", ...signatures);
    await pull.push(path);
    expect(await signers(pull, path)).toEqual(["default-untrusted"]);
  });

  it("does not change what main has, nor what main gives to others", async () => {
    const path = testPath("of-main", "good");
    await main.push(path);
    expect(await pull.push(forged("of-main"))).toBe(204);
    for (const other of [main, anybody]) expect(parseNarInfo(await other.text(`/${path.hash}.narinfo`), STORE).narHash).toBe(path.info.narHash);
    expect(await signers(anybody, path)).toEqual(["default-1"]);
    expect(await signers(pull, path)).toEqual(["default-untrusted"]);
  });

  it("is not taken over when main pushes the same path with a NAR that is there already", async () => {
    const path = testPath("taken-over", "good");
    await pull.push(forged("taken-over"));
    await pull.status("PUT", `/${path.info.url}`, path.file);
    // As nix copy does: the NAR is there, so only the narinfo is sent.
    expect(await main.status("HEAD", `/${path.info.url}`)).toBe(200);
    expect(await main.status("PUT", `/${path.hash}.narinfo`, path.text)).toBe(204);
    expect(await signers(main, path)).toEqual(["default-1"]);
    expect(parseNarInfo(await main.text(`/${path.hash}.narinfo`), STORE).narHash).toBe(path.info.narHash);
  });

  it("can't be vouched for by main's narinfo under another NAR's name", async () => {
    const path = testPath("mismatched", "good, and nobody has it");
    const evil = zstdCompressSync(nar("evil"));
    expect(await pull.status("PUT", `/${path.info.url}`, evil)).toBe(400);
    expect(await main.status("PUT", `/${path.hash}.narinfo`, path.text)).toBe(400);
  });

  it("is signed by the cache where a trusted builder had signed it, and by no other word", async () => {
    const path = testPath("built-elsewhere");
    const sign = (contents?: string) => testPath("built-elsewhere", contents, { signatures: [builder.sign(fingerprint(path.info, STORE))] });
    await pull.push(sign("evil"));
    expect(await signers(pull, path)).toEqual(["default-untrusted"]);
    const other = testPath("built-elsewhere-too");
    await pull.push(testPath("built-elsewhere-too", undefined, { signatures: [builder.sign(fingerprint(other.info, STORE))] }));
    expect(await signers(pull, other)).toEqual(["default-1", "builder-1"]);
    expect(await signers(main, other)).toEqual(["nobody"]);
  });

  it("stays its own with realisations, traces, logs, listings and debug information", async () => {
    const id = `sha256:${"cd".repeat(32)}!out`;
    const out = `${storeHash("x")}-x`;
    const drv = `${storeHash("x")}-x.drv`;
    const bodies = [
      [`/realisations/${id}.doi`, JSON.stringify({ id, outPath: out, signatures: [`default-1:${Buffer.alloc(64).toString("base64")}`] })],
      [`/build-trace-v2/${drv}/out.doi`, JSON.stringify({ outPath: out, signatures: [] })],
      [`/log/${drv}`, "evil"], [`/${storeHash("x")}.ls`, "{}"], [`/debuginfo/${"0".repeat(40)}`, JSON.stringify({ archive: "../nar/x.nar", member: "x" })],
    ] as const;
    for (const [path, body] of bodies) {
      expect(await pull.status("PUT", path, body), path).toBe(204);
      expect(await pull.text(path)).not.toContain("default-1");
      for (const other of [main, anybody]) for (const method of ["GET", "HEAD"]) expect(await other.status(method, path), path).toBe(404);
    }
    expect(await pull.text(`/realisations/${id}.doi`)).toContain("default-untrusted:");
    expect(await pull.text(`/build-trace-v2/${drv}/out.doi`)).toContain('"keyName":"default-untrusted"');
  });

  it("is read before main's, and main's where it has none", async () => {
    const [own, both] = [testPath("only-main"), testPath("main-and-pull")];
    await main.push(own);
    await main.push(both);
    await pull.push(both);
    expect(await signers(pull, own)).toEqual(["default-1"]);
    expect(await signers(pull, both)).toEqual(["default-untrusted"]);
  });
});

describe("the key of untrusted pushes", () => {
  it("stands in no list, and is told to those alone who need it", async () => {
    for (const client of [main, pull, anybody]) {
      const text = await client.text("/pubkey");
      expect(text.trim().split("\n")).toEqual([key.text]);
      expect(text).not.toContain("untrusted");
    }
    expect(await main.status("GET", "/pubkey/untrusted")).toBe(404);
    expect(await anybody.status("GET", "/pubkey/untrusted")).toBe(404);
    expect(untrusted.name).toBe("default-untrusted");
  });
});

describe("a writer of main's scope who is not trusted", () => {
  it("does not change what a trusted one wrote, not even its references", async () => {
    const path = testPath("careful", "good", { references: [`${storeHash("dependency")}-dependency`] });
    await main.push(path);
    expect(await careless.push(testPath("careful", "good"))).toBe(204);
    expect(await careless.push(forged("careful"))).toBe(204);
    const info = parseNarInfo(await anybody.text(`/${path.hash}.narinfo`), STORE);
    expect([info.narHash, info.references]).toEqual([path.info.narHash, path.info.references]);
    expect(await signers(anybody, path)).toEqual(["default-1"]);
  });

  it("does not change its log, listing, realisations and traces either", async () => {
    const [drv, id] = [`${storeHash("kept")}-kept.drv`, `sha256:${"12".repeat(32)}!out`];
    const outPath = (name: string) => `${storeHash(name)}-${name}`;
    const bodies = (name: string) => [
      [`/log/${drv}`, name], [`/${storeHash("kept")}.ls`, JSON.stringify({ name })], [`/debuginfo/${"1".repeat(40)}`, JSON.stringify({ archive: `../nar/${name}.nar`, member: "x" })],
      [`/realisations/${id}.doi`, JSON.stringify({ id, outPath: outPath(name), signatures: [] })], [`/build-trace-v2/${drv}/out.doi`, JSON.stringify({ outPath: outPath(name), signatures: [] })],
    ] as const;
    for (const [path, body] of bodies("good")) expect(await main.status("PUT", path, body)).toBe(204);
    for (const [path, body] of bodies("evil")) expect(await careless.status("PUT", path, body)).toBe(204);
    for (const [path] of bodies("good")) expect(await anybody.text(path), path).toMatch(/good/);
  });

  it("gives way to a trusted one, whose contents then count", async () => {
    const path = testPath("careless", "good");
    expect(await careless.push(forged("careless"))).toBe(204);
    expect(await signers(anybody, path)).toEqual(["default-untrusted"]);
    expect(await main.push(path)).toBe(204);
    expect(parseNarInfo(await anybody.text(`/${path.hash}.narinfo`), STORE).narHash).toBe(path.info.narHash);
    expect(await signers(anybody, path)).toEqual(["default-1"]);
  });

  it("leaves no signature behind on what a trusted one pushes as well", async () => {
    const path = testPath("confirmed");
    await careless.push(path);
    expect(await signers(anybody, path)).toEqual(["default-untrusted"]);
    // With the text it read here, as nix copy from one cache to another sends it.
    const read = await anybody.text(`/${path.hash}.narinfo`);
    expect(await main.status("PUT", `/${path.hash}.narinfo`, read)).toBe(204);
    expect(await signers(anybody, path)).toEqual(["default-1"]);
  });
});

describe("a pull request that fills the cache", () => {
  it("costs main nothing, not even what it had sent first, and loses paths together with their NARs", async () => {
    const token = (options: object) => nixKey(app, { permission: "write", caches: ["tight"], ...options });
    const url = `http://127.0.0.1:${(app.app.server.address() as AddressInfo).port}/nix/tight`;
    const [builds, pulls] = [new NixClient(url, await token({})), new NixClient(url, await token({ scope: "team:pull", reads: ["team:pull", "local:main"], trusted: false }))];
    const paths = Array.from({ length: 6 }, (_, i) => testPath(`fills-${i}`, randomBytes(100_000)));
    const [shared, first] = [paths[0]!, paths[1]!];
    expect(await pulls.push(shared)).toBe(204);
    // The NAR is there already, so main sends its narinfo alone.
    expect(await builds.status("PUT", `/${shared.hash}.narinfo`, shared.text)).toBe(204);
    for (const path of paths.slice(1)) expect(await pulls.push(path)).toBe(204);
    await app.core.maintenance.run();
    expect([await builds.status("GET", `/${shared.hash}.narinfo`), await builds.status("GET", `/${shared.info.url}`)]).toEqual([200, 200]);
    for (const method of ["GET", "HEAD"]) expect([await pulls.status(method, `/${first.hash}.narinfo`), await pulls.status(method, `/${first.info.url}`)]).toEqual([404, 404]);
    expect(await pulls.push(first)).toBe(204);
    expect([await pulls.status("GET", `/${first.hash}.narinfo`), await pulls.status("GET", `/${first.info.url}`)]).toEqual([200, 200]);
  });
});

describe("another cache", () => {
  it("has no NAR that was not sent to it", async () => {
    const path = testPath("possessed");
    await main.push(path);
    const token = await nixKey(app, { permission: "write", caches: ["other"] });
    const other = new NixClient(`http://127.0.0.1:${(app.app.server.address() as AddressInfo).port}/nix/other`, token);
    expect(await other.status("HEAD", `/${path.info.url}`)).toBe(404);
    expect(await other.status("PUT", `/${path.hash}.narinfo`, path.text)).toBe(400);
    expect(await other.push(path)).toBe(204);
    const info = parseNarInfo(await other.text(`/${path.hash}.narinfo`), STORE);
    expect(info.signatures.map((signature) => signature.split(":")[0])).toEqual(["other-1"]);
    expect(key.verifies(fingerprint(info, STORE), info.signatures[0]!)).toBe(false);
  });
});
