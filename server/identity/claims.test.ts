import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { pullClaims, pushClaims } from "../../test/fixtures/issuer.ts";
import { formatAccess, parseAccess } from "./access.ts";
import { limitTo, oidcIdentity, runtimeIdentity } from "./claims.ts";
import { decide, type Decision, type Rule } from "./rules.ts";

const rule: Rule = { repositoryId: 1296269, cache: "default", defaultBranch: "main", trustedRefs: ["refs/heads/main"] };
const push = pushClaims("https://token.actions.githubusercontent.com");
const invalid = expect.objectContaining({ code: "STOW_TOKEN_INVALID" });

describe("an OIDC id token", () => {
  test("speaks for its repository, ref and event", () => {
    expect(oidcIdentity(push)).toEqual({
      repositoryId: "1296269", ownerId: "9919", repository: "acme/app", event: "push", ref: "refs/heads/main", bases: [], run: "9876543210",
    });
  });

  test("of a pull request names its base", () => {
    expect(oidcIdentity({ ...push, ...pullClaims, base_ref: "release/1" })).toMatchObject({ ref: "refs/pull/7/merge", bases: ["refs/heads/release/1"] });
  });

  test("of a merge queue has its base in the branch's name", () => {
    const ref = "refs/heads/gh-readonly-queue/release/1/pr-104-79fdb1a5b5e4";
    const identity = oidcIdentity({ ...push, event_name: "merge_group", ref });
    expect(decide(identity, [rule])).toMatchObject({ write: `1296269:${ref}`, read: [`1296269:${ref}`, "1296269:refs/heads/release/1", "1296269:refs/heads/main"], trusted: false });
  });

  test("never has its sub looked at", () => {
    expect(oidcIdentity({ ...push, sub: "repo:other/repository:ref:refs/heads/main" })).toEqual(oidcIdentity(push));
  });

  test.each(["repository_id", "event_name", "ref", "run_id"])("without %s is refused", (claim) => {
    expect(() => oidcIdentity({ ...push, [claim]: undefined })).toThrow(invalid);
  });

  test.each([
    ["a repository id that is a name", { repository_id: "acme" }],
    ["a repository id with a colon", { repository_id: "1:refs" }],
    ["a repository id as list", { repository_id: ["1296269"] }],
    ["an event as object", { event_name: {} }],
    ["a bare ref", { ref: "main" }],
    ["a ref with a line break", { ref: "refs/heads/a\nb" }],
    ["a base with a space", { base_ref: "a b" }],
    ["a run id that is no number", { run_id: "1.x" }],
  ])("with %s is refused", (_, change) => {
    expect(() => oidcIdentity({ ...push, ...change })).toThrow(invalid);
  });
});

describe("the claim ac", () => {
  test("gives each ref exactly its bits: none, read, write, both", () => {
    const text = JSON.stringify([0, 1, 2, 3].map((Permission) => ({ Scope: `refs/heads/${Permission}`, Permission })));
    expect(parseAccess(text).map(({ read, write }) => [read, write])).toEqual([[false, false], [true, false], [false, true], [true, true]]);
  });

  test.each([
    undefined, 7, [], "", "null", "{}", "[null]", "[1]", '[{"Scope":"refs/heads/main"}]', '[{"Permission":3}]', '[{"Scope":"main","Permission":3}]', '[{"Scope":"refs/heads/main","Permission":"3"}]',
    '[{"Scope":"refs/heads/main","Permission":4}]', '[{"Scope":"refs/heads/main","Permission":-1}]', '[{"Scope":"refs/heads/main","Permission":1.5}]',
    JSON.stringify(Array.from({ length: 33 }, () => ({ Scope: "refs/heads/main", Permission: 1 }))), `[${" ".repeat(20_000)}]`,
  ])("%j is refused", (claim) => {
    expect(() => parseAccess(claim)).toThrow(invalid);
  });

  test("any text is refused or parsed", () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
        try {
          return Array.isArray(parseAccess(text));
        } catch (error) {
          return (error as { code: string }).code === "STOW_TOKEN_INVALID";
        }
      }),
    );
  });

  test("of ours is understood by the same rules", () => {
    expect(parseAccess(formatAccess(["1:refs/heads/x", "1:refs/heads/main"], "1:refs/heads/x"))).toEqual([
      { ref: "refs/heads/x", read: true, write: true },
      { ref: "refs/heads/main", read: true, write: false },
    ]);
  });
});

