import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Witnesses } from "./witness.ts";

describe("a bucket that lacks a blob", () => {
  beforeEach(() => void vi.useFakeTimers({ toFake: ["Date"] }));
  afterEach(() => void vi.useRealTimers());

  const having = (...names: string[]) => async (name: string) => names.includes(name);

  it("is believed as long as nothing else is known of it", async () => {
    const witnesses = new Witnesses();
    await witnesses.confirm("a", having());
    witnesses.seen("a");
    await witnesses.confirm("a", having());
  });

  it("is believed when it has another one, and not when that is missing as well", async () => {
    const witnesses = new Witnesses();
    for (const name of ["a", "b", "c"]) witnesses.seen(name);
    await witnesses.confirm("c", having("a"));
    await expect(witnesses.confirm("c", having())).rejects.toThrow("other blobs");
    await expect(witnesses.confirm("a", having("c"))).rejects.toThrow("other blobs");
  });

  it("does not answer for what we have removed, or know to be lost", async () => {
    const witnesses = new Witnesses();
    for (const name of ["a", "b"]) witnesses.seen(name);
    witnesses.removed("a");
    await witnesses.confirm("b", having());
    await witnesses.confirm("c", having());
  });

  it("is believed after a minute, for then it is really empty", async () => {
    const witnesses = new Witnesses();
    witnesses.seen("a");
    await expect(witnesses.confirm("b", having())).rejects.toThrow();
    vi.advanceTimersByTime(59_000);
    await expect(witnesses.confirm("b", having())).rejects.toThrow();
    vi.advanceTimersByTime(1_000);
    await witnesses.confirm("b", having());
    await witnesses.confirm("c", having());
  });

  it("has its minute anew after it was whole in between", async () => {
    const witnesses = new Witnesses();
    witnesses.seen("a");
    await expect(witnesses.confirm("b", having())).rejects.toThrow();
    await witnesses.confirm("b", having("a"));
    vi.advanceTimersByTime(61_000);
    await expect(witnesses.confirm("b", having())).rejects.toThrow();
  });
});
