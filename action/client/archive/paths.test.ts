import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { assertName, literalBase, outermost, PathError, rootName, rootPath, within } from "./paths.ts";

const places = { workspace: "/home/runner/work/repo", home: "/home/runner" };

describe("names of roots", () => {
  it.each([
    ["/home/runner/work/repo", "."],
    ["/home/runner/work/repo/node_modules", "./node_modules"],
    ["/home/runner/work/repo/~/odd", "./~/odd"],
    ["/home/runner/.cache/go-build", "~/.cache/go-build"],
    ["/home/runner", "~"],
    ["/home/runner-2/x", "/home/runner-2/x"],
    ["/opt/cache", "/opt/cache"],
  ])("%s is %s, and back", (path, name) => {
    expect(rootName(path, places)).toBe(name);
    expect(rootPath(name, places)).toBe(path);
  });

  it("lead to the same places of another machine", () => {
    expect(rootPath("./a/b", { workspace: "/w", home: "/h" })).toBe("/w/a/b");
    expect(rootPath("~/a", { workspace: "/w", home: "/h" })).toBe("/h/a");
  });

  it.each(["./..", "./a/../../b", "./", "./a//b", "./a/.", "~/../x", "relative", "", "/a/../b", "./a\0b", "../x", "/etc/"])("%j is refused", (name) => {
    expect(() => rootPath(name, places)).toThrow(PathError);
  });
});

it("a pattern allows what lies at or below its literal beginning", () => {
  const base = (pattern: string) => literalBase(pattern, places);
  expect(base("node_modules")).toBe(join(places.workspace, "node_modules"));
  expect(base("packages/*/node_modules")).toBe(join(places.workspace, "packages"));
  expect(base("**/target")).toBe(places.workspace);
  expect(base("~/.cache/{a,b}")).toBe("/home/runner/.cache");
  expect(base("/opt/x[12]")).toBe("/opt");
  expect([within("/a", "/a"), within("/a", "/a/b"), within("/a", "/ab"), within("/a", "/")]).toEqual(["", "b", undefined, undefined]);
});

it("paths in other paths are left out", () => {
  expect(outermost(["/b/c", "/a", "/b", "/a", "/b2"])).toEqual(["/a", "/b", "/b2"]);
});

it("names that Windows takes for others are refused there, and only there", () => {
  for (const name of ["a\\..\\b", "..\\x", "a:stream", "con", "d/NUL.txt", "d/com1/x", "trailing.", "trailing /x", "what?"]) {
    expect(() => assertName(name, true)).toThrow(PathError);
    expect(() => assertName(name, false)).not.toThrow();
  }
  for (const name of ["a.b", "dir/file.txt", "console", "d/nul2", ".hidden", "ünï", "[x] (1)"]) assertName(name, true);
});
