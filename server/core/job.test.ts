import { expect, test } from "vitest";
import { Job } from "./job.ts";

test("one runs at a time, and whoever asks sees how far it is", async () => {
  const gate = Promise.withResolvers<void>();
  const job = new Job<string, number>(async (_options, _signal, progress) => {
    progress(1);
    await gate.promise;
    return 2;
  });
  expect(job.state).toMatchObject({ number: 0, state: "idle" });
  const ended = job.start("a");
  expect(job.start("b")).toBeUndefined();
  expect(job.state).toMatchObject({ number: 1, state: "running", options: "a", report: 1, finished: null });
  gate.resolve();
  await ended;
  expect(job.state).toMatchObject({ number: 1, state: "done", report: 2, error: null });
  expect(job.state.finished).not.toBeNull();
});

test("one that fails says why, and the next may start", async () => {
  const job = new Job<boolean, number>(async (fails) => {
    if (fails) throw new Error("disk on fire");
    return 1;
  });
  await job.start(true);
  expect(job.state).toMatchObject({ state: "failed", error: "disk on fire" });
  await job.start(false);
  expect(job.state).toMatchObject({ number: 2, state: "done", error: null });
});

test("closing stops what runs and waits for it", async () => {
  const job = new Job<null, number>((_options, signal) => new Promise((_, reject) => signal.addEventListener("abort", () => reject(new Error("stopped")))));
  void job.start(null);
  await job.close();
  expect(job.state).toMatchObject({ state: "failed", error: "stopped" });
  expect(job.start(null)).toBeUndefined();
});
