import fc from "fast-check";
import { AggregatorRegistry, Histogram as Reference, Registry } from "prom-client";
import { expect, test } from "vitest";
import { Histogram } from "./latency.ts";

const BOUNDS = [0.001, 0.01, 0.1, 1];
const seconds = fc.oneof(fc.constantFrom(...BOUNDS, 0), fc.double({ min: 0, max: 5, noNaN: true }));
const observations = fc.array(fc.record({ op: fc.constantFrom("get", "put"), seconds }), { maxLength: 50 });

function both(list: readonly { op: string; seconds: number }[]) {
  const [ours, theirs] = [new Registry(), new Registry()];
  const mine = new Histogram(ours, "stowhouse_test_seconds", "Time.", BOUNDS);
  const reference = new Reference({ name: "stowhouse_test_seconds", help: "Time.", labelNames: ["op"], buckets: BOUNDS, registers: [theirs] });
  for (const { op, seconds: time } of list) {
    mine.series({ op }).observe(time);
    reference.labels(op).observe(time);
  }
  return { ours, theirs };
}

test("the text is what prom-client's own histogram gives", async () => {
  await fc.assert(
    fc.asyncProperty(observations, async (list) => {
      const { ours, theirs } = both(list);
      expect(await ours.metrics()).toBe(await theirs.metrics());
    }),
  );
});

test("the figures of several processes add up as prom-client's own do", async () => {
  await fc.assert(
    fc.asyncProperty(observations, observations, async (one, two) => {
      const [a, b] = [both(one), both(two)];
      const joined = async (registries: Registry[]) => AggregatorRegistry.aggregate(await Promise.all(registries.map((registry) => registry.getMetricsAsJSON())) as object[]).metrics();
      expect((await joined([a.ours, b.ours])).split("\n").toSorted()).toEqual((await joined([a.theirs, b.theirs])).split("\n").toSorted());
    }),
  );
});
