import { afterAll, beforeAll, expect, test } from "vitest";
import { Metrics } from "./metrics.ts";
import { KEYS, startApp, type TestApp } from "../test/fixtures/app.ts";

let app: TestApp;
beforeAll(async () => void (app = await startApp({ caches: { second: {} } })));
afterAll(() => app.close());

const call = (method: "GET" | "PUT", url: string, key: string, payload?: string) =>
  app.app.inject({ method, url, headers: { authorization: `Bearer ${key}` }, ...(payload === undefined ? {} : { payload }) });

test("look-ups are counted for each cache and protocol", async () => {
  await call("PUT", "/plain/plain/there", KEYS.write, "body");
  await call("GET", "/plain/plain/there", KEYS.read);
  await call("GET", "/plain/plain/there", KEYS.read);
  await call("GET", "/plain/plain/away", KEYS.read);
  await call("GET", "/c/second/plain/plain/there", KEYS.admin);
  const text = await app.metrics.text();
  expect(text).toContain('stowhouse_lookups_total{cache="default",protocol="plain",result="hit"} 2');
  expect(text).toContain('stowhouse_lookups_total{cache="default",protocol="plain",result="miss"} 1');
  expect(text).toContain('stowhouse_lookups_total{cache="second",protocol="plain",result="miss"} 1');
});

test("refused requests are counted for the API key that sent them, and a key nobody knows has no name", async () => {
  await call("PUT", "/plain/plain/k", KEYS.read, "body");
  await call("GET", "/plain/plain/k", "stow_ro_nobody-knows-this-key");
  const text = await app.metrics.text();
  expect(text).toMatch(/stowhouse_refused_requests_total\{protocol="plain",key="key:config-read-[0-9a-f]{8}",result="denied"\} 1/);
  expect(text).toMatch(/stowhouse_refused_requests_total\{protocol="plain",key="unknown",result="denied"\} 1/);
  expect(text).not.toContain("nobody-knows");
});

test("the bytes of bodies are counted for each cache", async () => {
  const text = await app.metrics.text();
  expect(text).toContain('stowhouse_received_bytes_total{protocol="plain",op="put",cache="default"} 4');
  expect(text).toContain('stowhouse_sent_bytes_total{protocol="plain",op="get",cache="default"} 8');
});

test("keys beyond the first two hundred that are refused are counted together", () => {
  const metrics = new Metrics("1.2.3");
  for (let i = 0; i < 300; i++) metrics.refused("plain", `key:${i}`, "denied");
  metrics.refused("plain", "key:7", "denied");
  return expect(metrics.text()).resolves.toMatch(/key="key:7",result="denied"\} 2\n[^]*key="other",result="denied"\} 100\n/);
});

test("a storage on a disk has a size and free space", async () => {
  const text = await app.metrics.text();
  const value = (name: string) => Number(new RegExp(`^${name}\\{storage="default"\\} ([0-9.e+]+)$`, "m").exec(text)?.[1]);
  expect(value("stowhouse_storage_size_bytes")).toBeGreaterThan(value("stowhouse_storage_free_bytes"));
});
