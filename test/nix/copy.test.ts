import { readFileSync, readdirSync } from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startServer, type TestServer } from "../fixtures/server.ts";
import { NixRig, startCutter } from "./nix.ts";
import { newerNix } from "./tools.ts";

describe.each([["Debian's", async () => undefined], ["a current", newerNix]])("%s Nix", (_, root) => {
  let server: TestServer;
  let rig: NixRig;
  let cache: string;
  let trusted: string;
  let writes: string[];
  let reads: string[];

  beforeAll(async () => {
    server = await startServer({ config: { caches: { default: {}, open: { anonymousRead: true } } } });
    rig = new NixRig(await root());
    cache = `${server.url}/nix/default`;
    writes = ["--option", "netrc-file", rig.netrc(server.writeKey)];
    reads = ["--option", "netrc-file", rig.netrc(server.readKey)];
    trusted = await publicKey("default");
  });
  afterAll(async () => {
    await rig.remove();
    await server.stop();
  });

  async function publicKey(of: string): Promise<string> {
    const answer = await fetch(`${server.url}/nix/${of}/pubkey`, { headers: { authorization: `Bearer ${server.adminKey}` }, signal: AbortSignal.timeout(10_000) });
    expect(answer.status).toBe(200);
    return (await answer.text()).trim();
  }

  const push = (to: string, ...paths: string[]) => rig.run("nix", "copy", "--to", to, ...writes, ...paths);
  const pull = (from: string, store: string, key: string, options: string[], ...paths: string[]) => rig.run("nix", "copy", "--from", from, "--to", store, "--option", "trusted-public-keys", key, ...options, ...paths);
  const ok = { code: 0 };

  describe.each(["none", "xz", "zstd", "bzip2"])("a closure pushed with compression %s", (compression) => {
    test("comes back whole into a clean store, with the cache's signature", async () => {
      const [top, self] = await rig.build("top", "self");
      const mount = { none: cache, xz: `${server.url}/nix`, zstd: server.url, bzip2: `${server.url}/c/default/nix` }[compression]!;
      expect(await push(`${mount}?compression=${compression}&write-nar-listing=true`, top!, self!)).toMatchObject(ok);
      const store = rig.store();
      expect(await pull(mount, store, trusted, reads, top!, self!)).toMatchObject(ok);
      expect(readFileSync(path.join(store, top!, "both"), "utf8")).toBe(readFileSync(rig.at(path.join(top!, "both")), "utf8"));
      expect(readdirSync(path.join(store, "nix/store")).filter((name) => name.includes(rig.mark))).toHaveLength(4);
      expect(await rig.run("nix-store", "--verify", "--check-contents", "--store", store)).toMatchObject(ok);
    });
  });

  test("a second push of the same closure sends nothing", async () => {
    const [top] = await rig.build("top");
    await push(cache, top!);
    const again = await push(cache, top!);
    expect(again).toMatchObject(ok);
    expect(again.said).not.toContain("copying path");
  });

  test("a client that trusts another key takes nothing", async () => {
    const [top] = await rig.build("top");
    await push(cache, top!);
    const ran = await pull(cache, rig.store(), await publicKey("open"), reads, top!);
    expect(ran.code).not.toBe(0);
    expect(ran.said).toMatch(/lacks a (valid signature|signature by a trusted key)/);
  });

  test("a client's own signature is kept beside the cache's", async () => {
    const key = path.join(rig.home, "own");
    expect(await rig.run("nix-store", "--generate-binary-cache-key", "own-1", `${key}.sec`, `${key}.pub`)).toMatchObject(ok);
    const [self] = await rig.build("self");
    await push(cache, self!);
    expect(await rig.run("nix", "store", "sign", "--store", cache, "--key-file", `${key}.sec`, ...writes, self!)).toMatchObject(ok);
    const { said } = await rig.run("nix", "path-info", "--sigs", "--store", cache, ...reads, self!);
    for (const name of ["default-1", "own-1"]) expect(said).toContain(`${name}:`);
    expect(await rig.run("nix", "store", "verify", "--store", cache, ...reads, "--option", "trusted-public-keys", `${trusted} ${readFileSync(`${key}.pub`, "utf8").trim()}`, "--sigs-needed", "2", self!)).toMatchObject(ok);
  });

  describe("credentials in netrc", () => {
    test("are needed where a cache is private", async () => {
      const [top] = await rig.build("top");
      await push(cache, top!);
      for (const options of [[], ["--option", "netrc-file", rig.netrc("stow_ro_wrong-wrong-wrong-wrong")]]) {
        const ran = await pull(cache, rig.store(), trusted, options, top!);
        expect(ran.code).not.toBe(0);
        expect(ran.said).toMatch(/does not appear to be a binary cache|HTTP error 401/);
      }
    });

    test("are not needed where anybody may read, and reading does not let anybody write", async () => {
      const [top] = await rig.build("top");
      const administers = ["--option", "netrc-file", rig.netrc(server.adminKey)];
      expect(await rig.run("nix", "copy", "--to", `${server.url}/nix/open`, ...administers, top!)).toMatchObject(ok);
      expect(await pull(`${server.url}/nix/open`, rig.store(), await publicKey("open"), [], top!)).toMatchObject(ok);
      const [deep] = await rig.build("deep");
      expect((await rig.run("nix", "copy", "--to", `${server.url}/nix/open`, deep!)).code).not.toBe(0);
    });

    test("that only read don't push", async () => {
      const [deep] = await rig.build("deep");
      const ran = await rig.run("nix", "copy", "--to", `${server.url}/nix/default`, ...reads, "--no-recursive", deep!);
      expect(ran.code).not.toBe(0);
      expect(ran.said).toContain("403");
    });
  });

  test("a path that was lost on the way is fetched from where it broke off", async () => {
    const [large] = await rig.build("large");
    expect(await push(`${cache}?compression=none`, large!)).toMatchObject(ok);
    const cutter = await startCutter(server.url);
    try {
      const store = rig.store();
      expect(await pull(`${cutter.url}/nix/default`, store, trusted, reads, large!)).toMatchObject(ok);
      expect(readFileSync(path.join(store, large!)).equals(readFileSync(rig.at(large!)))).toBe(true);
      expect(cutter.ranges).toEqual([undefined, expect.stringMatching(/^bytes=[1-9]\d+-$/)]);
    } finally {
      await cutter.stop();
    }
  });

  test("floating outputs are substituted by what the cache knows of their derivations", async () => {
    expect(await rig.run("nix", "copy", "--to", cache, ...writes, "--file", rig.file, "float")).toMatchObject(ok);
    const substitute = (key: string) =>
      rig.run("nix", "build", "--file", rig.file, "float", "--store", rig.store(), "--no-link", "--option", "substituters", cache, "--option", "trusted-public-keys", key, ...reads);
    // A store elsewhere can't build without namespaces: what it has, it was given.
    const ran = await substitute(trusted);
    expect(ran, ran.said).toMatchObject(ok);
    expect(ran.said).toContain("copying path");
    expect((await substitute(await publicKey("open"))).said).not.toContain("-float' from");
  });

  test("the log of a build is kept and shown", async () => {
    const [low] = await rig.build("low");
    const { said } = await rig.run("nix-store", "--query", "--deriver", low!);
    const drv = path.basename(said.trim());
    const headers = { authorization: `Bearer ${server.writeKey}` };
    expect((await fetch(`${cache}/log/${drv}`, { method: "PUT", headers, body: "it was built\n", signal: AbortSignal.timeout(10_000) })).status).toBe(204);
    await push(cache, low!);
    expect((await rig.run("nix", "log", "--store", cache, ...reads, low!)).said).toContain("it was built");
  });
});
