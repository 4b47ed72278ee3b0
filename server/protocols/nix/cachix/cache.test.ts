import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { KEYS, startApp, type TestApp } from "../../../../test/fixtures/app.ts";
import { CachixClient, CachixError, md5, narInfoCreate } from "../../../../test/fixtures/cachix.ts";
import { NixClient, nixKey, STORE, storeHash, testPath } from "../../../../test/fixtures/nix.ts";
import { nix } from "../index.ts";
import { parsePublicKey, SecretKey } from "../keys.ts";
import { fingerprint, parseNarInfo } from "../narinfo.ts";

let app: TestApp;
let url: string;
let writer: CachixClient;
let admin: CachixClient;

beforeAll(async () => {
  app = await startApp({ caches: { default: {}, open: { anonymousRead: true }, quiet: {} }, protocols: { nix: { caches: { open: { priority: 12 }, quiet: { sign: "never" } } } } }, [nix]);
  url = await app.listen();
  writer = new CachixClient(url, KEYS.write);
  admin = new CachixClient(url, KEYS.admin);
});
afterAll(() => app.close());

const status = (work: Promise<unknown>) => work.then(() => 200, (error: unknown) => (error instanceof CachixError ? error.status : Promise.reject(error)));
const signaturesOf = async (reader: NixClient, hash: string) => parseNarInfo(await reader.text(`/${hash}.narinfo`), STORE).signatures;

describe("a cache", () => {
  it("tells what the credential may do there, where it is read, and which keys to believe", async () => {
    const publicKey = await new NixClient(`${url}/nix/default`, KEYS.read).text("/pubkey");
    expect(await writer.cache("default")).toEqual({
      name: "default", uri: `${url}/c/default/nix`, isPublic: false, publicSigningKeys: [publicKey.trim()], githubUsername: "", permission: "Write", preferredCompressionMethod: "ZSTD",
    });
    expect((await new CachixClient(url, KEYS.read).cache("default")).permission).toBe("Read");
    expect((await admin.cache("default")).permission).toBe("Admin");
    expect(await new CachixClient(url).cache("open")).toMatchObject({ isPublic: true, permission: "Read" });
  });

  it("has a host of its own where there is a domain: its client's netrc knows no paths", async () => {
    const hosted = await startApp({ url: "https://cache.example.com", protocols: { nix: { domain: "example.com" } } }, [nix]);
    try {
      const { uri } = await new CachixClient(await hosted.listen(), KEYS.read).cache("default");
      expect(uri).toBe("https://default.example.com");
    } finally {
      await hosted.close();
    }
  });

  it("that is private asks for a Basic credential, whether it exists or not, and never says 403 to who may not read it", async () => {
    const foreign = await nixKey(app, { permission: "write", caches: ["open"] });
    for (const [client, name] of [[new CachixClient(url), "default"], [new CachixClient(url), "nowhere"], [new CachixClient(url, foreign), "default"], [new CachixClient(url, "stow_rw_nobody-0123456789abc"), "open"]] as const) {
      expect(await status(client.cache(name)), name).toBe(401);
      expect(await status(client.missing(name, [])), name).toBe(401);
      expect(await status(client.has(name, storeHash("x"))), name).toBe(401);
      expect(await status(client.create(name)), name).toBe(401);
    }
    const answer = await fetch(`${url}/api/v1/cache/default`);
    expect(answer.headers.get("www-authenticate")).toMatch(/^Basic /);
  });
});

describe("a credential that only reads", () => {
  it("is refused every write with 403, and 401 without any", async () => {
    const path = testPath("cachix-read-only");
    const upload = await writer.create("default");
    for (const [client, answer] of [[new CachixClient(url, KEYS.read), 403], [new CachixClient(url), 401]] as const) {
      const cache = answer === 403 ? "default" : "open";
      expect(await status(client.create(cache))).toBe(answer);
      expect(await status(client.sign(cache, upload, 1, md5(path.file)))).toBe(answer);
      expect(await status(client.complete(cache, upload, null, narInfoCreate(path.info)))).toBe(answer);
      expect(await status(client.abort(cache, upload))).toBe(answer);
      expect(await status(client.narInfo(cache, narInfoCreate(path.info)))).toBe(answer);
      expect(await status(client.pushWhole(cache, path.file, narInfoCreate(path.info)))).toBe(answer);
      expect(await status(client.registerKey(cache, { publicKey: Buffer.alloc(32).toString("base64") }))).toBe(answer);
    }
  });
});

