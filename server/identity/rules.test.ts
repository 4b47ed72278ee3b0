import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { checkRules, decide, type Decision, type GithubIdentity, type Rule } from "./rules.ts";

const rule: Rule = { repositoryId: 1296269, cache: "default", defaultBranch: "main", trustedRefs: ["refs/heads/main", "refs/tags/v*"] };
const push: GithubIdentity = { repositoryId: "1296269", ownerId: "9919", repository: "acme/app", event: "push", ref: "refs/heads/main", bases: [], run: "1" };
const pull: GithubIdentity = { ...push, event: "pull_request", ref: "refs/pull/7/merge", bases: ["refs/heads/main"] };

function decided(identity: GithubIdentity, rules: readonly Rule[] = [rule]): Decision {
  const decision = decide(identity, rules);
  if ("refused" in decision) throw new Error(decision.refused);
  return decision;
}

describe("who is let in", () => {
  test("nobody, when there are no rules", () => {
    expect(decide(push, [])).toHaveProperty("refused");
  });

  test("nobody that no rule names", () => {
    expect(decide({ ...push, repositoryId: "12962690" }, [rule])).toEqual({ refused: expect.stringContaining("12962690") });
  });

  test("a repository named by its id, as number or text", () => {
    expect(decided(push).cache).toBe("default");
    expect(decided(push, [{ ...rule, repositoryId: "1296269" }]).cache).toBe("default");
  });

  test("all repositories of an owner named by its id", () => {
    const owners: Rule = { ...rule, repositoryId: undefined, repositoryOwnerId: 9919 };
    expect(decided({ ...push, repositoryId: "5" }, [owners]).write).toBe("5:refs/heads/main");
    expect(decide({ ...push, ownerId: "9918" }, [owners])).toHaveProperty("refused");
    expect(decide({ ...push, ownerId: null }, [owners])).toHaveProperty("refused");
  });

  test("a rule with both ids needs both, and a name beside an id is checked too", () => {
    expect(decide({ ...push, ownerId: "1" }, [{ ...rule, repositoryOwnerId: 9919 }])).toHaveProperty("refused");
    expect(decide({ ...push, repository: "mallory/app" }, [{ ...rule, repository: "acme/app" }])).toHaveProperty("refused");
    expect(decide({ ...push, repository: null }, [{ ...rule, repository: "acme/app" }])).toHaveProperty("refused");
    expect(decided({ ...push, repository: "Acme/App" }, [{ ...rule, repository: "acme/app" }]).cache).toBe("default");
  });

  test("nobody by name alone: somebody else may get the name", () => {
    expect(decide(push, [{ ...rule, repositoryId: undefined, repository: "acme/app" }])).toHaveProperty("refused");
  });

  test("the first rule that matches decides", () => {
    const special: Rule = { ...rule, cache: "special" };
    expect(decided(push, [{ ...rule, repositoryId: 7 }, special, rule]).cache).toBe("special");
  });
});

describe("what is written", () => {
  test.each(["push", "schedule", "workflow_dispatch", "merge_group", "release"])("%s writes its own ref", (event) => {
    expect(decided({ ...push, event, ref: "refs/heads/feature" })).toMatchObject({ write: "1296269:refs/heads/feature", trusted: false });
  });

  test("a pull request writes its own merge ref and is never trusted", () => {
    expect(decided(pull)).toMatchObject({ write: "1296269:refs/pull/7/merge", trusted: false });
    expect(decided(pull, [{ ...rule, trustedRefs: ["refs/*"] }]).trusted).toBe(false);
  });

  test.each(["refs/heads/main", "refs/pull/7/head", "refs/pull/7/merge/x", "refs/pull/x/merge", "refs/heads/refs/pull/7/merge"])("a pull request that claims %s writes nothing", (ref) => {
    expect(decided({ ...pull, ref }).write).toBeNull();
  });

  test("a push to something that is neither branch nor tag writes nothing", () => {
    expect(decided({ ...push, ref: "refs/pull/7/merge" }).write).toBeNull();
    expect(decided({ ...push, ref: "refs/notes/x" }).write).toBeNull();
  });

  test.each(["pull_request_target", "issue_comment", "workflow_run", "issues", "repository_dispatch", "fork", "watch", "create", "delete", "deployment", "PUSH", "push ", ""])(
    "the event %j only reads, also on a trusted ref",
    (event) => {
      expect(decided({ ...push, event })).toMatchObject({ write: null, trusted: false, read: ["1296269:refs/heads/main"] });
    },
  );

  test("every event outside the allow-list only reads", () => {
    fc.assert(
      fc.property(fc.string(), (event) => {
        fc.pre(!["push", "schedule", "workflow_dispatch", "merge_group", "release", "pull_request"].includes(event));
        return decided({ ...push, event }).write === null;
      }),
    );
  });

  test("a trusted ref is trusted, exactly or by the beginning a * stands after", () => {
    expect(decided(push).trusted).toBe(true);
    expect(decided({ ...push, ref: "refs/heads/main2" }).trusted).toBe(false);
    expect(decided({ ...push, ref: "refs/heads/Main" }).trusted).toBe(false);
    expect(decided({ ...push, event: "release", ref: "refs/tags/v1.2.3" })).toMatchObject({ write: "1296269:refs/tags/v1.2.3", trusted: true });
    expect(decided({ ...push, ref: "refs/tags/w1" }).trusted).toBe(false);
  });
});

