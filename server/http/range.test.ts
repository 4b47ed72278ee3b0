import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseRange } from "./range.ts";

/** What a header asks for, byte by byte, as RFC 9110 §14.1.2 words it; undefined where it says nothing. */
function oracle(header: string, size: number): number[] | undefined {
  const all = Array.from({ length: size }, (_, i) => i);
  const spec = header.trim().startsWith("bytes=") ? header.trim().slice("bytes=".length) : undefined;
  if (spec === undefined || spec.includes(",")) return undefined;
  const [first, last, more] = spec.split("-");
  if (first === undefined || last === undefined || more !== undefined) return undefined;
  const digits = (text: string) => /^[0-9]+$/.test(text);
  if (first === "" && digits(last)) return Number(last) === 0 ? [] : all.slice(-Number(last));
  if (!digits(first) || (last !== "" && !digits(last))) return undefined;
  if (last === "") return all.filter((i) => i >= Number(first));
  if (Number(last) < Number(first)) return undefined;
  return all.filter((i) => i >= Number(first) && i <= Number(last));
}

describe("a Range header", () => {
  const number = fc.oneof(fc.nat(30), fc.constantFrom("", "0", "00", "007", "999999999999", "-1", "1.5", "0x1", " 1")).map(String);
  const header = fc.oneof(
    { weight: 6, arbitrary: fc.tuple(number, number).map(([a, b]) => `bytes=${a}-${b}`) },
    { weight: 1, arbitrary: fc.tuple(fc.nat(20), fc.nat(20), fc.nat(20)).map(([a, b, c]) => `bytes=${a}-${b},${c}-`) },
    { weight: 1, arbitrary: fc.string({ maxLength: 20 }) },
    { weight: 1, arbitrary: fc.constantFrom(" bytes=1-2 ", "Bytes=1-2", "bytes 1-2", "bytes=", "bytes=-", "bytes=1", "bytes=--1") },
  );

  test("means the bytes that the RFC says, whatever the size", () => {
    fc.assert(
      fc.property(header, fc.nat(25), (text, size) => {
        const range = parseRange(text, size);
        const expected = oracle(text, size);
        if (expected === undefined) expect(range, text).toBeUndefined();
        else if (expected.length === 0) expect(range, text).toBe("unsatisfiable");
        else expect(range, text).toEqual({ start: expected[0], end: expected.at(-1)! + 1 });
      }),
      { numRuns: 3_000 },
    );
  });

  test("that is satisfiable lies inside the body and is not empty", () => {
    fc.assert(
      fc.property(fc.bigInt(0n, 10n ** 15n - 1n), fc.option(fc.bigInt(0n, 10n ** 15n - 1n)), fc.integer({ min: 0, max: 2 ** 45 }), (first, last, size) => {
        const range = parseRange(`bytes=${first}-${last ?? ""}`, size);
        if (range === undefined || range === "unsatisfiable") return;
        expect(range.start).toBeGreaterThanOrEqual(0);
        expect(range.end).toBeGreaterThan(range.start);
        expect(range.end).toBeLessThanOrEqual(size);
      }),
    );
  });

  test("that is absent asks for all", () => {
    expect(parseRange(undefined, 5)).toBeUndefined();
  });
});
