import { describe, expect, test } from "vitest";
import { both, modeOf, rightsOf, situationOf } from "./event.ts";
import type { Payload } from "./toolkit.ts";

const env = (event: string, more: Record<string, string> = {}) => ({ GITHUB_EVENT_NAME: event, GITHUB_REPOSITORY: "acme/app", GITHUB_ACTOR: "octocat", ...more });
const pull = (head: object | null, login = "octocat"): Payload => ({ pull_request: { head: { repo: head as never }, user: { login } } });

describe("a job is a fork's", () => {
  test.each<[string, Payload, Record<string, string>, RegExp | undefined]>([
    ["not when the branch is the repository's own", pull({ full_name: "Acme/App" }), {}, undefined],
    ["not when the repository itself is a fork of another", pull({ full_name: "acme/app", fork: true }), {}, undefined],
    ["when the branch is another's", pull({ full_name: "mallory/app" }), {}, /from the fork mallory\/app/],
    ["when the fork is gone", pull(null), {}, /is gone/],
    ["when Dependabot acts", pull({ full_name: "acme/app" }), { GITHUB_ACTOR: "dependabot[bot]" }, /Dependabot/],
    ["when somebody runs Dependabot's job again", pull({ full_name: "acme/app" }, "dependabot[bot]"), {}, /Dependabot/],
    ["not without a pull request", {}, {}, undefined],
  ])("%s", (_, payload, more, reason) => {
    const { fork } = situationOf(env("pull_request", more), payload);
    if (reason) expect(fork).toMatch(reason);
    else expect(fork).toBeUndefined();
  });
});

test("a key writes only where nobody else's change runs", () => {
  const may = (event: string) => situationOf(env(event), {}).keyMayWrite;
  expect(["push", "schedule", "workflow_dispatch", "merge_group", "release"].map(may)).toEqual([true, true, true, true, true]);
  expect(["pull_request", "pull_request_target", "pull_request_review", "issue_comment", "workflow_run", "repository_dispatch", ""].some(may)).toBe(false);
  expect(situationOf(env("push", { GITHUB_ACTOR: "dependabot[bot]" }), {}).keyMayWrite).toBe(false);
});

test("rights only ever shrink", () => {
  const modes = ["read", "write", "write-only", "off"] as const;
  for (const one of modes) for (const other of modes) {
    const { read, write } = both(rightsOf(one), rightsOf(other));
    expect(Number(read) <= Number(rightsOf(one).read) && Number(write) <= Number(rightsOf(other).write)).toBe(true);
  }
  expect(modes.map((mode) => modeOf(rightsOf(mode)))).toEqual(modes);
  expect(modeOf(rightsOf("auto"))).toBe("write");
});

test("cache-mode is read as the toolkit reads it", () => {
  const mode = (value?: string) => modeOf(situationOf(env("push", value === undefined ? {} : { ACTIONS_CACHE_MODE: value }), {}).cacheMode);
  expect([mode("none"), mode("read"), mode("write"), mode("write-only"), mode(), mode("something new")]).toEqual(["off", "read", "write", "write-only", "write", "write"]);
});
