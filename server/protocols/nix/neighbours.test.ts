import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startApp, type TestApp } from "../../../test/fixtures/app.ts";
import { NixClient, nixKey, STORE, storeHash, testPath, type TestPath } from "../../../test/fixtures/nix.ts";
import { NixUpstream, pathNamed, testKey } from "../../../test/fixtures/nix-upstream.ts";
import { nix } from "./index.ts";
import { parsePublicKey, SecretKey, type PublicKey } from "./keys.ts";
import { fingerprint, parseNarInfo } from "./narinfo.ts";
import { parseRealisation, realisationFingerprint } from "./realisation.ts";

/** `front` asks `open` and `closed`, and an upstream; `open` asks back; `all` asks every public one; `alone` asks nobody. */
let app: TestApp;
let upstream: NixUpstream;
let url: string;
const builder = new SecretKey("builder-1", Buffer.alloc(32, 5));
const clients = new Map<string, NixClient>();
const keys = new Map<string, PublicKey>();
const CACHES = ["front", "open", "closed", "all", "alone"];

beforeAll(async () => {
  upstream = await new NixUpstream().start();
  const anonymousRead = true;
  app = await startApp({
    caches: { front: { anonymousRead }, open: { anonymousRead }, closed: {}, all: {}, alone: { anonymousRead } },
    protocols: {
      nix: {
        caches: {
          front: { sources: ["closed", "open"], trustedKeys: [builder.public.text], upstreams: { up: { url: upstream.url, trustedKeys: [testKey("upstream-1").public.text] } } },
          open: { sources: ["front", "open"] }, all: { sources: ["*"] },
        },
      },
    },
  }, [nix]);
  url = await app.listen();
  for (const cache of CACHES) {
    clients.set(cache, new NixClient(`${url}/nix/${cache}`, await nixKey(app, { permission: "write", caches: [cache] })));
    keys.set(cache, parsePublicKey((await clients.get(cache)!.text("/pubkey")).trim()));
  }
});
afterAll(async () => {
  await app.close();
  await upstream.stop();
});

const of = (cache: string) => clients.get(cache)!;
const anybody = (cache: string) => new NixClient(`${url}/nix/${cache}`);
const key = async (cache: string, options: object) => new NixClient(`${url}/nix/${cache}`, await nixKey(app, { permission: "write", caches: [cache], ...options }));

/** The caches whose keys have signed what one of them says of a path. */
async function signers(client: NixClient, path: TestPath): Promise<string[]> {
  const text = await client.text(`/${path.hash}.narinfo`);
  if (text.startsWith("404")) return ["nobody"];
  const info = parseNarInfo(text, STORE);
  return CACHES.filter((name) => info.signatures.some((signature) => keys.get(name)!.verifies(fingerprint(info, STORE), signature)));
}

