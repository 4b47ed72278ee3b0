import { expect, test } from "vitest";
import { Gate } from "./gate.ts";

const never = new AbortController().signal;

/** Whether a promise is settled after everything that can happen at once has happened. */
async function settled(promise: Promise<unknown>): Promise<boolean> {
  let done = false;
  promise.then(() => (done = true), () => (done = true));
  await new Promise(setImmediate);
  return done;
}

test("bytes up to the limit go at once, more wait in line", async () => {
  const gate = new Gate(10);
  await gate.enter(6, never);
  const second = gate.enter(6, never);
  const third = gate.enter(1, never);
  expect(await settled(second)).toBe(false);
  expect(await settled(third)).toBe(false);
  gate.leave(6);
  await Promise.all([second, third]);
});

test("more bytes than the limit go alone", async () => {
  const gate = new Gate(10);
  await gate.enter(50, never);
  const next = gate.enter(1, never);
  expect(await settled(next)).toBe(false);
  gate.leave(50);
  await next;
});

test("who gives up leaves the line to the others", async () => {
  const gate = new Gate(10);
  await gate.enter(5, never);
  const stop = new AbortController();
  const large = gate.enter(10, stop.signal);
  const small = gate.enter(5, never);
  expect(await settled(small)).toBe(false);
  stop.abort(new Error("gone"));
  await expect(large).rejects.toThrow("gone");
  await small;
  await expect(gate.enter(1, stop.signal)).rejects.toThrow("gone");
});
