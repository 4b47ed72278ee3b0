import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { agoWords, millisecondWords, rateWords, sizeWords, spanWords } from "./words.ts";

test.each([[0, "0 B"], [1023, "1023 B"], [1024, "1.0 KiB"], [1536, "1.5 KiB"], [1024 ** 2 - 1, "1.0 MiB"], [50 * 2 ** 30, "50.0 GiB"], [Number.MAX_SAFE_INTEGER, "8.0 PiB"]])("%d bytes are %s", (bytes, words) => {
  expect(sizeWords(bytes)).toBe(words);
});

test("no size needs more than four digits before its point", () => {
  fc.assert(fc.property(fc.maxSafeNat(), (bytes) => void expect(Number.parseFloat(sizeWords(bytes))).toBeLessThan(1024)));
});

test.each([[0, "0 seconds"], [999, "0 seconds"], [1_000, "1 second"], [61_000, "1 minute"], [7_200_000, "2 hours"], [86_400_000, "1 day"], [400 * 86_400_000, "400 days"]])("%d ms are %s", (ms, words) => {
  expect(spanWords(ms)).toBe(words);
});

test("a time is told by how far it is from now", () => {
  const now = Date.parse("2026-01-02T00:00:00Z");
  expect(agoWords("2026-01-01T00:00:00Z", now)).toBe("1 day ago");
  expect(agoWords("2026-01-02T02:00:00Z", now)).toBe("in 2 hours");
  expect(agoWords(null, now)).toBe("never");
});

describe("rates", () => {
  test("say what they are of, and are never rounded up", () => {
    expect(rateWords(0.975, 40)).toBe("97.5% of 40");
    expect(rateWords(0.9999, 10_000)).toBe("99.9% of 10000");
    expect(rateWords(1, 3)).toBe("100% of 3");
  });
  test("of nothing are not told", () => {
    expect(rateWords(null, 0)).toBe("-");
  });
});

test.each([[null, "-"], [0.84, "0.8 ms"], [119.6, "120 ms"], [2_440, "2.4 s"]])("%s ms are %s", (ms, words) => {
  expect(millisecondWords(ms)).toBe(words);
});
