import { describe, expect, test } from "vitest";
import { cacheKey, cacheServer } from "../testing/stored.ts";
import { judge } from "./access.ts";

const LABELS = { "kubernetes.io/metadata.name": "apps", team: "mobile" };

function ask(access: object[], spec: object = {}, labels: Record<string, string> = LABELS): string {
  const answer = judge(cacheServer({ access }), cacheKey({ serverRef: { name: "cache", namespace: "ci" }, ...spec }, { namespace: labels["kubernetes.io/metadata.name"]! }), labels);
  return "reason" in answer ? answer.reason : `allowed${answer.lifetime === undefined ? "" : ` for ${answer.lifetime} ms`}`;
}

const RULE = { namespaceSelector: { matchLabels: { team: "mobile" } }, caches: ["mobile"], permissions: ["write"], scopes: ["team:*"], maxTTL: "30d" };
const REQUEST = { caches: ["mobile"], permission: "write", scope: "team:mobile", expiresAfter: "7d" };

describe("without access", () => {
  const own = { "kubernetes.io/metadata.name": "ci" };

  test("the server's own namespace reads the default scope of any cache", () => {
    expect(ask([], {}, own)).toBe("allowed");
    expect(ask([], { caches: ["other", "*"] }, own)).toBe("allowed");
  });

  test.each([
    ["another namespace", {}, LABELS, "NamespaceNotAllowed"],
    ["writing", { permission: "write" }, own, "PermissionNotAllowed"],
    ["a scope", { scope: "team:ci" }, own, "ScopeNotAllowed"],
    ["reading a scope", { readScopes: ["1296269:refs/heads/main"] }, own, "ScopeNotAllowed"],
  ])("%s is refused", (_, spec, labels, reason) => expect(ask([], spec, labels)).toBe(reason));
});

describe("with access", () => {
  test("what one entry allows as a whole is allowed, for as long as it says", () => expect(ask([RULE], REQUEST)).toBe(`allowed for ${30 * 86_400_000} ms`));

  test.each([
    ["another namespace", { ...LABELS, team: "web" }, {}, "NamespaceNotAllowed"],
    ["another cache", LABELS, { caches: ["mobile", "default"] }, "CacheNotAllowed"],
    ["all caches", LABELS, { caches: ["*"] }, "CacheNotAllowed"],
    ["another scope", LABELS, { scope: "team2:x" }, "ScopeNotAllowed"],
    ["reading another scope", LABELS, { readScopes: ["team:a", "local:main"] }, "ScopeNotAllowed"],
    ["no end", LABELS, { expiresAfter: undefined }, "LifetimeNotAllowed"],
    ["a later end", LABELS, { expiresAfter: "31d" }, "LifetimeNotAllowed"],
    ["rotation whose overlap is beyond it", LABELS, { expiresAfter: undefined, rotation: { every: "30d", overlap: "1d" } }, "LifetimeNotAllowed"],
  ])("%s is refused", (_, labels, change, reason) => expect(ask([RULE], { ...REQUEST, ...change }, labels)).toBe(reason));

  test("rotation within it needs no end", () => expect(ask([RULE], { ...REQUEST, expiresAfter: undefined, rotation: { every: "29d", overlap: "1d" } })).toMatch(/^allowed/));
  test("write includes read", () => expect(ask([RULE], { ...REQUEST, permission: "read" })).toMatch(/^allowed/));
  test("read doesn't include write", () => expect(ask([{ ...RULE, permissions: ["read"] }], REQUEST)).toBe("PermissionNotAllowed"));
  test("the server's own namespace has no rights of its own any more", () => expect(ask([RULE], {}, { "kubernetes.io/metadata.name": "ci" })).toBe("NamespaceNotAllowed"));

  test("two entries don't add up to what neither allows", () => {
    const rules = [{ ...RULE, permissions: ["read"] }, { ...RULE, caches: ["other"] }];
    expect(ask(rules, REQUEST)).toBe("PermissionNotAllowed");
  });

  test("an empty selector selects every namespace, an unknown operator none", () => {
    expect(ask([{ ...RULE, namespaceSelector: {} }], REQUEST, { "kubernetes.io/metadata.name": "x" })).toMatch(/^allowed/);
    expect(ask([{ ...RULE, namespaceSelector: { matchExpressions: [{ key: "team", operator: "Gt", values: ["a"] }] } }], REQUEST)).toBe("NamespaceNotAllowed");
  });

  test.each([
    ["In", ["mobile", "web"], true], ["In", ["web"], false], ["NotIn", ["web"], true], ["NotIn", ["mobile"], false], ["Exists", undefined, true], ["DoesNotExist", undefined, false],
  ])("%s %j", (operator, values, allowed) => {
    const namespaceSelector = { matchExpressions: [{ key: "team", operator, ...(values && { values }) }] };
    expect(ask([{ ...RULE, namespaceSelector }], REQUEST).startsWith("allowed")).toBe(allowed);
  });
});