describe("a runtime token", () => {
  const runtime = { repository_id: "1296269" };
  type Item = readonly [ref: string, permission: number];

  function decided(items: readonly Item[], claims: Record<string, unknown> = {}): Decision {
    const access = parseAccess(JSON.stringify(items.map(([Scope, Permission]) => ({ Scope, Permission }))));
    const identity = runtimeIdentity({ ...runtime, ...claims }, access);
    const decision = decide(identity, [rule]);
    if ("refused" in decision) throw new Error(decision.refused);
    return limitTo(decision, identity, access);
  }

  test("of a pull request, also a fork's, writes its merge ref and reads its base and the default branch", () => {
    expect(decided([["refs/pull/7/merge", 3], ["refs/heads/release", 1], ["refs/heads/main", 1]])).toEqual({
      cache: "default", write: "1296269:refs/pull/7/merge", trusted: false,
      read: ["1296269:refs/pull/7/merge", "1296269:refs/heads/release", "1296269:refs/heads/main"],
    });
  });

  test("that doesn't name its event writes no branch: it might be an event anyone can start", () => {
    expect(decided([["refs/heads/main", 3]])).toEqual({ cache: "default", read: ["1296269:refs/heads/main"], write: null, trusted: false });
  });

  test("that names an allowed event writes its branch", () => {
    expect(decided([["refs/heads/main", 3]], { event_name: "push", ref: "refs/heads/main" })).toMatchObject({ write: "1296269:refs/heads/main", trusted: true });
    expect(decided([["refs/heads/main", 3]], { event_name: "issue_comment", ref: "refs/heads/main" }).write).toBeNull();
  });

  test("reads nothing when it may only write", () => {
    expect(decided([["refs/pull/7/merge", 2]])).toMatchObject({ read: [], write: "1296269:refs/pull/7/merge" });
  });

  test("writes nothing when it may only read, and gets nothing from a permission of 0", () => {
    expect(decided([["refs/pull/7/merge", 1], ["refs/heads/main", 0]])).toMatchObject({ read: ["1296269:refs/pull/7/merge"], write: null });
    expect(decided([["refs/heads/main", 0]])).toMatchObject({ read: [], write: null });
  });

  test("that may only read on a trusted ref isn't trusted", () => {
    expect(decided([["refs/heads/main", 1]], { event_name: "push", ref: "refs/heads/main" })).toMatchObject({ write: null, trusted: false });
  });

  test("without repository or any scope is refused", () => {
    expect(() => runtimeIdentity({}, [])).toThrow(invalid);
    expect(() => runtimeIdentity(runtime, [])).toThrow(invalid);
  });

  test("never gets more than its ac and the rule both allow", () => {
    const ref = fc.constantFrom("refs/heads/main", "refs/heads/feature", "refs/pull/7/merge", "refs/pull/8/merge", "refs/tags/v1");
    const item = fc.tuple(ref, fc.integer({ min: 0, max: 3 }));
    const claims = fc.record({ event_name: fc.constantFrom("push", "pull_request", "workflow_run"), ref, base_ref: fc.constantFrom("", "main", "feature") }, { requiredKeys: [] });
    fc.assert(
      fc.property(fc.array(item, { minLength: 1, maxLength: 5 }), claims, (items, stated) => {
        const { read, write, trusted } = decided(items, stated);
        const may = (scope: string, bit: number) => items.some(([name, bits]) => scope === `1296269:${name}` && (bits & bit) !== 0);
        expect(read.every((scope) => may(scope, 1))).toBe(true);
        expect(write === null || may(write, 2)).toBe(true);
        if (stated.event_name === "workflow_run") expect(write).toBeNull();
        if (stated.event_name !== "push") expect(trusted).toBe(false);
      }),
    );
  });
});
