import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { assertNamedScope, githubScope, isCacheName, isScope, SHARED_SCOPE } from "./scope.ts";

describe("a scope", () => {
  test("is a repository's ref or a name an administrator gives, and no text is both", () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.stringMatching(/^[a-z0-9]{1,5}:[a-zA-Z0-9/._-]{1,20}$/), fc.stringMatching(/^[0-9]{1,5}:refs\/[a-z/]{1,9}$/)), (text) => {
        const named = accepts(() => assertNamedScope(text));
        const colon = text.indexOf(":");
        const github = accepts(() => githubScope(text.slice(0, Math.max(colon, 0)), text.slice(colon + 1)));
        expect(named && github && colon >= 0).toBe(false);
        expect(isScope(text)).toBe(named || (github && colon >= 0));
      }),
      { numRuns: 1_000 },
    );
  });

  test.each(["refs/heads/main", "main", "", "*", "0:refs/heads/main", "01:refs/heads/main", "-1:refs/heads/main", "1:heads/main", "1:refs/", "1:refs/a b", "1:refs/a\n", "team", "Team:ci", "team:", ":ci", "1team:ci", `team:${"x".repeat(201)}`])("%j is none", (text) => {
    expect(isScope(text)).toBe(false);
  });

  test("differs between repositories with the same ref, however they are written", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 2 ** 40 }), fc.integer({ min: 1, max: 2 ** 40 }), fc.stringMatching(/^refs\/[!-~]{1,40}$/), fc.stringMatching(/^refs\/[!-~]{1,40}$/), (one, other, ref, otherRef) => {
        fc.pre(one !== other);
        expect(githubScope(one, ref)).not.toBe(githubScope(other, otherRef));
        expect(githubScope(one, ref)).toBe(githubScope(String(one), ref));
      }),
    );
  });

  test("that all share can't be given to anybody", () => {
    expect(isScope(SHARED_SCOPE)).toBe(false);
    expect(() => assertNamedScope(SHARED_SCOPE)).toThrow();
  });
});

test.each([["default", true], ["a", true], ["a-1", true], ["1", true], ["x".repeat(63), true], ["x".repeat(64), false], ["", false], ["-a", false], ["A", false], ["a.b", false], ["a/b", false], ["..", false]])("%j is the name of a cache: %s", (name, expected) => {
  expect(isCacheName(name)).toBe(expected);
});

function accepts(make: () => unknown): boolean {
  try {
    make();
    return true;
  } catch {
    return false;
  }
}
