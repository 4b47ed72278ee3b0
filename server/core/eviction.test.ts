import { createHash } from "node:crypto";
import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from "vitest";
import { CAS, FIXED, grant, LOOSE, putText, startCore, testCache, textOf, type TestCore, type TestOptions } from "../../test/fixtures/core.ts";
import { AUDIENCE, pullClaims, startIssuer, type FakeIssuer } from "../../test/fixtures/issuer.ts";
import { Identity } from "../identity/identity.ts";
import type { BlobStore } from "../storage/store.ts";
import type { Grant } from "./grant.ts";

const main = grant("local:main");
const pull = grant("1:refs/pull/7/merge", { read: ["1:refs/pull/7/merge", "local:main"], trusted: false });
const DAY = 86_400_000;

async function core(options: TestOptions = {}): Promise<TestCore> {
  const started = await startCore(options);
  onTestFinished(() => started.remove());
  return started;
}

const keys = (on: TestCore) => on.evicted.map((one) => one.key);
const names = async (on: TestCore) => (await on.database.scan("listEntries", { cache: "default", limit: 500 })).map((entry) => entry.key).toSorted();

/** What a body of this size is under any name. */
const body = (size: number, seed = 0) => Buffer.alloc(size, seed);

describe("eviction goes by last use", () => {
  beforeEach(() => void vi.useFakeTimers({ now: 1_000 * DAY, toFake: ["Date"] }));
  afterEach(() => void vi.useRealTimers());

  test("the least recently used goes first, by uses that are only in RAM as well", async () => {
    const on = await core({ caches: [testCache({ quota: 1_000 })] });
    for (let i = 0; i < 10; i++) {
      vi.advanceTimersByTime(1_000);
      await on.bodies.put(main, FIXED, `k${i}`, body(100, i));
    }
    vi.advanceTimersByTime(1_000);
    for (const key of ["k1", "k0"]) {
      on.catalog.touch((await on.catalog.get(main, FIXED, key)).entry!, main);
      vi.advanceTimersByTime(1_000);
    }
    await on.bodies.put(main, FIXED, "new", body(200, 99));
    await on.maintenance.pass();
    // Down to 95 % of the quota: 1,200 bytes have become 900.
    expect(on.evicted).toEqual(["k2", "k3", "k4"].map((key) => ({ key, scope: "local:main", reason: "quota" })));
    expect(on.failures).toEqual([]);
  });

  test("expired ones go whatever their use, idle ones after the retention, untrusted ones earlier", async () => {
    const on = await core({ caches: [testCache({ retention: 30 * DAY, untrustedIdle: 7 * DAY })] });
    await on.bodies.put(main, FIXED, "expires", body(10), { expires: Date.now() + DAY });
    await on.bodies.put(main, FIXED, "idle", body(10, 1));
    await on.bodies.put(main, FIXED, "used", body(10, 2));
    await on.bodies.put(pull, FIXED, "untrusted, idle", body(10, 3));
    await on.bodies.put(pull, FIXED, "untrusted, used", body(10, 4));
    const use = async (key: string, by: Grant) => on.catalog.touch((await on.catalog.get(by, FIXED, key)).entry!, by);
    const after = async (days: number) => {
      vi.advanceTimersByTime(days * DAY);
      await on.maintenance.pass();
      return on.evicted.splice(0).map((one) => `${one.key}: ${one.reason}`);
    };
    expect(await after(1)).toEqual(["expires: expired"]);
    await use("untrusted, used", pull);
    await use("used", main);
    expect(await after(6.5)).toEqual(["untrusted, idle: idle"]);
    expect(await after(7)).toEqual(["untrusted, used: idle"]);
    expect(await after(16)).toEqual(["idle: idle"]);
    expect(await after(2)).toEqual(["used: idle"]);
    expect(await names(on)).toEqual([]);
  });
});

