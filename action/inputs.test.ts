import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { archiveInputs, InputError, serverInputs, setupInputs, transferInputs } from "./inputs.ts";

const given = (values: Record<string, string>) => (name: string) => values[name] ?? "";

describe("set-up", () => {
  test("needs nothing: without a server nothing is cached, and nothing fails", () => {
    expect(setupInputs(given({}))).toEqual({
      servers: [], auth: "auto", audience: undefined, key: undefined, readKey: undefined, mode: "auto", timeout: 600_000, concurrency: undefined, fallback: "github", failOnError: false,
      tools: "auto", daemon: true, listen: undefined, intercept: false, archive: undefined, saveOnFailure: false, jobStatus: "", summary: "always", metricsUrl: undefined,
    });
  });

  test("takes several servers, by priority", () => {
    expect(serverInputs(given({ server: "https://a.example/, http://b.example:8420/c/team\nhttps://c.example" }), "key").servers).toEqual(["https://a.example", "http://b.example:8420/c/team", "https://c.example"]);
  });

  test("takes a list of tools, or none", () => {
    expect([setupInputs(given({ tools: "gha, sccache" })).tools, setupInputs(given({ tools: "none" })).tools]).toEqual([["gha", "sccache"], []]);
  });

  test.each<[string, Record<string, string>, RegExp]>([
    ["a server that is no URL", { server: "cache.example.com" }, /^server: expected a URL like https/],
    ["a server of another scheme", { server: "ftp://cache.example.com" }, /^server: expected a URL like https/],
    ["a key in the URL", { server: "https://x:stow_rw_1@cache.example.com" }, /^server: expected a URL without credentials/],
    ["an unknown credential", { auth: "password" }, /^auth: expected auto, oidc, key, runtime-token or anonymous, not "password"/],
    ["an unknown mode", { mode: "readonly" }, /^mode: expected /],
    ["an unknown tool", { tools: "gha make" }, /^tools: expected gha, sccache, docker, nip, go or nix, not "make"/],
    ["a switch that is neither", { daemon: "yes" }, /^daemon: expected on or off, not "yes"/],
    ["a path without a key", { path: "deps" }, /^path and cache-key: expected both or neither/],
    ["a key without a path", { "cache-key": "k" }, /^path and cache-key: expected both or neither/],
    ["a time without a number", { timeout: "soon" }, /^timeout: expected a time like 90s or 10m/],
    ["no time at all", { timeout: "0" }, /^timeout: expected a time/],
    ["too many transfers", { concurrency: "1000" }, /^concurrency: expected a number from 1 to 64/],
  ])("refuses %s, and says what was expected", (_, values, message) => {
    const attempt = () => setupInputs(given(values));
    expect(attempt).toThrow(InputError);
    expect(attempt).toThrow(message);
  });

  test("times are seconds, or in units", () => {
    const timeout = (value: string) => transferInputs(given({ timeout: value })).timeout;
    expect([timeout("90"), timeout("90s"), timeout("10m"), timeout("2 h")]).toEqual([90_000, 90_000, 600_000, 7_200_000]);
  });

  test("whatever is given, the answer is inputs or an InputError", () => {
    const name = fc.constantFrom("server", "auth", "mode", "tools", "daemon", "path", "cache-key", "restore-keys", "timeout", "concurrency", "summary", "metrics-url");
    fc.assert(fc.property(fc.dictionary(name, fc.oneof(fc.string(), fc.webUrl(), fc.constant("on"))), (values) => {
      try {
        setupInputs(given(values));
      } catch (error) {
        expect(error).toBeInstanceOf(InputError);
      }
    }));
  });
});

describe("what actions/cache takes", () => {
  const inputs = (values: Record<string, string>, key = "k") => archiveInputs(given({ path: "deps", ...values }), key);

  test("is read as leniently", () => {
    expect(inputs({ path: " a \n\n! b\n", "restore-keys": "x-\n  y-\n", "lookup-only": "TRUE", "fail-on-cache-miss": "yes" })).toEqual({
      paths: ["a", "!b"], key: "k", restoreKeys: ["x-", "y-"], crossOs: false, lookupOnly: true, failOnMiss: false,
    });
  });

  test("is refused in its words", () => {
    expect(() => inputs({ path: "" })).toThrow("Input required and not supplied: path");
    expect(() => inputs({}, "")).toThrow("Input required and not supplied: key");
    expect(() => inputs({}, "a,b")).toThrow("Key Validation Error: a,b cannot contain commas.");
    expect(() => inputs({}, "x".repeat(513))).toThrow("cannot be larger than 512 characters.");
    expect(() => inputs({ "restore-keys": Array.from({ length: 10 }, (_, i) => `k${i}`).join("\n") })).toThrow("Key Validation Error: Keys are limited to a maximum of 10.");
  });
});
