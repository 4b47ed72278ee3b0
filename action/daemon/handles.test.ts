import fc from "fast-check";
import { expect, test } from "vitest";
import { mark, unmark } from "./handles.ts";

test("a handle of several servers says whose it is, and is its own again", () => {
  const handles = fc.oneof(fc.integer({ min: 0, max: 2 ** 48 - 1 }), fc.stringMatching(/^[A-Za-z0-9_-]{1,40}$/));
  const servers = fc.integer({ min: 2, max: 16 }).chain((count) => fc.tuple(fc.constant(count), fc.integer({ min: 0, max: count - 1 })));
  fc.assert(fc.property(handles, servers, (handle, [count, server]) => {
    const marked = mark(handle, server, count);
    expect(typeof marked).toBe(typeof handle);
    expect(unmark(String(marked), count)).toEqual({ handle: String(handle), server });
  }));
});

test("with one server they stay as they are", () => {
  expect([mark(17, 0, 1), mark("a-9", 0, 1), unmark("17", 1), unmark("a-9", 1)]).toEqual([17, "a-9", { handle: "17", server: 0 }, { handle: "a-9", server: 0 }]);
});

test("what was marked by nobody belongs to nobody", () => {
  expect(["abc", "abc-2", "abc-x", ""].map((text) => unmark(text, 2))).toEqual([undefined, undefined, undefined, undefined]);
});
