import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ADDRESS, BRANCH, CIDR, HTTP_URL, isLoopback, kindOf, NAME, ORIGIN, REFS, REPOSITORY, SCOPE, SECRET_KEYS, SIGNING_SECRETS } from "./kinds.ts";
import { DURATION, PERCENT, SIZE } from "./units.ts";

describe("addresses", () => {
  test.each([
    ["127.0.0.1:8420", { host: "127.0.0.1", port: 8420 }],
    ["localhost:0", { host: "localhost", port: 0 }],
    ["[::1]:443", { host: "::1", port: 443 }],
    [":8420", { host: "0.0.0.0", port: 8420 }],
  ])("%s is understood", (text, address) => expect(ADDRESS.parse(text)).toEqual(address));

  test.each(["8420", "127.0.0.1", "::1:80", "host:70000", "host:", "http://host:80", "[host]:80", "a b:1", 8420])("%j is refused", (text) => {
    expect(ADDRESS.parse(text)).toBeUndefined();
  });
});

describe("public URLs", () => {
  test("are reduced to their origin", () => {
    expect(ORIGIN.parse("https://Cache.example.com:443/")).toBe("https://cache.example.com");
    expect(ORIGIN.parse("http://10.0.0.1:8420")).toBe("http://10.0.0.1:8420");
  });

  test.each(["https://example.com/cache", "ftp://example.com", "https://user:pw@example.com", "example.com", "https://", "https://e.com?x=1"])(
    "%s is refused",
    (text) => expect(ORIGIN.parse(text)).toBeUndefined(),
  );
});

test.each([
  [NAME, "main-2", "Main"],
  [SCOPE, "1296269:refs/heads/main", "refs/heads/main"],
  [SCOPE, "team:ci", "*"],
  [REFS, "refs/heads/release/*", "refs/*/x"],
  [BRANCH, "release/1.x", "refs/heads/main"],
  [REPOSITORY, "acme/app", "app"],
  [CIDR, "10.0.0.0/8", "10.0.0.0/33"],
  [CIDR, "fd00::/8", "example.com"],
  [SECRET_KEYS, "0123456789abcdef", "with space 0123456"],
  [SECRET_KEYS, "first-key-1\nsecond-key", "first-key-1\n\nshort"],
  [SIGNING_SECRETS, `${"a".repeat(32)}\n${"b".repeat(32)}`, "a".repeat(31)],
  [HTTP_URL, "https://token.example.com/slug", "https://a:b@example.com/"],
])("$0.type: %s", (kind, right, wrong) => {
  expect(kind.parse(right)).toBe(right);
  expect(kind.parse(wrong)).toBeUndefined();
  expect(new RegExp(kind.pattern, "u").test(right)).toBe(true);
});

test("a kind is known again by its pattern alone", () => {
  expect(kindOf(JSON.parse(JSON.stringify({ pattern: ADDRESS.pattern })))).toBe(ADDRESS);
  expect(kindOf({})).toBeUndefined();
});

test("no value makes a kind throw", () => {
  fc.assert(
    fc.property(fc.oneof(fc.anything(), fc.constant({ toString: 0 }), fc.string({ unit: "binary" }), fc.stringMatching(/^https?:\/\/[!-~]{0,20}$/), fc.stringMatching(/^[0-9a-f:.[\]/]{0,20}$/)), (value) => {
      for (const kind of [SIZE, DURATION, PERCENT, ADDRESS, ORIGIN, HTTP_URL, NAME, SCOPE, REFS, CIDR]) kind.parse(value);
    }),
  );
});

test("loopback is this machine and nothing that only looks like it", () => {
  expect(["127.0.0.1", "127.8.9.10", "::1", "localhost"].every(isLoopback)).toBe(true);
  expect(["0.0.0.0", "::", "localhost.example.com", "127.0.0.1.nip.io", "10.0.0.1", ""].some(isLoopback)).toBe(false);
});