describe("what is read", () => {
  test("own, then base, then default", () => {
    expect(decided({ ...pull, bases: ["refs/heads/release"] }).read).toEqual(["1296269:refs/pull/7/merge", "1296269:refs/heads/release", "1296269:refs/heads/main"]);
  });

  test("no scope twice", () => {
    expect(decided(push).read).toEqual(["1296269:refs/heads/main"]);
    expect(decided(pull).read).toEqual(["1296269:refs/pull/7/merge", "1296269:refs/heads/main"]);
  });

  test("a branch never reads a pull request's scope", () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[a-z/]{1,20}$/), fc.constantFrom("push", "workflow_dispatch", "pull_request_target"), (branch, event) =>
        decided({ ...push, event, ref: `refs/heads/${branch}` }).read.every((scope) => !scope.startsWith("1296269:refs/pull/")),
      ),
    );
  });

  test("a ref that can't be a scope is an error", () => {
    expect(() => decide({ ...push, ref: "main" }, [rule])).toThrow();
    expect(() => decide({ ...push, ref: "refs/heads/a b" }, [rule])).toThrow();
  });
});

describe("a shared scope", () => {
  const shared: Rule = { ...rule, repositoryId: undefined, repositoryOwnerId: 9919, sharedScope: "team:ci" };

  test("is written by trusted refs instead of their own", () => {
    expect(decided(push, [shared])).toMatchObject({ write: "team:ci", trusted: true, read: ["1296269:refs/heads/main", "team:ci"] });
  });

  test("is read last by all, and never written by a pull request, another branch or another event", () => {
    for (const identity of [pull, { ...push, ref: "refs/heads/feature" }, { ...push, event: "workflow_run" }]) {
      const { read, write } = decided(identity, [shared]);
      expect(read.at(-1)).toBe("team:ci");
      expect(write).not.toBe("team:ci");
    }
  });
});

test("two repositories share no scope unless a rule names one for both", () => {
  const id = fc.constantFrom("1", "2", "12", "1296269");
  const ref = fc.constantFrom("refs/heads/main", "refs/heads/feature", "refs/pull/1/merge", "refs/tags/v1");
  const identity = fc.record({
    repositoryId: id, ownerId: fc.constantFrom("9919", "7", null), repository: fc.constantFrom("acme/app", "acme/lib", null),
    event: fc.constantFrom("push", "pull_request", "merge_group", "issue_comment"), ref, bases: fc.array(ref, { maxLength: 2 }), run: fc.constant("1"),
  });
  const rules = fc.array(
    fc.record({
      repositoryId: fc.option(id, { nil: undefined }), repositoryOwnerId: fc.option(fc.constantFrom(9919, 7), { nil: undefined }), cache: fc.constant("default"),
      defaultBranch: fc.constantFrom("main", "trunk"), trustedRefs: fc.constantFrom([], ["refs/heads/main"], ["refs/*"]), sharedScope: fc.constantFrom(undefined, undefined, "team:a", "team:b"),
    }),
    { maxLength: 4 },
  );
  fc.assert(
    fc.property(identity, identity, rules, (one, other, list) => {
      fc.pre(one.repositoryId !== other.repositoryId);
      const [a, b] = [decide(one, list), decide(other, list)];
      if ("refused" in a || "refused" in b) return;
      const scopes = (decision: Decision) => [...decision.read, ...(decision.write === null ? [] : [decision.write])];
      const named = new Set<string | undefined>(list.map((item) => item.sharedScope));
      const common = scopes(a).filter((scope) => scopes(b).includes(scope));
      expect(common.every((scope) => named.has(scope))).toBe(true);
      for (const [who, decision] of [[one, a], [other, b]] as const) {
        const own = scopes(decision).filter((scope) => !named.has(scope));
        expect(own.every((scope) => scope.startsWith(`${who.repositoryId}:`))).toBe(true);
      }
    }),
  );
});

describe("the configuration", () => {
  test("of the design is accepted", () => {
    expect(() => checkRules([rule, { ...rule, repository: "acme/app", repositoryOwnerId: "9919", sharedScope: "team:ci" }])).not.toThrow();
  });

  test.each([
    ["a name without an id", { repositoryId: undefined, repository: "acme/app" }, "rules[0].repositoryId"],
    ["an id that is no number", { repositoryId: "acme" }, "rules[0].repositoryId"],
    ["an id too large for a number", { repositoryId: 2 ** 60 }, "rules[0].repositoryId"],
    ["a repository without an owner", { repository: "app" }, "rules[0].repository"],
    ["a cache in capitals", { cache: "Default" }, "rules[0].cache"],
    ["a default branch given as a ref", { defaultBranch: "refs/heads/main" }, "rules[0].defaultBranch"],
    ["an empty default branch", { defaultBranch: "" }, "rules[0].defaultBranch"],
    ["a trusted branch that is no ref", { trustedRefs: ["main"] }, "rules[0].trustedRefs"],
    ["a * in the middle of a ref", { trustedRefs: ["refs/*/main"] }, "rules[0].trustedRefs"],
    ["a ref as shared scope", { sharedScope: "1296269:refs/heads/main" }, "rules[0].sharedScope"],
  ])("with %s is refused with the field's path", (_, change, path) => {
    expect(() => checkRules([{ ...rule, ...change }])).toThrow(path);
  });
});
