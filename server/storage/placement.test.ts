import crypto from "node:crypto";
import fs from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { openFilesystem } from "./filesystem.ts";
import { choose, StoragePlacement, type Candidate, type Credits, type Strategy } from "./placement.ts";
import type { BlobStore } from "./store.ts";

const candidate = (name: string, more: Partial<Candidate> = {}): Candidate => ({ name, weight: 0, used: 0, full: false, failing: false, ...more });

/** First choices for so many blobs. */
function turns(strategy: Strategy, candidates: readonly Candidate[], count: number): string {
  let credits: Credits = new Map();
  let chosen = "";
  for (let turn = 0; turn < count; turn++) {
    const choice = choose(strategy, candidates, credits);
    credits = choice.credits;
    chosen += choice.order[0];
  }
  return chosen;
}

describe("choose", () => {
  test("in-order takes the first that is neither full nor failing", () => {
    const order = (...candidates: Candidate[]) => choose("in-order", candidates, new Map()).order;
    expect(order(candidate("a"), candidate("b"))).toEqual(["a", "b"]);
    expect(order(candidate("a", { full: true }), candidate("b"))).toEqual(["b"]);
    expect(order(candidate("a", { failing: true }), candidate("b"))).toEqual(["b", "a"]);
    expect(order(candidate("a", { full: true }), candidate("b", { full: true }))).toEqual([]);
  });

  test("round-robin takes turns, over those that are well", () => {
    expect(turns("round-robin", [candidate("a"), candidate("b"), candidate("c")], 7)).toBe("abcabca");
    expect(turns("round-robin", [candidate("a"), candidate("b", { failing: true }), candidate("c")], 4)).toBe("acac");
  });

  test("split keeps its shares, finely mixed", () => {
    expect(turns("split", [candidate("a", { weight: 70 }), candidate("b", { weight: 30 })], 10)).toBe("abaaabaaba");
    expect(turns("split", [candidate("a", { weight: 1 }), candidate("b")], 3)).toBe("aaa");
  });

  test("a storage without a share stands in when the others can't", () => {
    expect(turns("split", [candidate("a", { weight: 1, full: true }), candidate("b")], 2)).toBe("bb");
  });

  test("a storage that comes back gets its share and no more", () => {
    const well = [candidate("a"), candidate("b")];
    let credits: Credits = new Map();
    for (let turn = 0; turn < 100; turn++) credits = choose("round-robin", [well[0]!, candidate("b", { failing: true })], credits).credits;
    const after = Array.from({ length: 10 }, () => {
      const choice = choose("round-robin", well, credits);
      credits = choice.credits;
      return choice.order[0];
    });
    expect(after.filter((name) => name === "b").length).toBe(5);
  });

  test("least-used takes the emptiest", () => {
    expect(choose("least-used", [candidate("a", { used: 0.5 }), candidate("b", { used: 0.2 }), candidate("c", { used: 0.9 })], new Map()).order).toEqual(["b", "a", "c"]);
  });

  test("every storage with room is tried exactly once, healthy ones first, whatever the strategy", () => {
    const strategies = fc.constantFrom<Strategy>("in-order", "round-robin", "split", "least-used");
    const some = fc.array(fc.record({ weight: fc.nat(100), used: fc.double({ min: 0, max: 1, noNaN: true }), full: fc.boolean(), failing: fc.boolean() }), { minLength: 1, maxLength: 6 });
    const owed = fc.array(fc.integer({ min: -100, max: 100 }), { maxLength: 6 });
    fc.assert(
      fc.property(strategies, some, owed, (strategy, states, credits) => {
        const candidates = states.map((state, index) => ({ name: String(index), ...state }));
        const { order } = choose(strategy, candidates, new Map(credits.map((credit, index) => [String(index), credit])));
        const roomy = candidates.filter((one) => !one.full);
        expect(order.toSorted()).toEqual(roomy.map((one) => one.name));
        const failing = order.map((name) => candidates[Number(name)]!.failing);
        expect(failing).toEqual(failing.toSorted((a, b) => Number(a) - Number(b)));
      }),
    );
  });

  test("split keeps its shares to within one blob of each storage", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 20 }), { minLength: 1, maxLength: 5 }), (weights) => {
        const total = weights.reduce((sum, weight) => sum + weight, 0);
        fc.pre(total > 0);
        const chosen = turns("split", weights.map((weight, index) => candidate(String(index), { weight })), total);
        for (const [index, weight] of weights.entries()) expect([...chosen].filter((name) => name === String(index)).length).toBe(weight);
      }),
    );
  });
});

