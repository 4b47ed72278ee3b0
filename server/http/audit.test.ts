import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { buildApp, defaultConfig, type Stowhouse } from "../app.ts";

let data: string;
let server: Stowhouse;
beforeEach(async () => {
  data = mkdtempSync(join(tmpdir(), "audit-"));
  server = await buildApp(defaultConfig({ data, log: { level: "silent" }, auth: { adminKey: "an-admin-key", readKey: "a-read-key" } }));
});
afterEach(async () => {
  await server.close();
  rmSync(data, { recursive: true });
});

const ask = (url: string, key: string, remoteAddress: string) => server.app.inject({ url, remoteAddress, headers: { authorization: `Bearer ${key}` } });
async function lines() {
  await server.core.journal.flush();
  return (await server.core.database.scan("queryAudit", { limit: 100 })).map(({ actor, action, result, address }) => `${actor.replace(/-[0-9a-f]{8}$/, "")} ${action} ${result} ${address}`).toSorted();
}

test("a credential's use leaves one line for each address, however often it is used", async () => {
  for (let i = 0; i < 5; i++) await ask("/v1/auth/whoami", "a-read-key", "10.0.0.1");
  await ask("/v1/auth/whoami", "a-read-key", "10.0.0.2");
  expect(await lines()).toEqual(["key:config-read key.use ok 10.0.0.1", "key:config-read key.use ok 10.0.0.2"]);
});

test("refusals are recorded, but nobody fills the log with them", async () => {
  for (let i = 0; i < 50; i++) await ask("/v1/auth/whoami", `wrong-${i}`, "10.0.0.1");
  for (let i = 0; i < 5; i++) await ask("/v1/admin/keys", "a-read-key", "10.0.0.1");
  expect(await lines()).toEqual([
    "key:config-read admin.keys.list denied 10.0.0.1",
    "key:config-read key.use ok 10.0.0.1",
    "unknown auth.whoami denied 10.0.0.1",
  ]);
});

test("a refused exchange of an identity is recorded once, like every other refusal", async () => {
  for (let i = 0; i < 5; i++) await server.app.inject({ method: "POST", url: "/v1/auth/github", remoteAddress: "10.0.0.1", payload: { id_token: "x" } });
  expect(await lines()).toEqual(["unknown auth.github denied 10.0.0.1"]);
});
