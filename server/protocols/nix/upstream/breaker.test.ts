import { expect, test } from "vitest";
import { Breaker } from "./breaker.ts";

function breaker() {
  let now = 0;
  return { breaker: new Breaker({ failures: 3, pause: 1_000 }, () => now), wait: (ms: number) => (now += ms) };
}

function fail(of: Breaker, times: number): void {
  for (let i = 0; i < times; i++) of.enter()!.failed();
}

test("it opens after failures in a row, and a success between them starts the count anew", () => {
  const { breaker: of } = breaker();
  fail(of, 2);
  of.enter()!.succeeded();
  fail(of, 2);
  expect(of.open).toBe(false);
  fail(of, 1);
  expect(of.open).toBe(true);
  expect(of.enter()).toBeUndefined();
  expect(of.retryAfter).toBe(1);
});

test("after its pause one request tries, and the others wait for what it finds", () => {
  const { breaker: of, wait } = breaker();
  fail(of, 3);
  wait(1_000);
  const probe = of.enter()!;
  expect(of.enter()).toBeUndefined();
  probe.failed();
  expect(of.enter()).toBeUndefined();
  wait(1_000);
  of.enter()!.succeeded();
  expect(of.open).toBe(false);
  expect(of.enter()).toBeDefined();
});

test("a probe that is given up lets the next one try", () => {
  const { breaker: of, wait } = breaker();
  fail(of, 3);
  wait(1_000);
  of.enter()!.left();
  expect(of.enter()).toBeDefined();
});

test("a failure of before it opened does not lengthen the pause, nor end the probe", () => {
  const { breaker: of, wait } = breaker();
  const [early, earlier] = [of.enter()!, of.enter()!];
  fail(of, 3);
  wait(500);
  early.failed();
  wait(500);
  const probe = of.enter()!;
  earlier.failed();
  expect(of.enter()).toBeUndefined();
  probe.succeeded();
  probe.failed();
  expect(of.open).toBe(false);
});
