import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Leisure } from "./leisure.ts";

describe("leisure", () => {
  beforeEach(() => void vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] }));
  afterEach(() => void vi.useRealTimers());

  /** Works which say when they begin, and end when told. */
  function works(leisure: Leisure, signal = new AbortController().signal) {
    const begun: string[] = [];
    const ends = new Map<string, () => void>();
    return {
      begun,
      end: (name: string) => ends.get(name)!(),
      start: (name: string) => leisure.work(signal, () => {
        begun.push(name);
        return new Promise<void>((resolve) => void ends.set(name, resolve));
      }),
    };
  }

  it("does one work after the other when nothing arrives", async () => {
    const { begun, start, end } = works(new Leisure());
    const [first] = [start("a"), start("b")];
    await vi.advanceTimersByTimeAsync(1_000);
    expect(begun).toEqual(["a"]);
    end("a");
    await first;
    await vi.advanceTimersByTimeAsync(200);
    expect(begun).toEqual(["a", "b"]);
  });

  it("lets works wait until nothing has arrived for a moment, a gap is not enough", async () => {
    const leisure = new Leisure();
    const { begun, start } = works(leisure);
    const ends = leisure.arrives();
    void start("a");
    await vi.advanceTimersByTimeAsync(1_000);
    ends();
    await vi.advanceTimersByTimeAsync(50);
    const endsToo = leisure.arrives();
    await vi.advanceTimersByTimeAsync(1_000);
    expect(begun).toEqual([]);
    endsToo();
    await vi.advanceTimersByTimeAsync(150);
    expect(begun).toEqual(["a"]);
  });

  it("lets none wait for more than 10 s, nor more than 64", async () => {
    const leisure = new Leisure();
    const { begun, start } = works(leisure);
    leisure.arrives();
    for (let i = 0; i < 66; i++) void start(`w${i}`);
    await vi.advanceTimersByTimeAsync(1);
    expect(begun).toEqual(["w0", "w1"]);
    await vi.advanceTimersByTimeAsync(10_000);
    expect(begun).toHaveLength(66);
  });

  it("gives up a work that was stopped before its turn", async () => {
    const leisure = new Leisure();
    leisure.arrives();
    const stop = new AbortController();
    const { begun, start } = works(leisure, stop.signal);
    const work = start("a");
    work.catch(() => {});
    stop.abort(new Error("closing"));
    await expect(work).rejects.toThrow("closing");
    expect(begun).toEqual([]);
  });
});
