import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { buildApp, defaultConfig, type Stowhouse } from "./app.ts";
import { firstKeys } from "./first-keys.ts";

let data: string;
let server: Stowhouse;
const open = async (auth = {}) => {
  const config = defaultConfig({ data, auth, log: { level: "silent" } });
  server = await buildApp(config);
  return firstKeys(server, config);
};
beforeEach(() => void (data = mkdtempSync(join(tmpdir(), "first-keys-"))));
afterEach(async () => {
  await server.close();
  rmSync(data, { recursive: true });
});

test("a first start makes three keys, keeps them for the owner alone, and later ones make none", async () => {
  const keys = (await open())!;
  expect(readFileSync(join(data, "keys.env"), "utf8")).toBe(`STOWHOUSE_ADMIN_KEY=${keys.admin}\nSTOWHOUSE_WRITE_KEY=${keys.write}\nSTOWHOUSE_READ_KEY=${keys.read}\n`);
  expect(statSync(join(data, "keys.env")).mode & 0o777).toBe(0o600);
  await server.close();
  expect(await open()).toBeUndefined();
});

test("a first start that ended before it wrote the file is made up for, and its unseen keys are revoked", async () => {
  const unseen = (await open())!;
  rmSync(join(data, "keys.env"));
  await server.close();
  const keys = (await open())!;
  const whoami = async (key: string) => (await server.app.inject({ url: "/v1/auth/whoami", headers: { authorization: `Bearer ${key}` } })).statusCode;
  expect(await whoami(keys.write)).toBe(200);
  expect(await whoami(unseen.write)).toBe(401);
});

test("keys somebody has used are never replaced, whether the file is there or not", async () => {
  const keys = (await open())!;
  await server.app.inject({ url: "/v1/auth/whoami", headers: { authorization: `Bearer ${keys.read}` } });
  rmSync(join(data, "keys.env"));
  await server.close();
  expect(await open()).toBeUndefined();
});

test("keys of the configuration make first ones needless", async () => {
  expect(await open({ writeKey: "a-fixed-write-key" })).toBeUndefined();
});
