import { expect, test } from "vitest";
import { keyRights } from "./key-options.ts";

test.each([
  ["a scope that isn't a name", { scope: "1296269:refs/heads/main" }],
  ["a scope without a colon", { scope: "main" }],
  ["a bare ref to read", { reads: ["refs/heads/main"] }],
  ["the shared scope to read", { reads: ["*"] }],
  ["a cache in capitals", { caches: ["Team"] }],
  ["no cache", { caches: [] }],
  ["an expiry in the past", { expires: 1 }],
  ["a name with a line break", { name: "a\nb" }],
  ["a public key that writes", { public: true }],
  ["a public key with a scope", { public: true, permission: "read", scope: "team:ci" }],
  ["a public key with scopes to read", { public: true, permission: "read", reads: ["team:ci"] }],
] as const)("%s is refused", (_, options) => {
  expect(() => keyRights({ name: "k", permission: "write", ...options }, 10)).toThrow(expect.objectContaining({ code: "STOW_BAD_REQUEST" }));
});

test("a key that writes is trusted unless told otherwise, one that reads never is", () => {
  const trusted = (permission: "read" | "write", told?: boolean) => keyRights({ name: "k", permission, trusted: told }, 0).trusted;
  expect([trusted("write"), trusted("write", false), trusted("read"), trusted("read", true)]).toEqual([true, false, false, false]);
});
