import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { canonical, covers, digest } from "./json.ts";

describe("whether an object has all that would be applied", () => {
  test.each([
    [{ a: 1, b: 2 }, { a: 1 }, true],
    [{ a: { b: [1, 2] }, c: 3 }, { a: { b: [1, 2] } }, true],
    [{ a: [{ name: "x", more: 1 }] }, { a: [{ name: "x" }] }, true],
    [{ a: [1, 2] }, { a: [2, 1] }, false],
    [{ a: [1, 2, 3] }, { a: [1, 2] }, false],
    [{ a: "1" }, { a: 1 }, false],
    [{}, { a: undefined }, true],
    [{}, { a: null }, false],
    [undefined, { a: 1 }, false],
    [{ a: 1 }, { a: {} }, false],
  ])("%j has %j: %s", (observed, desired, expected) => expect(covers(observed, desired)).toBe(expected));

  test("everything has itself, and itself with more", () => {
    fc.assert(fc.property(fc.jsonValue(), (value) => {
      expect(covers(value, value)).toBe(true);
      expect(covers({ value, more: 1 }, { value })).toBe(true);
    }));
  });
});

test("the order of fields makes no difference, that of items does", () => {
  expect(canonical({ b: 1, a: [{ d: 1, c: 2 }] })).toBe('{"a":[{"c":2,"d":1}],"b":1}');
  expect(digest({ a: 1, b: 2 })).toBe(digest({ b: 2, a: 1 }));
  expect(digest([1, 2])).not.toBe(digest([2, 1]));
});
