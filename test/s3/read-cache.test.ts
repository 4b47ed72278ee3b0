import crypto from "node:crypto";
import fs from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { expect, test } from "vitest";
import { conformance } from "../../server/storage/conformance.ts";
import { openReadCache } from "../../server/storage/read-cache.ts";
import { openS3 } from "../../server/storage/s3.ts";
import { startNip, upload } from "../fixtures/nip.ts";
import { s3Options, services, type Service } from "./service.ts";

const [name, start] = services[0]!;

conformance(`read cache over ${name}`, async () => {
  const service = await start();
  const home = await fs.mkdtemp(path.join(os.tmpdir(), "stowhouse-read-cache-"));
  const store = await openReadCache(openS3(s3Options(service.raw)), { path: home, size: 512 * 1024 * 1024 });
  return {
    store,
    stop: async () => {
      await store.close();
      await fs.rm(home, { recursive: true });
      await service.stop();
    },
  };
});

test("what was downloaded once is served from the local disk, even while the service is away", async () => {
  const service: Service = await start();
  const server = await startNip({ storages: { default: { type: "s3", s3: { ...service.raw, maxAttempts: 1, connectTimeout: "1s" }, readCache: { size: "1GiB" } } } });
  const bytes = crypto.randomBytes(1_000_000);
  for (const [key, body] of Object.entries({ warm: bytes, cold: bytes.subarray(1) })) {
    expect((await server.post(`/v1/artifacts/${key}`, server.write, upload(body))).status).toBe(201);
  }
  const download = async (key: string) => server.fetch(`/v1/download/${key}`, server.read);
  const metric = async (result: string) => {
    const text = await server.fetch("/metrics").then((response) => response.text());
    return new RegExp(`stowhouse_read_cache_bytes_total{storage="default",result="${result}"} (\\d+)`).exec(text)?.[1];
  };
  try {
    await expect.poll(async () => Buffer.from(await (await download("warm")).arrayBuffer()).equals(bytes) && (await metric("hit"))).toBe(String(bytes.length));
    expect(Number(await metric("miss"))).toBeGreaterThanOrEqual(bytes.length);
    await service.stop();
    expect(Buffer.from(await (await download("warm")).arrayBuffer()).equals(bytes)).toBe(true);
    expect((await download("cold")).ok).toBe(false);
  } finally {
    await server.stop();
    await service.stop().catch(() => {});
  }
});