describe("a question for what is missing", () => {
  it("is answered for as many hashes as one call may hold, in their order", async () => {
    const known = testPath("cachix-known");
    await writer.push("default", known.file, narInfoCreate(known.info));
    const hashes = Array.from({ length: 32_767 }, (_, i) => storeHash(`cachix-unknown-${i}`));
    expect(await writer.missing("default", [...hashes.slice(0, 5), known.hash, ...hashes.slice(5)])).toEqual(hashes);
  });

  it.each<[string, unknown]>([["more", Array.from({ length: 32_769 }, () => "0".repeat(32))], ["what is no hash", ["x"]], ["no list", {}], ["no JSON", undefined]])("is refused with %s", async (_, body) => {
    const answer = await fetch(`${url}/api/v1/cache/default/narinfo`, { method: "POST", headers: { authorization: `Bearer ${KEYS.read}` }, body: body === undefined ? "{" : JSON.stringify(body) });
    expect([400, 413]).toContain(answer.status);
  });
});

describe("what Nix reads below the API", () => {
  it("is the same as elsewhere, and a NAR is where it is redirected to", async () => {
    const path = testPath("cachix-below", "x".repeat(3_000));
    await writer.push("default", path.file, narInfoCreate(path.info));
    const below = new NixClient(`${url}/api/v1/cache/default`, KEYS.read);
    const reader = new NixClient(`${url}/nix/default`, KEYS.read);
    for (const of of ["/nix-cache-info", `/${path.hash}.narinfo`]) expect(await below.text(of)).toBe(await reader.text(of));
    expect((await below.get(`/${path.hash}.narinfo`)).headers.get("etag")).toMatch(/^"/);
    const file = path.info.url.slice(4);
    for (const location of [await writer.nar("default", file), await writer.narUrl("default", file)]) {
      const answer = await fetch(location, { headers: { authorization: `Bearer ${KEYS.read}` } });
      expect(Buffer.from(await answer.arrayBuffer()).equals(path.file)).toBe(true);
    }
    await expect(writer.nar("default", "x.nar.xz")).rejects.toMatchObject({ status: 404 });
    await expect(new CachixClient(url).nar("default", file)).rejects.toMatchObject({ status: 401 });
  });
});

describe("a key of a client", () => {
  const secret = new SecretKey("whoever", Buffer.alloc(32, 7));
  const bytes = secret.public.text.split(":")[1]!;

  it("is registered by administrators alone, once or again, and all readers are told", async () => {
    expect(await status(writer.registerKey("default", { publicKey: bytes }))).toBe(403);
    for (let i = 0; i < 2; i++) await admin.registerKey("default", { publicKey: bytes });
    await admin.registerKey("default", { publicSigningKey: "builder-1:" + Buffer.alloc(32, 9).toString("base64") });
    const { publicSigningKeys } = await writer.cache("default");
    expect(publicSigningKeys.map((key) => parsePublicKey(key).name)).toEqual(["default-1", expect.stringMatching(/^default-client-[0-9a-f]{8}$/), "builder-1"]);
    expect((await new CachixClient(url).cache("open")).publicSigningKeys).toHaveLength(1);
  });

  it("signs what the client pushes, beside the cache's own or alone", async () => {
    for (const [cache, names] of [["default", ["default-client", "default-1"]], ["quiet", ["quiet-client"]]] as const) {
      const by = new CachixClient(url, KEYS.admin);
      await by.registerKey(cache, { publicKey: bytes });
      const path = testPath(`cachix-signed-${cache}`);
      const cSig = secret.sign(fingerprint(path.info, STORE)).split(":")[1]!;
      await by.push(cache, path.file, { ...narInfoCreate(path.info), cSig });
      const signatures = await signaturesOf(new NixClient(`${url}/nix/${cache}`, KEYS.admin), path.hash);
      expect(signatures.map((one) => one.replace(/(-client)?-[0-9a-f]+:.*/, "$1"))).toEqual(names.map((name) => name.replace(/-1$/, "")));
      const keys = (await by.cache(cache)).publicSigningKeys.map(parsePublicKey);
      for (const signature of signatures) expect(keys.filter((key) => key.verifies(fingerprint(path.info, STORE), signature))).toHaveLength(1);
    }
  });

  it("can't take a name that another key has", async () => {
    const other = Buffer.alloc(32, 3).toString("base64");
    for (const name of ["default-1", "default-untrusted", "builder-1"]) expect(await status(admin.registerKey("default", { publicSigningKey: `${name}:${other}` })), name).toBe(409);
    for (const body of [{ publicKey: "x" }, { publicKey: Buffer.alloc(31).toString("base64") }, { publicSigningKey: ":x" }, {}]) expect(await status(admin.registerKey("default", body as { publicKey: string }))).toBe(400);
  });

  it("is told to nobody once it was removed", async () => {
    const remove = (key: string) => fetch(`${url}/api/v1/cache/default/key`, { method: "DELETE", headers: { authorization: `Bearer ${key}` }, body: JSON.stringify({ publicKey: bytes }) });
    expect([(await remove(KEYS.write)).status, (await remove(KEYS.admin)).status, (await remove(KEYS.admin)).status]).toEqual([403, 200, 404]);
    expect((await writer.cache("default")).publicSigningKeys.some((key) => key.endsWith(bytes))).toBe(false);
    const path = testPath("cachix-signed-late");
    const cSig = secret.sign(fingerprint(path.info, STORE)).split(":")[1]!;
    expect(await status(writer.push("default", path.file, { ...narInfoCreate(path.info), cSig }))).toBe(400);
  });
});

describe("a pull request", () => {
  it("gets the signature of nobody's list, and main sees none of what it pushed", async () => {
    const pull = await nixKey(app, { permission: "write", scope: "team:pr-7", reads: ["team:pr-7", "local:main"], trusted: false });
    const by = new CachixClient(url, pull);
    const path = testPath("cachix-pull");
    await by.push("default", path.file, narInfoCreate(path.info));
    expect(await by.missing("default", [path.hash])).toEqual([]);
    expect(await writer.missing("default", [path.hash])).toEqual([path.hash]);
    const signatures = await signaturesOf(new NixClient(`${url}/nix/default`, pull), path.hash);
    expect(signatures.map((one) => one.split(":")[0])).toEqual(["default-untrusted"]);
    for (const client of [by, writer, admin]) expect((await client.cache("default")).publicSigningKeys.join()).not.toContain("untrusted");
  });

  it("reads what main has, and needs not push it", async () => {
    const pull = await nixKey(app, { permission: "write", scope: "team:pr-8", reads: ["team:pr-8", "local:main"], trusted: false });
    const path = testPath("cachix-mains");
    await writer.push("default", path.file, narInfoCreate(path.info));
    expect(await new CachixClient(url, pull).missing("default", [path.hash])).toEqual([]);
  });

  it("can't launder a path through main by completing its upload's bytes under a forged hash", async () => {
    const pull = await nixKey(app, { permission: "write", scope: "team:pr-9", reads: ["team:pr-9", "local:main"], trusted: false });
    const [good, bad] = [testPath("cachix-good"), testPath("cachix-bad", "evil")];
    await writer.push("default", good.file, narInfoCreate(good.info));
    const by = new CachixClient(url, pull);
    // Main's NAR under another name, and other bytes under main's hash.
    const forged = { ...narInfoCreate(bad.info), cFileHash: good.info.fileHash!, cFileSize: good.info.fileSize! };
    expect(await status(by.push("default", bad.file, forged))).toBe(400);
    expect(await status(by.narInfo("default", forged))).toBe(400);
    expect(await writer.missing("default", [bad.hash])).toEqual([bad.hash]);
  });
});
