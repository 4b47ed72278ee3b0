import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { buildApp, defaultConfig, type Stowhouse } from "../app.ts";
import type { Grant } from "./grant.ts";

const keyspace = { name: "test", maxKeyLength: 100 };
const grant: Grant = { cache: "default", read: ["local:main"], write: "local:main", trusted: true, admin: false, actor: "key:test" };
let server: Stowhouse;
let dir: string;

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), "compaction-"));
  server = await buildApp(defaultConfig({ data: dir, log: { level: "silent" } }));
  // A storage that hands out URLs, as a bucket does.
  for (const store of server.core.stores.values()) store.presign = (name) => Promise.resolve(`https://bucket.example/${name}`);
});
afterEach(async () => {
  await server.close();
  rmSync(dir, { recursive: true });
});

async function upload(key: string, parts: Buffer[]) {
  const { uploads } = server.core;
  const reserved = await uploads.reserve(grant, keyspace, key, "v");
  for (const [i, part] of parts.entries()) await uploads.part(reserved, String(i), i, part);
  return uploads.commit(grant, keyspace, reserved, { parts: parts.map((_, i) => String(i)) });
}

test("a body in parts becomes one object with the same bytes, and its parts are given back", async () => {
  const { core } = server;
  const parts = [randomBytes(700_000), randomBytes(100), randomBytes(900_000)];
  const entry = await upload("large", parts);
  expect(await core.bodies.presigned(entry, 60)).toBeUndefined();
  expect(await core.compaction.pass(-1000)).toBe(1);
  expect(await core.compaction.pass(-1000)).toBe(0);

  const joined = (await core.catalog.get(grant, keyspace, "large", "v")).entry!;
  expect(joined).toMatchObject({ id: entry.id, size: entry.size, digest: createHash("sha256").update(Buffer.concat(parts)).digest("hex") });
  expect(await core.bodies.presigned(joined, 60)).toMatch(/^https:/);
  const read: Buffer[] = [];
  const body = await core.bodies.open(joined);
  await body.read(0, joined.size, (chunk) => void read.push(Buffer.from(chunk)));
  await body.close();
  expect(Buffer.concat(read).equals(Buffer.concat(parts))).toBe(true);
  expect(await core.maintenance.collect(-1000)).toBe(3);
});

test("small bodies and those of storages without URLs stay as they are", async () => {
  await upload("small", [randomBytes(100), randomBytes(100)]);
  expect(await server.core.compaction.pass(-1000)).toBe(0);
  for (const store of server.core.stores.values()) delete store.presign;
  await upload("large", [randomBytes(700_000), randomBytes(700_000)]);
  expect(await server.core.compaction.pass(-1000)).toBe(0);
});