describe("placement over real storages", () => {
  let root: string;
  let stores: Map<string, BlobStore>;
  beforeEach(async () => {
    root = await fs.mkdtemp(path.join(os.tmpdir(), "stowhouse-placement-"));
    stores = new Map();
    for (const name of ["a", "b"]) stores.set(name, await openFilesystem({ root: path.join(root, name) }));
  });
  afterEach(async () => {
    for (const store of stores.values()) await store.close();
    await fs.rm(root, { recursive: true });
  });

  const bytes = crypto.randomBytes(1000);
  async function put(placement: StoragePlacement): Promise<string> {
    const { store, writer } = await placement.create("default");
    await writer.write(Buffer.from(bytes));
    const name = await writer.commit(crypto.hash("sha256", bytes));
    expect((await placement.store(store).open(name, bytes.length)).size).toBe(bytes.length);
    return store;
  }
  const spread = (placement: Strategy, shares?: Record<string, number>) => () => ({ storages: ["a", "b"], placement, shares });

  test("blobs go where the strategy says and are read from there", async () => {
    const placement = new StoragePlacement(stores, spread("round-robin"));
    expect([await put(placement), await put(placement), await put(placement)]).toEqual(["a", "b", "a"]);
  });

  test("each cache takes its own turns", async () => {
    const placement = new StoragePlacement(stores, spread("round-robin"));
    expect((await placement.create("one")).store).toBe("a");
    expect((await placement.create("two")).store).toBe("a");
    expect((await placement.create("one")).store).toBe("b");
  });

  test("a storage that can't begin a blob is passed over, and tried again after the cool-down", async () => {
    const placement = new StoragePlacement(stores, spread("in-order"), { coolDown: 500 });
    await fs.rename(path.join(root, "a", "tmp"), path.join(root, "a", "gone"));
    expect([await put(placement), await put(placement)]).toEqual(["b", "b"]);
    expect([placement.failing("a"), placement.failing("b")]).toEqual([true, false]);
    await fs.rename(path.join(root, "a", "gone"), path.join(root, "a", "tmp"));
    await expect.poll(() => put(placement), { timeout: 5_000 }).toBe("a");
    expect(placement.failing("a")).toBe(false);
  });

  test("a storage that fails at the commit is avoided by the next blobs", async () => {
    const placement = new StoragePlacement(stores, spread("in-order"));
    await fs.writeFile(path.join(root, "a", "default"), "a file where the cache's directory belongs");
    await expect(put(placement)).rejects.toMatchObject({ code: "ENOTDIR" });
    expect([await put(placement), await put(placement)]).toEqual(["b", "b"]);
  });

  test("with every storage failing each is still tried, so that one that is well again is found at once", async () => {
    const placement = new StoragePlacement(new Map([["a", stores.get("a")!]]), () => ({ storages: ["a"], placement: "in-order" }));
    await fs.rename(path.join(root, "a", "tmp"), path.join(root, "a", "gone"));
    await expect(put(placement)).rejects.toMatchObject({ code: "ENOENT" });
    await fs.rename(path.join(root, "a", "gone"), path.join(root, "a", "tmp"));
    expect(await put(placement)).toBe("a");
  });

  test("a full storage takes nothing, and when all are full the error says so", async () => {
    const free = { a: 1, b: 100 };
    const place = (name: "a" | "b"): BlobStore => {
      const store = stores.get(name)!;
      return { kind: store.kind, create: (cache) => store.create(cache), open: (blob, size) => store.open(blob, size), remove: (blob) => store.remove(blob), list: () => store.list(), sweep: (age) => store.sweep(age), close: () => store.close(), capacity: async () => ({ total: 1000, free: free[name] }) };
    };
    const narrow = new Map([["a", place("a")], ["b", place("b")]]);
    expect(await put(new StoragePlacement(narrow, spread("in-order")))).toBe("b");
    free.b = 19;
    await expect(put(new StoragePlacement(narrow, spread("in-order")))).rejects.toMatchObject({ refusal: "diskFull" });
  });

  test("a storage that is no longer configured is an error, not a missing blob", () => {
    expect(() => new StoragePlacement(stores, spread("in-order")).store("c")).toThrow("storage c is not configured");
  });
});
