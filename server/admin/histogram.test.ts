import fc from "fast-check";
import { expect, test } from "vitest";
import { DOWNLOAD_BUCKETS_MS } from "../http/accounting.ts";
import { quantileOf } from "./histogram.ts";

const times = fc.array(fc.double({ min: 0, max: 400_000, noNaN: true }), { minLength: 1, maxLength: 200 });
const quantile = fc.double({ min: 0.01, max: 1, noNaN: true });

function bucketOf(ms: number): number {
  const index = DOWNLOAD_BUCKETS_MS.findIndex((bound) => ms <= bound);
  return index === -1 ? DOWNLOAD_BUCKETS_MS.length : index;
}

function counted(list: readonly number[]): number[] {
  const counts = Array.from({ length: DOWNLOAD_BUCKETS_MS.length + 1 }, () => 0);
  for (const ms of list) counts[bucketOf(ms)]!++;
  return counts;
}

test("the p95 lies in the bucket of the real one", () => {
  fc.assert(
    fc.property(times, quantile, (list, q) => {
      const real = list.toSorted((a, b) => a - b)[Math.max(0, Math.ceil(q * list.length) - 1)]!;
      const bucket = bucketOf(real);
      const estimate = quantileOf(DOWNLOAD_BUCKETS_MS, counted(list), q)!;
      expect(estimate).toBeGreaterThanOrEqual(bucket === 0 ? 0 : DOWNLOAD_BUCKETS_MS[bucket - 1]!);
      expect(estimate).toBeLessThanOrEqual(DOWNLOAD_BUCKETS_MS[Math.min(bucket, DOWNLOAD_BUCKETS_MS.length - 1)]!);
    }),
  );
});

test("a higher quantile is never lower", () => {
  fc.assert(
    fc.property(times, quantile, quantile, (list, a, b) => {
      const counts = counted(list);
      expect(quantileOf(DOWNLOAD_BUCKETS_MS, counts, Math.min(a, b))!).toBeLessThanOrEqual(quantileOf(DOWNLOAD_BUCKETS_MS, counts, Math.max(a, b))! + 1e-9);
    }),
  );
});

test("inside a bucket the observations are taken to be spread evenly", () => {
  expect(quantileOf([10, 20], [0, 100, 0], 0.95)).toBeCloseTo(19.5);
});

test("of the open bucket its start is told", () => {
  expect(quantileOf([10, 20], [0, 0, 4], 0.95)).toBe(20);
});

test("nothing observed, nothing told", () => {
  expect(quantileOf([10, 20], [0, 0, 0], 0.95)).toBeUndefined();
});
