import { randomBytes } from "node:crypto";
import type { AddressInfo } from "node:net";
import { expect, test } from "vitest";
import { ghaPut, reserve } from "../bench/product.ts";
import { startGha } from "../fixtures/github-actions.ts";
import { services } from "./service.ts";

const MIB = 1024 * 1024;

test.each(services)("%s: a large download goes straight to the bucket, in parts as soon as they are joined, and small ones stay with us", async (_, start) => {
  const service = await start();
  const gha = await startGha({ storages: { default: { type: "s3", s3: service.raw, redirect: true } } });
  await gha.app.listen({ port: 0, host: "127.0.0.1" });
  const server = { url: `http://127.0.0.1:${(gha.app.server.address() as AddressInfo).port}`, key: gha.write, pids: () => [], stop: () => gha.stop() };
  /** What a client gets that follows redirects, and whose answer it was. */
  const download = async (signed: string) => {
    const response = await fetch(server.url + signed);
    return { status: response.status, redirected: response.redirected, body: Buffer.from(await response.arrayBuffer()) };
  };
  try {
    const large = randomBytes(3 * MIB) as Buffer<ArrayBuffer>;
    expect(await download(await ghaPut(server, "large", large))).toEqual({ status: 200, redirected: true, body: large });
    const small = randomBytes(100_000) as Buffer<ArrayBuffer>;
    expect(await download(await ghaPut(server, "small", small))).toEqual({ status: 200, redirected: false, body: small });

    const blocks = [large.subarray(0, 2 * MIB), large.subarray(2 * MIB)];
    const url = await reserve(server, "parts");
    const ids = blocks.map((_block, i) => Buffer.from(`block-${i}`).toString("base64"));
    for (const [i, block] of blocks.entries()) expect((await fetch(`${url}&comp=block&blockid=${encodeURIComponent(ids[i]!)}`, { method: "PUT", body: block })).status).toBe(201);
    const list = `<?xml version="1.0"?><BlockList>${ids.map((id) => `<Latest>${id}</Latest>`).join("")}</BlockList>`;
    expect((await fetch(`${url}&comp=blocklist`, { method: "PUT", body: list })).status).toBe(201);
    const call = async (method: string, request: object) =>
      (await fetch(`${server.url}/twirp/github.actions.results.api.v1.CacheService/${method}`, {
        method: "POST", body: JSON.stringify({ key: "parts", version: "0".repeat(64), ...request }), headers: { authorization: `Bearer ${server.key}`, "content-type": "application/json" },
      })).json() as Promise<Record<string, string>>;
    expect(await call("FinalizeCacheEntryUpload", { size_bytes: String(large.length) })).toMatchObject({ ok: true });
    const signed = new URL((await call("GetCacheEntryDownloadURL", {}))["signed_download_url"]!);
    expect(await download(signed.pathname + signed.search)).toEqual({ status: 200, redirected: false, body: large });
    expect(await gha.core.compaction.pass(-1_000)).toBe(1);
    expect(await download(signed.pathname + signed.search)).toEqual({ status: 200, redirected: true, body: large });
  } finally {
    await server.stop();
    await service.stop();
  }
});
