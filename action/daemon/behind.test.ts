import { describe, expect, it } from "vitest";
import { Behind } from "./behind.ts";

describe("work behind the tools' backs", () => {
  it("is tried again, done in order where that matters, and counted until it is done", async () => {
    const behind = new Behind();
    const order: string[] = [];
    const first = behind.add(10, async () => (order.push("first"), order.length < 2 ? "again" : "done"));
    const second = behind.add(5, async () => (order.push("second"), "done"), first);
    expect(behind.unsentBytes).toBe(15);
    expect(await Promise.all([first, second])).toEqual([true, true]);
    expect([order, behind.unsentBytes]).toEqual([["first", "first", "second"], 0]);
  });

  it("is lost when it is refused, and with it what follows", async () => {
    const behind = new Behind();
    const first = behind.add(10, async () => "refused");
    const second = behind.add(5, async () => "done", first);
    expect([await first, await second, behind.unsentBytes]).toEqual([false, false, 15]);
  });

  it("keeps at most four at once", async () => {
    const behind = new Behind();
    let now = 0;
    let most = 0;
    await Promise.all(Array.from({ length: 20 }, () => behind.add(1, async () => {
      most = Math.max(most, ++now);
      await new Promise((resolve) => setTimeout(resolve, 2));
      now--;
      return "done";
    })));
    expect([most, behind.unsentBytes]).toEqual([4, 0]);
  });

  it("is given up at the deadline, however it hangs", async () => {
    const behind = new Behind();
    const away = behind.add(7, async () => "away");
    const hanging = behind.add(3, (signal) => new Promise((_, reject) => signal.addEventListener("abort", () => reject(new Error("over")))));
    const began = performance.now();
    await behind.drain(50);
    expect(performance.now() - began).toBeLessThan(1_000);
    expect([await away, await hanging, behind.unsentBytes]).toEqual([false, false, 10]);
  });
});