describe("room for a body", () => {
  test("is made by what was used least recently, also for one that is large beside the quota", async () => {
    const on = await core({ caches: [testCache({ quota: 10_000 })] });
    for (let i = 0; i < 9; i++) await on.bodies.put(main, FIXED, `k${i}`, body(1_000, i));
    await on.bodies.put(main, FIXED, "large", body(6_000, 77));
    await on.maintenance.pass();
    expect((await on.quota.usage("default", true)).trusted).toBeLessThanOrEqual(10_000);
    expect(await names(on)).toEqual(["k5", "k6", "k7", "k8", "large"]);
  });

  test("goes to trusted writers at the cost of untrusted entries first", async () => {
    const on = await core({ caches: [testCache({ quota: 10_000 })] });
    for (let i = 0; i < 7; i++) await on.bodies.put(main, FIXED, `trusted ${i}`, body(1_000, i));
    for (let i = 0; i < 4; i++) await on.bodies.put(pull, FIXED, `untrusted ${i}`, body(600, 50 + i));
    await on.bodies.put(main, FIXED, "new", body(3_000, 99));
    await on.maintenance.pass();
    expect((await names(on)).filter((key) => key.startsWith("trusted"))).toHaveLength(7);
    expect(keys(on).every((key) => key.startsWith("untrusted"))).toBe(true);
  });

  test("for untrusted ones is their share, whoever of them wrote it", async () => {
    const on = await core({ caches: [testCache({ quota: 10_000, untrustedShare: 0.25 })] });
    const other = grant("1:refs/pull/8/merge", { trusted: false });
    for (let i = 0; i < 12; i++) await on.bodies.put(i % 2 ? pull : other, FIXED, `k${String(i).padStart(2, "0")}`, body(500, i));
    await on.maintenance.pass();
    expect((await on.quota.usage("default", true)).untrusted).toBeLessThanOrEqual(2_500);
    expect(keys(on)).toEqual(keys(on).toSorted());
    expect(on.evicted[0]!.reason).toBe("untrusted_share");
  });

  test("that only trusted entries could make is refused to untrusted writers", async () => {
    const on = await core({ caches: [testCache({ quota: 10_000, untrustedShare: 0.5 })] });
    for (let i = 0; i < 9; i++) await on.bodies.put(main, FIXED, `k${i}`, body(1_000, i));
    await expect(on.bodies.put(pull, FIXED, "too much", body(1_001))).rejects.toMatchObject({ code: "STOW_OVER_QUOTA" });
    await on.bodies.put(pull, FIXED, "fits", body(1_000));
    await on.maintenance.pass();
    expect((await names(on)).filter((key) => key.startsWith("k"))).toHaveLength(9);
  });

  test("is not made by an untrusted upload that lies about, and a trusted one goes on", async () => {
    const on = await core({ caches: [testCache({ quota: 10_000 })] });
    for (let i = 0; i < 9; i++) await on.bodies.put(main, FIXED, `k${i}`, body(1_000, i));
    const upload = await on.uploads.reserve(pull, FIXED, "open", "");
    let parts = 0;
    for (; parts < 100; parts++) {
      try {
        await on.uploads.part(upload, `p${parts}`, parts, body(200, parts));
      } catch (error) {
        expect(error).toMatchObject({ code: "STOW_OVER_QUOTA" });
        break;
      }
    }
    expect(parts).toBeLessThan(16);
    await on.bodies.put(main, FIXED, "k9", body(1_000, 9));
    await on.maintenance.pass();
    expect((await names(on)).filter((key) => key.startsWith("k")).length).toBeGreaterThanOrEqual(9);
  });
});

describe("an untrusted scope that uploads twice the quota", () => {
  const QUOTA = 200_000;
  let issuer: FakeIssuer;
  beforeEach(async () => {
    issuer = await startIssuer();
  });
  afterEach(() => issuer.close());

  test("removes no trusted entry, in any keyspace, and none of another cache", { timeout: 60_000 }, async () => {
    const on = await core({ caches: [testCache({ quota: QUOTA }), testCache({ name: "other", quota: QUOTA })] });
    const identity = await Identity.open({ database: on.database, github: { issuer: issuer.url, audience: AUDIENCE, rules: [{ repositoryId: 1_296_269, cache: "default", defaultBranch: "main", trustedRefs: ["refs/heads/main"] }] } });
    onTestFinished(() => identity.close());
    const granted = async (claims: object): Promise<Grant> => {
      const session = await identity.exchangeGithub(await issuer.idToken({ ...claims }));
      return (await identity.authenticator.authenticate(`Bearer ${session.token}`)).grant(on.caches.require("default"))!;
    };
    const [branch, merge] = [await granted({}), await granted(pullClaims)];
    expect([branch.trusted, merge.trusted]).toEqual([true, false]);

    const texts = new Map<string, string>();
    for (const [i, size] of [50, 99, 500, 5_000, 20_000].entries()) {
      const text = `${i}`.repeat(size);
      for (const keyspace of [FIXED, LOOSE]) await putText(on, branch, keyspace, `key ${i}`, text);
      const digest = createHash("sha256").update(`cas ${text}`).digest("hex");
      await putText(on, branch, CAS, digest, `cas ${text}`);
      const upload = await on.uploads.reserve(branch, FIXED, `parts ${i}`, "");
      await on.uploads.part(upload, "a", 0, Buffer.from(text));
      await on.uploads.commit(branch, FIXED, upload, { parts: null });
      texts.set(`fixed key ${i}`, text).set(`loose key ${i}`, text).set(`cas ${digest}`, `cas ${text}`).set(`fixed parts ${i}`, text);
    }
    const elsewhere = { ...branch, cache: "other" };
    await putText(on, elsewhere, FIXED, "k", "of the other cache");

    let sent = 0;
    for (let i = 0; sent < 2 * QUOTA; i++) {
      const bytes = Buffer.alloc([700, 90, 7_000, 30_000][i % 4]!, `pull ${i}`);
      sent += bytes.length;
      const how = [
        () => on.bodies.put(merge, FIXED, `pull ${i}`, bytes),
        () => on.bodies.put(merge, LOOSE, "key 1", bytes, { overwrite: true }),
        () => on.bodies.put(merge, CAS, createHash("sha256").update(bytes).digest("hex"), bytes),
        async () => {
          const upload = await on.uploads.reserve(merge, FIXED, `upload ${i}`, "");
          await on.uploads.part(upload, "a", 0, bytes);
          // Every second one is left open.
          if (i % 8 < 4) await on.uploads.commit(merge, FIXED, upload, { parts: null });
        },
      ][(i * 7) % 4]!;
      await how().catch((error: { code: string }) => {
        expect(error.code).toBe("STOW_OVER_QUOTA");
      });
      if (i % 10 === 0) await on.maintenance.pass();
    }
    await on.maintenance.pass();
    expect(on.failures).toEqual([]);
    expect(on.evicted.filter((one) => !one.scope.includes("pull") && one.scope !== "*")).toEqual([]);
    for (const [name, text] of texts) {
      const [keyspace, ...key] = name.split(" ");
      expect(await textOf(on, branch, { fixed: FIXED, loose: LOOSE, cas: CAS }[keyspace!]!, key.join(" ")), name).toBe(text);
    }
    expect(await textOf(on, elsewhere, FIXED, "k")).toBe("of the other cache");
    const usage = await on.quota.usage("default", true);
    expect(usage.untrusted).toBeLessThanOrEqual(QUOTA * 0.25 * 1.25);
  });
});

