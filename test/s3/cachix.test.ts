import { randomBytes } from "node:crypto";
import { expect, test } from "vitest";
import { nix } from "../../server/protocols/nix/index.ts";
import { CachixClient, narInfoCreate } from "../fixtures/cachix.ts";
import { NixClient, testPath } from "../fixtures/nix.ts";
import { startOne } from "../fixtures/one-protocol.ts";
import { services } from "./service.ts";

const MIB = 1024 * 1024;

test.each(services)("%s: a NAR that came in parts is verified and served from the bucket, and redirected to once it is one object", async (_, start) => {
  const service = await start();
  const server = await startOne(nix, { storages: { default: { type: "s3", s3: service.raw, redirect: true } } });
  try {
    const client = new CachixClient(server.url, server.write);
    const path = testPath("s3-parts", randomBytes(3 * MIB));
    const create = narInfoCreate(path.info);
    await expect(client.push("default", path.file, { ...create, cFileHash: "0".repeat(64) }, { size: MIB })).rejects.toMatchObject({ status: 400 });
    await expect(client.push("default", path.file, { ...create, cNarSize: create.cNarSize + 1 }, { size: MIB })).rejects.toMatchObject({ status: 400 });
    await client.push("default", path.file, create, { size: MIB });
    const reader = new NixClient(`${server.url}/nix`, server.read);
    const download = async () => {
      const answer = await reader.get(`/${path.info.url}`);
      const location = answer.headers.get("location");
      const body = location === null ? answer : await fetch(location);
      return { redirected: location !== null, equal: Buffer.from(await body.arrayBuffer()).equals(path.file) };
    };
    expect(await download()).toEqual({ redirected: false, equal: true });
    expect(await server.core.compaction.pass(-1_000)).toBe(1);
    expect(await download()).toEqual({ redirected: true, equal: true });
    expect(await client.missing("default", [path.hash])).toEqual([]);
  } finally {
    await server.stop();
    await service.stop();
  }
});
