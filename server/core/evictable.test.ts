import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from "vitest";
import { FIXED, grant, LOOSE, startCore, testCache, type TestCore, type TestOptions } from "../../test/fixtures/core.ts";
import type { Entry } from "./entry.ts";

const main = grant("local:main");
const pull = grant("1:refs/pull/7/merge", { read: ["1:refs/pull/7/merge", "local:main"], trusted: false });
const HOUR = 3_600_000;
const DAY = 24 * HOUR;

async function core(options: TestOptions = {}): Promise<TestCore> {
  const started = await startCore(options);
  onTestFinished(() => started.remove());
  return started;
}

const name = (key: string, scope = main.write!) => ({ keyspace: LOOSE.name, scope, key });
const body = (size: number, seed: string) => Buffer.alloc(size, seed);
const put = (on: TestCore, key: string, size: number, needs: readonly string[], by = main) =>
  on.bodies.put(by, LOOSE, key, body(size, `${key} `), { overwrite: true, needs: needs.map((one) => name(one)) });
const keys = (on: TestCore) => on.evicted.map((one) => one.key);
const left = async (on: TestCore) => (await on.database.scan("listEntries", { cache: "default", limit: 500 })).map((entry) => entry.key).toSorted();
const use = async (on: TestCore, key: string) => {
  const { entry } = await on.catalog.get(main, LOOSE, key);
  if (entry) on.catalog.touch(entry, main);
};

beforeEach(() => void vi.useFakeTimers({ now: 1_000 * DAY, toFake: ["Date"] }));
afterEach(() => void vi.useRealTimers());

describe("what an entry needs", () => {
  test("stays as long as the entry does, however long it was not used itself", async () => {
    const on = await core();
    await put(on, "lib", 300, []);
    await put(on, "app", 300, ["lib"]);
    for (let days = 0; days < 40; days += 10) {
      vi.advanceTimersByTime(10 * DAY);
      await use(on, "app");
    }
    await put(on, "other", 500, []);
    vi.advanceTimersByTime(1_000);
    await use(on, "app");
    on.caches.set(testCache({ quota: 1_000 }));
    await on.maintenance.pass();
    expect([keys(on), await left(on)]).toEqual([["other"], ["app", "lib"]]);
  });

  test("goes with the last that needs it, no more than has to", async () => {
    const on = await core();
    // Twenty paths of which each has its own file, all of one pull: the files were read after all the paths.
    for (let i = 0; i < 20; i++) await put(on, `nar ${i}`, 500, []);
    for (let i = 0; i < 20; i++) await put(on, `path ${i}`, 10, [`nar ${i}`]);
    vi.advanceTimersByTime(60_000);
    for (let i = 0; i < 20; i++) await use(on, `nar ${i}`);
    on.caches.set(testCache({ quota: 9_900 }));
    await on.maintenance.pass();
    expect(keys(on)).toEqual(["path 0", "nar 0", "path 1", "nar 1"]);
  });

  test("goes later if it was used since by itself", async () => {
    const on = await core({ caches: [testCache({ retention: 30 * DAY })] });
    await put(on, "nar", 10, []);
    await put(on, "path", 10, ["nar"]);
    vi.advanceTimersByTime(20 * DAY);
    await use(on, "nar");
    vi.advanceTimersByTime(11 * DAY);
    await on.maintenance.pass();
    expect([keys(on), await left(on)]).toEqual([["path"], ["nar"]]);
  });

  test("is found to be freed on a full disk, where it lies and what needs it does not", async () => {
    const on = await core({ minFree: 0.5, store: (store) => Object.assign(store, { capacity: async () => ({ free: 900, total: 2_000 }) }) });
    await put(on, "nar", 500, []);
    await put(on, "path", 10, ["nar"]);
    await put(on, "inline", 10, []);
    await on.maintenance.pass();
    expect(keys(on)).toEqual(["path", "nar"]);
  });

  test("of a pull request's entry in main stays for it, and costs main nothing", async () => {
    const on = await core({ caches: [testCache({ quota: 1_000, untrustedIdle: 7 * DAY, retention: 30 * DAY })] });
    await put(on, "lib", 100, []);
    vi.advanceTimersByTime(29 * DAY);
    await on.bodies.put(pull, LOOSE, "app", body(100, "app"), { needs: [name("lib")] });
    vi.advanceTimersByTime(2 * DAY);
    await on.maintenance.pass();
    expect(keys(on)).toEqual([]);
    await put(on, "large", 850, []);
    await on.maintenance.pass();
    expect(keys(on)).toEqual(["app", "lib"]);
  });

  test("stays through any sequence of writes, uses and evictions", async () => {
    const key = fc.integer({ min: 0, max: 11 });
    const action = fc.oneof(
      fc.record({ put: key, needs: fc.uniqueArray(key, { maxLength: 4 }), size: fc.integer({ min: 1, max: 400 }) }),
      fc.record({ use: key }),
      fc.record({ wait: fc.constantFrom(1_000, HOUR, 10 * DAY, 31 * DAY) }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(action, { minLength: 5, maxLength: 60 }), async (actions) => {
        const on = await startCore({ caches: [testCache({ quota: 2_000 })] });
        /** By the id of an entry: what of its needs was there when it was put. */
        const promised = new Map<number, string[]>();
        const present = async (which: string): Promise<Entry | undefined> => (await on.catalog.get(main, LOOSE, which)).entry;
        try {
          for (const one of actions) {
            if ("wait" in one) vi.advanceTimersByTime(one.wait);
            else if ("use" in one) await use(on, `k${one.use}`);
            else {
              // A store path's references are older than itself.
              const needs = one.needs.filter((needed) => needed < one.put).map((needed) => `k${needed}`);
              const { entry } = await put(on, `k${one.put}`, one.size, needs);
              const there = [];
              for (const needed of needs) if (await present(needed)) there.push(needed);
              promised.set(entry.id, there);
            }
            await on.maintenance.pass();
            for (const entry of await on.database.scan("listEntries", { cache: "default", limit: 500 })) {
              for (const needed of promised.get(entry.id) ?? []) expect(await present(needed), `${needed} for ${entry.key}`).toBeDefined();
            }
            expect((await on.quota.usage("default", true)).trusted).toBeLessThanOrEqual(2_000);
          }
        } finally {
          await on.remove();
        }
      }),
      { numRuns: 12 },
    );
  });
});

describe("a plan", () => {
  test("names what a pass would remove and why, and removes nothing", async () => {
    const on = await core();
    await on.bodies.put(main, FIXED, "expired", body(10, "e"), { expires: Date.now() + 1_000 });
    await put(on, "idle nar", 10, []);
    await put(on, "idle", 10, ["idle nar"]);
    vi.advanceTimersByTime(31 * DAY);
    await put(on, "lib", 400, []);
    await put(on, "app", 100, ["lib"]);
    vi.advanceTimersByTime(1_000);
    await put(on, "new", 700, []);
    on.caches.set(testCache({ quota: 1_000 }));
    const plan = await on.evictor.plan();
    const planned = plan.first.map(({ entry, reason }) => `${entry.key}: ${reason}`);
    expect(planned).toEqual(["expired: expired", "idle: idle", "idle nar: idle", "app: quota", "lib: quota"]);
    expect(plan.full).toBe(false);
    expect([...plan.sums.values()]).toContainEqual({ cache: "default", keyspace: "loose", reason: "quota", entries: 2, bytes: 500 });
    expect(await left(on)).toHaveLength(6);
    await on.maintenance.pass();
    expect(on.evicted.map(({ key, reason }) => `${key}: ${reason}`)).toEqual(planned);
  });
});