describe("a disk that is nearly full", () => {
  const GiB = 2 ** 30;

  /** Stores that say how full they are; deleting a file frees its bytes. */
  function disk(free: { bytes: number }): (store: BlobStore) => BlobStore {
    return (store) => {
      const sizes = new Map<string, number>();
      return {
        kind: store.kind, open: store.open.bind(store), list: store.list.bind(store), sweep: store.sweep.bind(store), close: store.close.bind(store),
        capacity: async () => ({ total: 10 * GiB, free: free.bytes }),
        create: async (cache) => {
          const writer = await store.create(cache);
          let size = 0;
          return {
            write: (chunk) => ((size += chunk.length), writer.write(chunk)),
            abort: () => writer.abort(),
            commit: async (digest) => {
              const name = await writer.commit(digest);
              sizes.set(name, size);
              return name;
            },
          };
        },
        remove: async (name) => {
          free.bytes += sizes.get(name) ?? 0;
          await store.remove(name);
        },
      };
    };
  }

  beforeEach(() => void vi.useFakeTimers({ now: 1_000 * DAY, toFake: ["Date"] }));
  afterEach(() => void vi.useRealTimers());

  test("loses its oldest files, untrusted ones first, once and no more than needed, however often one looks", async () => {
    const free = { bytes: GiB };
    const on = await core({ store: disk(free), minFree: 0.1 });
    const write = async (by: Grant, key: string, size: number, seed: number) => {
      vi.advanceTimersByTime(1_000);
      await on.bodies.put(by, FIXED, key, body(size, seed));
    };
    await write(main, "old trusted", 1_000, 1);
    await write(pull, "old untrusted", 1_000, 2);
    await write(main, "in the database", 50, 3);
    await write(pull, "young untrusted", 1_000, 4);
    await write(main, "young trusted", 1_000, 5);
    await on.maintenance.pass();
    expect(on.evicted).toEqual([]);

    free.bytes = GiB - 2_500;
    // Nothing is deleted before its grace is over, so it looks as if nothing had been evicted.
    for (let i = 0; i < 4; i++) await on.maintenance.pass();
    expect(keys(on)).toEqual(["old untrusted", "young untrusted", "old trusted"]);
    expect(on.evicted.every((one) => one.reason === "disk")).toBe(true);
    expect(await on.files()).toHaveLength(4);
    // On a full disk the grace is short.
    vi.advanceTimersByTime(5_001);
    await on.maintenance.pass();
    expect(await on.files()).toHaveLength(1);
    expect(free.bytes).toBe(GiB - 2_500 + 3_000);
    expect(await names(on)).toEqual(["in the database", "young trusted"]);
    expect(on.failures).toEqual([]);
  });

  test("loses no entry whose bytes are elsewhere", async () => {
    const on = await core({ store: disk({ bytes: 0 }), minFree: 0.1 });
    for (let i = 0; i < 5; i++) await putText(on, pull, FIXED, `k${i}`, `in the database ${i}`);
    await on.maintenance.pass();
    expect(on.evicted).toEqual([]);
  });

  test("loses bodies in parts as well", async () => {
    const free = { bytes: GiB };
    const on = await core({ store: disk(free), minFree: 0.1 });
    const upload = await on.uploads.reserve(main, FIXED, "parts", "");
    for (let i = 0; i < 3; i++) await on.uploads.part(upload, `p${i}`, i, body(1_000, i));
    await on.uploads.commit(main, FIXED, upload, { parts: null });
    free.bytes = GiB - 100;
    await on.maintenance.pass();
    expect(keys(on)).toEqual(["parts"]);
  });

  test("is left alone when no storage says how full it is", async () => {
    const on = await core({ minFree: 0.9, store: (store) => ({ ...disk({ bytes: 0 })(store), capacity: async () => undefined }) });
    await on.bodies.put(main, FIXED, "k", body(1_000));
    await on.maintenance.pass();
    expect(on.evicted).toEqual([]);
  });
});
