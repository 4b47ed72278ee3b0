import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { buildApp, defaultConfig, type Stowhouse } from "./app.ts";
import { Log } from "./http/log.ts";

const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close();
});

async function start(settings: object = {}): Promise<Stowhouse> {
  const data = mkdtempSync(join(tmpdir(), "stowhouse-app-"));
  closing.push(() => rmSync(data, { recursive: true, force: true }));
  const server = await buildApp(defaultConfig({ data, ...settings }), { log: new Log("silent") });
  closing.push(() => server.close());
  return server;
}

test("sessions live as long as the configuration says", async () => {
  const { app, identity } = await start({ auth: { sessionLifetime: "5m", maxSessionLifetime: "10m" } });
  const { key } = await identity.keys.create({ name: "ci", permission: "write" });
  const life = async (payload: object) => {
    const answer = await app.inject({ method: "POST", url: "/v1/auth/session", headers: { authorization: `Bearer ${key}` }, payload });
    return Math.round((Date.parse(answer.json().expires_at) - Date.now()) / 60_000);
  };
  expect(await life({})).toBe(5);
  expect(await life({ lifetime: 120 })).toBe(2);
  expect(await life({ lifetime: 21_600 })).toBe(10);
});
