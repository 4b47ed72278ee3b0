import { describe, expect, it } from "vitest";
import { Budget } from "./budget.ts";

describe("the budget of lost time", () => {
  it("counts waits at the same moment once, and is spent", () => {
    const budget = new Budget(4_000);
    budget.spend(0, 2_000);
    budget.spend(500, 2_000);
    expect([budget.spent, budget.within(2_000)]).toEqual([false, 2_000]);
    budget.spend(10_000, 11_500);
    expect([budget.spent, budget.within(2_000)]).toEqual([false, 500]);
    budget.spend(20_000, 20_500);
    expect(budget.spent).toBe(true);
  });

  it("gives a server that has cost nothing a moment all the same", () => {
    const budget = new Budget(100);
    budget.spend(0, 2_000);
    expect(budget.within(2_000)).toBe(500);
  });
});