describe("a path of another public cache", () => {
  it("is served with both caches' signatures, and its NAR is read through", async () => {
    const path = testPath("of-open");
    await of("open").push(path);
    for (const client of [of("front"), anybody("front")]) {
      expect(await signers(client, path)).toEqual(["front", "open"]);
      const answer = await client.get(`/${path.info.url}`);
      expect(answer.headers.get("etag")).toBe(`"${path.fileHash}"`);
      expect(Buffer.from(await answer.arrayBuffer()).equals(path.file)).toBe(true);
      expect((await client.get(`/${path.info.url}`, { range: "bytes=5-" })).status).toBe(206);
    }
    expect(await anybody("front").status("HEAD", `/${path.info.url}`)).toBe(200);
  });

  it("is unknown to caches that ask nobody", async () => {
    const path = testPath("not-for-all");
    await of("open").push(path);
    for (const target of [`/${path.hash}.narinfo`, `/${path.info.url}`]) expect(await of("alone").status("GET", target)).toBe(404);
  });

  it("comes after what the cache has itself, and before upstreams", async () => {
    const common = pathNamed("common-1.0");
    upstream.add(common);
    const theirs = { ...testPath("x", "open's"), hash: common.hash };
    const info = { ...theirs.info, storePath: common.info.storePath };
    const pushed = testPath("x", "open's", { storePath: info.storePath });
    await of("open").status("PUT", `/${pushed.info.url}`, pushed.file);
    expect(await of("open").status("PUT", `/${common.hash}.narinfo`, pushed.text)).toBe(204);
    const served = async () => parseNarInfo(await of("front").text(`/${common.hash}.narinfo`), STORE).narHash;
    expect(await served()).toBe(pushed.info.narHash);
    expect(upstream.count(common.hash)).toBe(0);
    const own = testPath("x", "front's", { storePath: info.storePath });
    await of("front").status("PUT", `/${own.info.url}`, own.file);
    expect(await of("front").status("PUT", `/${common.hash}.narinfo`, own.text)).toBe(204);
    expect(await served()).toBe(own.info.narHash);
  });

  it("does not spare anybody who pushes it the upload of its NAR", async () => {
    const path = testPath("pushed-twice");
    await of("open").status("PUT", `/${path.info.url}`, path.file);
    expect(await of("front").status("HEAD", `/${path.info.url}`)).toBe(404);
    expect(await of("front").push(path)).toBe(204);
  });

  it("is gone when that cache's NAR is", async () => {
    const path = testPath("evicted");
    await of("open").push(path);
    expect(await of("front").status("GET", `/${path.hash}.narinfo`)).toBe(200);
    const admin = await key("open", { permission: "admin" });
    expect(await admin.status("DELETE", `/${path.info.url}`)).toBe(204);
    expect(await of("front").status("GET", `/${path.hash}.narinfo`)).toBe(404);
  });
});

describe("caches that name each other", () => {
  it("don't go round in circles", async () => {
    expect(await of("front").status("GET", `/${storeHash("nowhere")}.narinfo`)).toBe(404);
    expect(await of("open").status("GET", `/${storeHash("nowhere")}.narinfo`)).toBe(404);
  });

  it("give each other only what they have themselves", async () => {
    const far = pathNamed("far-1.0");
    upstream.add(far);
    expect(await of("front").status("GET", `/${far.hash}.narinfo`)).toBe(200);
    expect(await of("open").status("GET", `/${far.hash}.narinfo`)).toBe(404);
  });
});

describe("all public caches", () => {
  it("are asked without being named, and no private one", async () => {
    const [open, closed] = [testPath("of-open-for-all"), testPath("of-closed")];
    await of("open").push(open);
    await of("closed").push(closed);
    expect(await signers(of("all"), open)).toEqual(["open", "all"]);
    expect(await signers(of("all"), closed)).toEqual(["nobody"]);
    expect(await of("all").status("GET", `/${closed.info.url}`)).toBe(404);
  });

  it("are what they are at this time: one that is closed is asked no longer", async () => {
    const path = testPath("closed-later");
    await of("alone").push(path);
    expect(await signers(of("all"), path)).toEqual(["all", "alone"]);
    const cache = app.core.caches.require("alone");
    app.core.caches.set({ ...cache, anonymousRead: false });
    expect(await signers(of("all"), path)).toEqual(["nobody"]);
    expect(await of("all").status("GET", `/${path.info.url}`)).toBe(404);
    app.core.caches.set(cache);
    expect(await signers(of("all"), path)).toEqual(["all", "alone"]);
  });
});

