import fc from "fast-check";
import { describe, expect, onTestFinished, test } from "vitest";
import { FIXED, grant, startCore, testCache, type TestCore, type TestOptions } from "../../test/fixtures/core.ts";
import { fits } from "./quota.ts";

const main = grant("local:main");
const pull = grant("1:refs/pull/7/merge", { trusted: false });

async function core(options: TestOptions = {}): Promise<TestCore> {
  const started = await startCore(options);
  onTestFinished(() => started.remove());
  return started;
}

describe("whether a body fits", () => {
  const cache = testCache({ quota: 1_000, untrustedShare: 0.2 });
  const usage = fc.record({ trusted: fc.nat(1_500), untrusted: fc.nat(400) });

  test("an untrusted one never pushes trusted ones out of the quota, nor its kind above the share", () => {
    fc.assert(
      fc.property(usage, fc.nat(400), (used, size) => {
        const fit = fits(cache, used, { trusted: false, size });
        if (fit === "never") return;
        expect(used.trusted + size).toBeLessThanOrEqual(1_000);
        expect(used.untrusted + size).toBeLessThanOrEqual(250);
        if (fit === "now") expect([used.untrusted + size <= 200, used.trusted + used.untrusted + size <= 1_000]).toEqual([true, true]);
      }),
    );
  });

  test("a trusted one fits what eviction can make room for, and is never held up by untrusted ones", () => {
    fc.assert(
      fc.property(usage, fc.nat(1_200), (used, size) => {
        const fit = fits(cache, used, { trusted: true, size });
        expect(fit !== "never").toBe(size <= 1_000 && used.trusted + size <= 1_250);
        expect(fit === "now").toBe(size <= 1_000 && used.trusted + used.untrusted + size <= 1_000);
      }),
    );
  });

  test("a smaller one fits wherever a larger one does", () => {
    const order = ["never", "soon", "now"];
    fc.assert(
      fc.property(usage, fc.boolean(), fc.nat(1_200), fc.nat(1_200), (used, trusted, a, b) => {
        const [small, large] = [Math.min(a, b), Math.max(a, b)];
        expect(order.indexOf(fits(cache, used, { trusted, size: small }))).toBeGreaterThanOrEqual(order.indexOf(fits(cache, used, { trusted, size: large })));
      }),
    );
  });
});

describe("bodies on their way in", () => {
  /** A body that waits before its last byte. */
  function slow(size: number) {
    let finish!: () => void;
    const waiting = new Promise<void>((resolve) => (finish = resolve));
    async function* source() {
      yield Buffer.alloc(size - 1);
      await waiting;
      yield Buffer.alloc(1);
    }
    return { source: source(), finish };
  }

  test("count against the quota while they arrive: all at once can't take the same room", async () => {
    const on = await core({ caches: [testCache({ quota: 10_000 })] });
    const bodies = Array.from({ length: 10 }, () => slow(3_000));
    const results = bodies.map((body, i) => on.bodies.put(main, FIXED, `k${i}`, body.source, { size: 3_000 }).then(() => "stored", (error: { code: string }) => error.code));
    await new Promise((resolve) => setTimeout(resolve, 50));
    for (const body of bodies) body.finish();
    const ended = await Promise.all(results);
    // The hard limit is a quarter above the quota.
    expect(ended.filter((one) => one === "stored")).toHaveLength(4);
    expect(new Set(ended)).toEqual(new Set(["stored", "STOW_OVER_QUOTA"]));
    expect(await on.quota.usage("default", true)).toEqual({ trusted: 12_000, untrusted: 0 });
  });

  test("give their room back when they fail", async () => {
    const on = await core({ caches: [testCache({ quota: 10_000 })] });
    for (let i = 0; i < 5; i++) {
      await expect(on.bodies.put(main, FIXED, "k", Buffer.alloc(9_000), { size: 9_000, digest: "0".repeat(64) })).rejects.toMatchObject({ code: "STOW_DIGEST_MISMATCH" });
      await expect(on.bodies.put(main, FIXED, "k", Buffer.alloc(8_999), { size: 9_000 })).rejects.toMatchObject({ code: "STOW_DIGEST_MISMATCH" });
    }
    expect(await on.quota.usage("default")).toEqual({ trusted: 0, untrusted: 0 });
    await on.bodies.put(main, FIXED, "k", Buffer.alloc(9_000));
  });

  test("of unknown size are refused when they grow beyond what there is, not when they have filled the disk", async () => {
    const on = await core({ caches: [testCache({ quota: 8e6, untrustedShare: 0.25 })] });
    let sent = 0;
    async function* endless() {
      for (;;) {
        sent += 100_000;
        yield Buffer.alloc(100_000);
      }
    }
    await expect(on.bodies.put(pull, FIXED, "k", endless())).rejects.toMatchObject({ code: "STOW_OVER_QUOTA", status: 507 });
    expect(sent).toBeLessThan(4e6);
    expect(await on.files()).toEqual([]);
    expect(await on.quota.usage("default", true)).toEqual({ trusted: 0, untrusted: 0 });
  });

  test("are refused at once when they can never fit", async () => {
    const on = await core({ caches: [testCache({ quota: 10_000 })] });
    let read = false;
    const source = async function* () {
      read = true;
      yield Buffer.alloc(1);
    };
    await expect(on.bodies.put(main, FIXED, "k", source(), { size: 10_001 })).rejects.toMatchObject({ code: "STOW_OVER_QUOTA" });
    await expect(on.bodies.put(pull, FIXED, "k", source(), { size: 2_501 })).rejects.toMatchObject({ code: "STOW_OVER_QUOTA" });
    await expect(on.uploads.reserve(pull, FIXED, "k", "", { size: 2_501 })).rejects.toMatchObject({ code: "STOW_OVER_QUOTA" });
    expect(read).toBe(false);
  });
});

test("a database that is away is a write failure, not the end of the process", async () => {
  const on = await core({ caches: [testCache({ quota: 10_000 })] });
  await on.bodies.put(main, FIXED, "a", Buffer.alloc(9_000));
  // Above the soft limit: eviction starts in the background, and fails.
  const { scan, read } = on.database;
  (on.database as { scan: unknown }).scan = () => Promise.reject(new Error("the database is away"));
  await on.bodies.put(main, FIXED, "b", Buffer.alloc(2_000));
  await new Promise((resolve) => setTimeout(resolve, 20));
  (on.database as { read: unknown }).read = () => {
    throw new Error("the database is away");
  };
  await new Promise((resolve) => setTimeout(resolve, 510));
  await expect(on.bodies.put(main, FIXED, "c", Buffer.alloc(10))).rejects.toMatchObject({ code: "STOW_WRITE_FAILURE", status: 503 });
  Object.assign(on.database, { scan, read });
  await on.bodies.put(main, FIXED, "c", Buffer.alloc(10));
});
