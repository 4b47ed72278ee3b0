import { describe, expect, it } from "vitest";
import { Breaker } from "./breaker.ts";

const OPTIONS = { rest: 100, longestRest: 300, badAnswers: 3 };

describe("the breaker", () => {
  it("leaves a server alone that did not answer, then lets one request find out", () => {
    const breaker = new Breaker(OPTIONS);
    expect(breaker.take(0)).toBe(true);
    breaker.dead(0);
    expect([breaker.take(99), breaker.take(100), breaker.take(100)]).toEqual([false, true, false]);
    breaker.good();
    expect([breaker.take(101), breaker.take(101)]).toEqual([true, true]);
  });

  it("opens after several bad answers in a row, not after single ones", () => {
    const breaker = new Breaker(OPTIONS);
    for (const answer of ["bad", "bad", "good", "bad", "bad"] as const) breaker[answer](0);
    expect(breaker.take(1)).toBe(true);
    breaker.bad(0);
    expect(breaker.take(1)).toBe(false);
  });

  it("rests longer after every failed probe, up to a limit, and as before once the server was well", () => {
    const breaker = new Breaker(OPTIONS);
    breaker.dead(0);
    const rests: number[] = [];
    for (let now = 0, round = 0; round < 4; round++) {
      let rest = 0;
      while (!breaker.take(now + rest)) rest++;
      rests.push(rest);
      now += rest;
      breaker.dead(now);
    }
    expect(rests).toEqual([100, 200, 300, 300]);
    expect(breaker.take(10_000)).toBe(true);
    breaker.good();
    breaker.dead(10_000);
    expect([breaker.take(10_099), breaker.take(10_100)]).toEqual([false, true]);
  });

  it("gives the probe to the next when it ended without a verdict", () => {
    const breaker = new Breaker(OPTIONS);
    breaker.dead(0);
    expect(breaker.take(100)).toBe(true);
    breaker.release();
    expect(breaker.take(100)).toBe(true);
  });
});
