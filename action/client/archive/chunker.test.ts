import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { bytesOf } from "../../../test/fixtures/random.ts";
import { cuts, LARGE, SEGMENT, stretches } from "./chunker.ts";
import { FILE, type Member } from "./members.ts";

const file = (path: string, size: number, root = 0): Member => ({ path, root, type: FILE, mode: 0o644, size, seconds: 0, nanoseconds: 0, target: "", link: -1 });
const trees = fc.array(fc.tuple(fc.string({ maxLength: 20 }), fc.oneof({ weight: 20, arbitrary: fc.integer({ min: 0, max: 9_000 }) }, { weight: 1, arbitrary: fc.integer({ min: LARGE - 5, max: 3 * SEGMENT }) })), { maxLength: 200 })
  .map((list) => list.map(([path, size], i) => file(`${path}${i}`, size, i < 100 ? 0 : 1)));

describe("stretches", () => {
  it("cover all content once, in order, in bounded pieces of one root", () => {
    fc.assert(fc.property(trees, (members) => {
      let next = { member: 0, offset: 0 };
      for (const { files, offset, length, packed } of stretches(members)) {
        expect(new Set(files.map((number) => members[number]!.root)).size).toBe(1);
        expect(length).toBeLessThanOrEqual(packed ? 3 * 4 * 1024 + LARGE : SEGMENT);
        for (const number of files) {
          while (members[next.member]!.size === 0) next = { member: next.member + 1, offset: 0 };
          expect({ member: number, offset }).toEqual(next);
          const end = packed ? members[number]!.size : offset + length;
          next = end === members[number]!.size ? { member: number + 1, offset: 0 } : { member: number, offset: end };
        }
      }
      while (members[next.member]?.size === 0) next = { member: next.member + 1, offset: 0 };
      expect(next).toEqual({ member: members.length, offset: 0 });
    }), { numRuns: 100 });
  });

  it("keep their bounds but around a file that is added or removed", () => {
    const members = Array.from({ length: 3_000 }, (_, i) => file(`package-${i % 70}/lib/file-${i}.js`, 200 + ((i * 7_919) % 9_000)));
    const bounds = (list: readonly Member[]) => new Set([...stretches(list)].map(({ files }) => files.map((number) => list[number]!.path).join("\n")));
    const before = bounds(members);
    for (const at of [0, 777, 2_999]) {
      const kept = bounds(members.toSpliced(at, 1));
      expect([...before].filter((pack) => !kept.has(pack)).length).toBeLessThanOrEqual(6);
    }
    expect(before.size).toBeGreaterThan(1_000);
    expect(before.size).toBeLessThan(2_500);
  });
});

describe("cuts", () => {
  const random = bytesOf("cuts", 8_000_000);

  it("cover all bytes in pieces of 192 KiB to 1 MiB, about 256 KiB on the average", () => {
    fc.assert(fc.property(fc.nat(random.length), (size) => {
      const lengths = cuts(random.subarray(0, size));
      expect(lengths.reduce((sum, length) => sum + length, 0)).toBe(size);
      for (const length of lengths.slice(0, -1)) expect(length).toBeGreaterThanOrEqual(192 * 1024);
      for (const length of lengths) expect(length).toBeLessThanOrEqual(1024 * 1024);
    }), { numRuns: 15 });
    const count = cuts(random).length;
    expect(random.length / count).toBeGreaterThan(180_000);
    expect(random.length / count).toBeLessThan(420_000);
  });

  it("fall into step again soon after bytes were inserted", () => {
    const ends = (bytes: Buffer, shift = 0) => {
      let at = -shift;
      return new Set(cuts(bytes).map((length) => (at += length)));
    };
    const before = ends(random);
    const after = ends(Buffer.concat([random.subarray(0, 1_000_000), Buffer.from("inserted"), random.subarray(1_000_000)]), 8);
    expect([...before].filter((end) => end > 1_000_000 && !after.has(end)).length).toBeLessThanOrEqual(4);
  });

  it("never change: what was saved once is found again", () => {
    expect(cuts(random.subarray(0, 2_000_000))).toMatchInlineSnapshot(`
      [
        328964,
        217353,
        277306,
        266258,
        198640,
        253402,
        387098,
        70979,
      ]
    `);
  });
});
