import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { StowError } from "../core/errors.ts";
import { formatDuration, formatPercent, formatSize, parseDuration, parsePercent, parseSize, DURATION, PERCENT, SIZE } from "./units.ts";

const amount = fc.maxSafeNat();

describe("sizes", () => {
  test.each([
    ["0", 0], ["65536", 65_536], ["12B", 12], ["500MB", 500_000_000], ["64KiB", 65_536], ["10GiB", 10 * 2 ** 30],
    ["10Gi", 10 * 2 ** 30], ["1.5GiB", 1.5 * 2 ** 30], ["2 TB", 2e12], ["4kb", 4000], ["0.5KiB", 512], ["1.001KB", 1001],
  ])("%s is %d bytes", (text, bytes) => expect(parseSize(text)).toBe(bytes));

  test.each(["", "GiB", "10G", "-1", "1.5", "1,5GiB", "10 gigs", "1e9", "0x10", "9999999PiB", "10GiBs", " 1KiB", "1.2345GiB", "١KiB"])(
    "%j is refused",
    (text) => expect(() => parseSize(text)).toThrow(/expected a size like 10GiB/),
  );

  test("a written size reads back as the same bytes", () => {
    fc.assert(fc.property(amount, (bytes) => parseSize(formatSize(bytes)) === bytes));
  });

  test("a written size says whole units", () => {
    expect([0, 1000, 1024, 1536, 500_000_000, 50 * 2 ** 30, 1001].map(formatSize)).toEqual(["0", "1KB", "1KiB", "1536", "500MB", "50GiB", "1001"]);
  });
});

describe("durations", () => {
  test.each([
    ["0", 0], ["250ms", 250], ["5s", 5000], ["30d", 30 * 86_400_000], ["2h30m", 9_000_000], ["1w", 604_800_000], ["1m1ms", 60_001], ["90m", 5_400_000],
  ])("%s is %d ms", (text, milliseconds) => expect(parseDuration(text)).toBe(milliseconds));

  test.each(["", "5", "30 d", "1.5h", "30m2h", "1s1s", "-5s", "1y", "5S", "s", "99999999999999w"])("%j is refused", (text) => {
    expect(() => parseDuration(text)).toThrow(/expected a duration with its unit/);
  });

  test("a written duration reads back as the same milliseconds", () => {
    fc.assert(fc.property(amount, (milliseconds) => parseDuration(formatDuration(milliseconds)) === milliseconds));
  });

  test("of plain numbers only 0 is a duration", () => {
    expect(DURATION.parse(0)).toBe(0);
    expect(DURATION.parse(5000)).toBeUndefined();
  });
});

describe("shares", () => {
  test.each([["0%", 0], ["25%", 0.25], ["2.5 %", 0.025], ["100%", 1], ["7.01%", 0.0701]])("%s is %d", (text, fraction) => {
    expect(parsePercent(text)).toBe(fraction);
  });

  test.each(["25", "101%", "100.01%", "-1%", "%", "1.234%", "25%%", ""])("%j is refused", (text) => {
    expect(() => parsePercent(text)).toThrow(/expected a share from 0% to 100%/);
  });

  test("a written share reads back as the same fraction", () => {
    fc.assert(fc.property(fc.integer({ min: 0, max: 10_000 }), (steps) => parsePercent(formatPercent(steps / 10_000)) === steps / 10_000));
  });
});

describe("any text", () => {
  const words = fc.oneof(
    fc.string(),
    fc.stringMatching(/^[0-9]{1,20}(\.[0-9]{0,4})? ?[a-zA-Z%]{0,4}([0-9]{1,4}[a-z]{0,2}){0,4}$/),
  );

  test.each([["size", parseSize], ["duration", parseDuration], ["share", parsePercent]])("is a %s or a refusal, and never a fraction of a unit", (_, parse) => {
    fc.assert(
      fc.property(words, (text) => {
        try {
          const value = parse(text);
          return value >= 0 && (Number.isSafeInteger(value) || value < 1);
        } catch (error) {
          return error instanceof StowError && error.code === "STOW_BAD_REQUEST";
        }
      }),
    );
  });

  test("what is understood also matches the pattern that the CRD checks", () => {
    fc.assert(
      fc.property(words, (text) => [SIZE, DURATION, PERCENT].every((kind) => kind.parse(text) === undefined || new RegExp(kind.pattern).test(text))),
    );
  });
});
