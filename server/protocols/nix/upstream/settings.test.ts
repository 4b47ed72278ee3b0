import { expect, test } from "vitest";
import { defaultConfig } from "../../../app.ts";
import { upstreamSettings, type UpstreamChanges } from "../../../../test/fixtures/nix-upstream.ts";
import { proxyProblem, upstreamProblem, type ProxySettings } from "./settings.ts";

const proxy = (more: object = {}) => (defaultConfig({ protocols: { nix: { proxy: more } } }).protocols["nix"] as unknown as { proxy: ProxySettings }).proxy;

test("the defaults are fine, and need an upstream's URL and keys alone", () => {
  expect(proxyProblem(proxy())).toBeUndefined();
  const config = defaultConfig({ protocols: { nix: { caches: { default: { upstreams: { nixos: { url: "https://cache.nixos.org", trustedKeys: ["cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY="] } } } } } } });
  const { nixos } = (config.protocols["nix"] as unknown as { caches: Record<string, { upstreams: Record<string, Parameters<typeof upstreamProblem>[1]> }> }).caches["default"]!.upstreams;
  expect(upstreamProblem("x", nixos!)).toBeUndefined();
  expect(nixos).toMatchObject({ priority: 40, connectTimeout: 5_000, firstByteTimeout: 10_000, stallTimeout: 30_000, credentials: {} });
});

test.each<[UpstreamChanges, string]>([
  [{ credentials: { token: "t", netrc: "/n" } }, "x.credentials: expected at most one of token, password and netrc"],
  [{ credentials: { username: "u" } }, "x.credentials.username: needs password"],
  [{ connectTimeout: 0 }, "x.connectTimeout: expected a duration from 10ms to 1h"],
  [{ stallTimeout: 2 ** 31 }, "x.stallTimeout: expected a duration from 10ms to 1h"],
])("an upstream with %j", (more, problem) => {
  expect(upstreamProblem("x", upstreamSettings("http://127.0.0.1", more))).toBe(problem);
});

test.each([
  [{ hedge: "0" }, "protocols.nix.proxy.hedge: expected a duration from 1ms to 1m"],
  [{ missing: "2d" }, "protocols.nix.proxy.missing: expected a duration from 0 to 1d"],
  [{ pause: "1ms" }, "protocols.nix.proxy.pause: expected a duration from 100ms to 1h"],
  [{ spoolSize: "1KiB" }, "protocols.nix.proxy.spoolSize: expected a size of at least 1MiB"],
])("a proxy with %j", (more, problem) => {
  expect(proxyProblem(proxy(more))).toBe(problem);
});

test("an upstream without keys, or with a URL that carries a credential, is refused by the schema", () => {
  const upstream = (more: object) => () => defaultConfig({ protocols: { nix: { caches: { default: { upstreams: { a: { url: "http://127.0.0.1", trustedKeys: ["k:x"], ...more } } } } } } });
  expect(upstream({ trustedKeys: [] })).toThrow("protocols.nix.caches.default.upstreams.a.trustedKeys: expected 1 to 100 items");
  expect(upstream({ trustedKeys: undefined })).toThrow("trustedKeys: is missing");
  expect(upstream({ url: "https://u:p@cache.example.com" })).toThrow("upstreams.a.url");
});