describe("laundering: no cache's key signs", () => {
  it("what a private cache has, named or not", async () => {
    const path = testPath("private");
    await of("closed").push(path);
    for (const cache of ["front", "all", "open"]) expect(await signers(of(cache), path)).toEqual(["nobody"]);
    expect(await of("front").status("GET", `/${path.info.url}`)).toBe(404);
  });

  it("what a pull request pushed to another cache's own scope", async () => {
    const pull = await key("open", { scope: "team:pull", reads: ["team:pull", "local:main"], trusted: false });
    const path = testPath("of-a-pull");
    expect(await pull.push(path)).toBe(204);
    for (const client of [of("front"), of("all"), anybody("front")]) expect(await signers(client, path)).toEqual(["nobody"]);
  });

  it("what an untrusted writer pushed to another cache's default scope, nor is it passed on without", async () => {
    const careless = await key("open", { trusted: false });
    const path = testPath("careless");
    expect(await careless.push(path)).toBe(204);
    expect(await of("open").status("GET", `/${path.hash}.narinfo`)).toBe(200);
    for (const client of [of("front"), of("all")]) expect(await signers(client, path)).toEqual(["nobody"]);
  });

  it("… unless one of its own trusted keys has signed it; another cache's trusted keys are not its own", async () => {
    const careless = await key("open", { trusted: false });
    const plain = testPath("built-elsewhere");
    await careless.push(testPath("built-elsewhere", undefined, { signatures: [builder.sign(fingerprint(plain.info, STORE))] }));
    expect(await signers(of("front"), plain)).toEqual(["front"]);
    expect(await signers(of("all"), plain)).toEqual(["nobody"]);
  });

  it("what carries a signature in its name that is none, and that signature is not passed on", async () => {
    const forged = testPath("forged", undefined, { signatures: [`front-1:${Buffer.alloc(64, 1).toString("base64")}`] });
    const careless = await key("open", { trusted: false });
    await careless.push(forged);
    expect(await signers(of("front"), forged)).toEqual(["nobody"]);
    const trusted = testPath("forged-by-main", undefined, { signatures: [`front-1:${Buffer.alloc(64, 1).toString("base64")}`] });
    await of("open").push(trusted);
    const { signatures } = parseNarInfo(await of("front").text(`/${trusted.hash}.narinfo`), STORE);
    expect(signatures.filter((signature) => signature.startsWith("front-1:"))).toEqual([expect.not.stringContaining(Buffer.alloc(64, 1).toString("base64"))]);
  });

  it("what a pull request wants of its own cache's key through another", async () => {
    const pull = await key("front", { scope: "team:pull", reads: ["team:pull", "local:main"], trusted: false });
    const path = testPath("round-about");
    expect(await pull.push(path)).toBe(204);
    expect(await signers(pull, path)).toEqual([]);
    for (const cache of ["open", "all", "front"]) expect(await signers(of(cache), path)).toEqual(["nobody"]);
  });
});

describe("realisations, listings, logs and debug information of another public cache", () => {
  const out = `${storeHash("o")}-o`;
  const id = `sha256:${"ab".repeat(32)}!out`;
  const documents = [[`/${storeHash("o")}.ls`, "{}"], [`/log/${out}.drv`, "a log"], [`/debuginfo/${"1".repeat(40)}`, JSON.stringify({ archive: "../nar/x.nar", member: "x" })]] as const;

  it("are served, realisations with the cache's own signature", async () => {
    await of("open").status("PUT", `/realisations/${id}.doi`, JSON.stringify({ id, outPath: out, signatures: [], dependentRealisations: {} }));
    const text = await of("front").text(`/realisations/${id}.doi`);
    const realisation = parseRealisation(text, { form: "hash", id });
    for (const name of ["front", "open"]) expect(realisation.signatures.some((signature) => keys.get(name)!.verifies(realisationFingerprint(realisation), signature))).toBe(true);
    for (const [path, body] of documents) {
      expect(await of("open").status("PUT", path, body), path).toBe(204);
      expect(await of("front").text(path)).toBe(body);
    }
  });

  it("are not when who pushed them is not trusted, or that cache is private", async () => {
    const careless = await key("open", { trusted: false });
    for (const [writer, mark] of [[careless, "2"], [of("closed"), "3"]] as const) {
      const [other, path, build] = [id.replace("ab", `a${mark}`), `${storeHash(mark)}-o`, mark.repeat(40)];
      const targets = [[`/realisations/${other}.doi`, JSON.stringify({ id: other, outPath: out })], [`/${storeHash(mark)}.ls`, "{}"], [`/log/${path}.drv`, "evil"], [`/debuginfo/${build}`, documents[2][1]]] as const;
      for (const [target, body] of targets) {
        expect(await writer.status("PUT", target, body), target).toBe(204);
        for (const cache of ["front", "all"]) expect(await of(cache).status("GET", target), target).toBe(404);
      }
    }
  });
});
