import { readFileSync } from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startServer, type TestServer } from "../fixtures/server.ts";
import { freePort } from "../fixtures/tools.ts";
import { NixRig } from "./nix.ts";

/** `front` looks into `open`, and has a port of its own; `proxy`, of another server, has `open` as an upstream. */
let far: TestServer;
let near: TestServer;
let rig: NixRig;
let port: number;
let keys: Record<"front" | "open" | "proxy", string>;
let writes: string[];
const ok = { code: 0 };

const keyOf = async (server: TestServer, cache: string) => {
  const answer = await fetch(`${server.url}/nix/${cache}/pubkey`, { headers: { authorization: `Bearer ${server.adminKey}` }, signal: AbortSignal.timeout(10_000) });
  return (await answer.text()).trim();
};

beforeAll(async () => {
  port = await freePort();
  const caches = { front: { anonymousRead: true }, open: { anonymousRead: true } };
  far = await startServer({ config: { caches, protocols: { nix: { caches: { front: { sources: ["open"], listen: `127.0.0.1:${port}` } } } } } });
  const open = await keyOf(far, "open");
  const upstreams = { far: { url: `${far.url}/nix/open`, trustedKeys: [open] } };
  near = await startServer({ config: { caches: { proxy: { anonymousRead: true } }, protocols: { nix: { caches: { proxy: { upstreams } } } } } });
  keys = { open, front: await keyOf(far, "front"), proxy: await keyOf(near, "proxy") };
  rig = new NixRig();
  writes = ["--option", "netrc-file", rig.netrc(far.adminKey)];
});
afterAll(async () => {
  await rig.remove();
  await Promise.all([near.stop(), far.stop()]);
});

const pull = (from: string, store: string, key: string, ...paths: string[]) => rig.run("nix", "copy", "--from", from, "--to", store, "--option", "trusted-public-keys", key, ...paths);

describe("a closure pushed to one cache", () => {
  test("comes out of another one's own port, believed by that one's key alone", async () => {
    const [top] = await rig.build("top");
    expect(await rig.run("nix", "copy", "--to", `${far.url}/nix/open?compression=zstd`, ...writes, top!)).toMatchObject(ok);
    const store = rig.store();
    expect(await pull(`http://127.0.0.1:${port}`, store, keys.front, top!)).toMatchObject(ok);
    expect(readFileSync(path.join(store, top!, "both"), "utf8")).toBe(readFileSync(path.join(rig.at(top!), "both"), "utf8"));
    expect((await pull(`http://127.0.0.1:${port}`, rig.store(), keys.proxy, top!)).said).toContain("lacks a valid signature");
  });

  test("with floating paths comes through a proxy, whose key alone is believed", async () => {
    const [float] = await rig.build("float");
    expect(await rig.run("nix", "copy", "--to", `${far.url}/nix/open?compression=zstd&write-nar-listing=true`, ...writes, "--file", rig.file, "float")).toMatchObject(ok);
    const substitute = (key: string) =>
      rig.run("nix", "build", "--file", rig.file, "float", "--store", rig.store(), "--no-link", "--option", "substituters", `${near.url}/nix/proxy`, "--option", "trusted-public-keys", key);
    const good = await substitute(keys.proxy);
    expect(good).toMatchObject(ok);
    expect(good.said).toContain("-float' from");
    expect((await substitute(keys.front)).said).not.toContain("-float' from");
    const listing = await fetch(`${near.url}/nix/proxy/${path.basename(float!).slice(0, 32)}.ls`);
    expect([listing.status, ((await listing.json()) as { version: number }).version]).toEqual([200, 1]);
  });
});
