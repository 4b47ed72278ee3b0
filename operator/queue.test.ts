import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Queue, type QueueOptions } from "./queue.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/** A queue whose runs end when they are told to. */
function manual(options: Partial<QueueOptions> = {}) {
  const started: string[] = [];
  const open: { key: string; end: (after?: number) => void; fail: () => void }[] = [];
  const queue = new Queue({
    work: (key) => {
      started.push(key);
      return new Promise((resolve, reject) => open.push({ key, end: (after) => resolve(after === undefined ? {} : { after }), fail: () => reject(new Error("no")) }));
    },
    ...options,
  });
  return { queue, started, open };
}

/** A queue whose runs end at once. */
function instant(work: (key: string, run: number) => { after?: number }, options: Partial<QueueOptions> = {}) {
  const runs: { key: string; at: number }[] = [];
  const queue = new Queue({
    work: async (key) => {
      runs.push({ key, at: performance.now() });
      return work(key, runs.length);
    },
    ...options,
  });
  return { queue, runs };
}

const pass = (ms = 0) => vi.advanceTimersByTimeAsync(ms);

test("twenty changes to one key are one run, and those that come during it are one more", async () => {
  const { queue, started, open } = manual();
  for (let i = 0; i < 20; i++) queue.add("a");
  await pass(1);
  expect(started).toEqual(["a"]);
  for (let i = 0; i < 20; i++) queue.add("a");
  await pass(1);
  expect(started).toEqual(["a"]);
  open[0]!.end();
  await pass(1);
  expect(started).toEqual(["a", "a"]);
  open[1]!.end();
  await pass(60_000);
  expect(started).toEqual(["a", "a"]);
});

test("four keys run at once, the others wait their turn", async () => {
  const { queue, started, open } = manual();
  for (const key of "abcdef") queue.add(key);
  await pass(1);
  expect(started).toEqual(["a", "b", "c", "d"]);
  expect(queue.depth).toBe(2);
  open[2]!.end();
  await pass(1);
  expect(started).toEqual(["a", "b", "c", "d", "e"]);
});

test("a key that fails waits longer each time, and holds nobody up", async () => {
  const { queue, runs } = instant((key) => {
    if (key === "bad") throw new Error("no");
    return {};
  });
  queue.add("bad");
  queue.add("good");
  await pass(1);
  expect(runs.map(({ key }) => key)).toEqual(["bad", "good"]);
  await pass(3 * 60 * 60_000);
  const times = runs.filter(({ key }) => key === "bad").map(({ at }) => at);
  const waits = times.slice(1).map((at, i) => at - times[i]!);
  for (const [i, wait] of waits.slice(0, 8).entries()) {
    expect(wait).toBeGreaterThanOrEqual(1000 * 2 ** i * 0.5);
    expect(wait).toBeLessThanOrEqual(1000 * 2 ** i + 2);
  }
  expect(Math.max(...waits)).toBeLessThanOrEqual(300_002);
});

test("a success ends the growing of the pauses", async () => {
  const { queue, runs } = instant((_, run) => {
    if (run !== 4) throw new Error("no");
    return { after: 10 };
  });
  queue.add("a");
  await pass(20_000);
  expect(runs[4]!.at - runs[3]!.at).toBeLessThan(12);
  expect(runs[5]!.at - runs[4]!.at).toBeLessThanOrEqual(1_002);
});

test("who is told of a failure may ask for a longer pause", async () => {
  const told: unknown[] = [];
  const { queue, runs } = instant(() => { throw new Error("no"); }, { onError: (key, error, failures) => (told.push([key, (error as Error).message, failures]), 60_000) });
  queue.add("a");
  await pass(59_000);
  expect(runs).toHaveLength(1);
  await pass(2_000);
  expect(runs).toHaveLength(2);
  expect(told).toEqual([["a", "no", 1], ["a", "no", 2]]);
});

test("a run says when it wants the next, and a change brings it sooner", async () => {
  const { queue, runs } = instant(() => ({ after: 600_000 }));
  queue.add("a");
  await pass(599_000);
  expect(runs).toHaveLength(1);
  await pass(2_000);
  expect(runs).toHaveLength(2);
  await pass(1_000);
  queue.add("a");
  await pass(1);
  expect(runs).toHaveLength(3);
});

test("a later time doesn't put off a sooner one", async () => {
  const { queue, runs } = instant(() => ({}));
  queue.addAfter("a", 1_000);
  queue.addAfter("a", 60_000);
  await pass(1_001);
  expect(runs).toHaveLength(1);
  await pass(120_000);
  expect(runs).toHaveLength(1);
});

test("who changes our objects back as fast as we do is met at a set pace", async () => {
  const { queue, runs } = instant((key) => {
    queue.add(key);
    return { after: 600_000 };
  });
  queue.add("a");
  await pass(600_000);
  // Ten at once, then one every six seconds.
  expect(runs.length).toBeGreaterThan(90);
  expect(runs.length).toBeLessThanOrEqual(112);
  expect(runs[9]!.at).toBeLessThan(20);
});

test("it stops when what runs has ended, and starts nothing more", async () => {
  const { queue, started, open } = manual({ concurrency: 1 });
  queue.add("a");
  queue.add("b");
  await pass(1);
  let stopped = false;
  void queue.stop().then(() => (stopped = true));
  await pass(1);
  expect(stopped).toBe(false);
  queue.add("c");
  open[0]!.end(5);
  await pass(60_000);
  expect([stopped, started]).toEqual([true, ["a"]]);
});
