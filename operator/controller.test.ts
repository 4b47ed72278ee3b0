import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Outcome } from "./context.ts";
import { Controller } from "./controller.ts";
import { KubeError } from "./kube-error.ts";
import type { Key } from "./object.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const KEY: Key = { namespace: "a", name: "one" };
const MINUTE = 60_000;

function controller(reconcile: (run: number) => Outcome, exists = true) {
  const seen = { runs: [] as number[], results: [] as string[], warnings: [] as string[], errors: [] as string[] };
  const term = new AbortController();
  const it = new Controller({
    name: "cacheserver",
    reconcile: async () => {
      seen.runs.push(performance.now());
      return reconcile(seen.runs.length);
    },
    exists: () => exists,
    metrics: { reconciled: (_, result) => void seen.results.push(result) },
    log: { info: () => {}, warn: (text) => void seen.warnings.push(text), error: (text) => void seen.errors.push(text) },
    term: term.signal,
  });
  it.add(KEY);
  return { ...seen, it, term };
}

const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);
const kubeError = (status: number, more: { permanent?: boolean; retryAfter?: number } = {}) => new KubeError({ status, reason: "x", message: "x", ...more });

test("what exists is looked at every ten minutes, even if nobody asks for it", async () => {
  const { runs } = controller(() => ({}));
  await pass(35 * MINUTE);
  expect(runs.length).toBeGreaterThanOrEqual(4);
  expect(runs.length).toBeLessThanOrEqual(5);
});

test("what is gone is forgotten", async () => {
  const { runs } = controller(() => ({ after: 1_000 }), false);
  await pass(35 * MINUTE);
  expect(runs).toHaveLength(1);
});

test("a request that can't succeed is sent again every few minutes only", async () => {
  const { runs, results } = controller(() => { throw kubeError(422, { permanent: true }); });
  await pass(16 * MINUTE);
  expect(runs).toHaveLength(4);
  expect(results).toEqual(["error", "error", "error", "error"]);
});

test("a busy API server is left alone for as long as it asks", async () => {
  const { runs } = controller((run) => {
    if (run === 1) throw kubeError(429, { retryAfter: 30_000 });
    return {};
  });
  await pass(29_000);
  expect(runs).toHaveLength(1);
  await pass(2_000);
  expect(runs).toHaveLength(2);
});

test("a bug is told with its place, an error of the API server isn't a bug", async () => {
  const { errors, warnings } = controller((run) => {
    throw run === 1 ? new TypeError("x is not a function") : kubeError(503);
  });
  await pass(5_000);
  expect(errors).toHaveLength(1);
  expect(warnings.length).toBeGreaterThanOrEqual(1);
});

test("what fails because the lease was lost is neither counted nor told", async () => {
  const lost = controller(() => {
    lost.term.abort();
    throw kubeError(0);
  });
  await pass(100);
  expect([lost.runs.length, lost.results, lost.warnings]).toEqual([1, [], []]);
});
