import fc from "fast-check";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, it } from "vitest";
import { bytesOf } from "../../../test/fixtures/random.ts";
import { digestOf, type Found, type Piece } from "../../../server/protocols/archive/wire.ts";
import { Download, ranges } from "./download.ts";
import type { Remote } from "./remote.ts";

/** A body of a head and frames, of these sizes. */
function bodyOf(head: number, sizes: readonly number[]) {
  const body = bytesOf(`${head} ${sizes.join(" ")}`, sizes.reduce((sum, size) => sum + size, head));
  let at = head;
  const frames: Piece[] = sizes.map((size) => ({ digest: digestOf(body.subarray(at, (at += size))), size, raw: size }));
  return { body, frames, found: { key: "k", id: 1, digest: "", size: body.length, manifest: head, head } satisfies Found };
}

/** Serves a body in bits of a size, each some turns of the loop after the one before. */
function remoteOf(body: Buffer, bit: number, turns: (start: number) => number = () => 0): Remote & { asked: number } {
  const remote = {
    asked: 0,
    async read(_entry: number, start: number, end: number, take: (at: number, bytes: Buffer) => Promise<unknown> | undefined) {
      remote.asked++;
      for (let at = start; at < end; at += bit) {
        for (let i = turns(start); i > 0; i--) await new Promise(setImmediate);
        await take(at, Buffer.from(body.subarray(at, Math.min(at + bit, end))));
      }
    },
  };
  return remote as unknown as Remote & { asked: number };
}

it("requests cover a body once, and all of a small one is one request", () => {
  fc.assert(fc.property(fc.nat(3_000_000), fc.nat(100_000_000), (head, rest) => {
    const all = [...ranges(head, head + rest)].toSorted((a, b) => a.start - b.start);
    if (head + rest === 0) return;
    expect([all[0]!.start, all.at(-1)!.end]).toEqual([0, head + rest]);
    for (const [i, { start, end }] of all.entries()) expect(start < end && start === (i === 0 ? 0 : all[i - 1]!.end)).toBe(true);
  }));
  expect([...ranges(5_000, 200_000)]).toHaveLength(1);
  expect([...ranges(600_000, 100_000_000)].filter(({ end }) => end <= 600_000)).toHaveLength(4);
});

it("frames come whole, whatever the requests cut them into, and also those that arrive before the head", async () => {
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: 700_000 }), fc.array(fc.integer({ min: 1, max: 400_000 }), { minLength: 1, maxLength: 40 }), fc.integer({ min: 20_000, max: 90_000 }), fc.boolean(), async (head, sizes, bit, late) => {
      const { body, frames, found } = bodyOf(head, sizes);
      const download = new Download(remoteOf(body, bit, (start) => (late && start < head ? 40 : start % 3)), found);
      expect((await download.head).equals(body.subarray(0, head))).toBe(true);
      const got = new Map<number, string>();
      await download.frames(frames, async (frame, bytes) => {
        await sleep(0);
        expect(got.has(frame)).toBe(false);
        got.set(frame, digestOf(bytes));
      });
      expect(frames.map((_, i) => got.get(i))).toEqual(frames.map(({ digest }) => digest));
      await download.stop();
    }),
    { numRuns: 25 },
  );
});

it("a frame that is not what its digest says ends it, and is not handed over", async () => {
  const { body, frames, found } = bodyOf(1_000, Array.from({ length: 30 }, () => 500_000));
  body[1_000 + 500_000 * 3 + 7]! ^= 1;
  const download = new Download(remoteOf(body, 65_536), found);
  const got: number[] = [];
  await expect(download.frames(frames, async (frame) => void got.push(frame))).rejects.toThrow("does not hash");
  expect(got).not.toContain(3);
});

it("when a frame can't be used, nothing more is asked for", async () => {
  const { body, frames, found } = bodyOf(1_000, Array.from({ length: 200 }, () => 1_000_000));
  const remote = remoteOf(body, 65_536, () => 1);
  const download = new Download(remote, found);
  await expect(download.frames(frames, () => Promise.reject(new Error("the disk is full")))).rejects.toThrow("the disk is full");
  expect(remote.asked).toBeLessThan(12);
});

it("connections wait while many frames are being worked on", async () => {
  const { body, frames, found } = bodyOf(1_000, Array.from({ length: 300 }, () => 100_000));
  const download = new Download(remoteOf(body, 65_536), found);
  let [now, most] = [0, 0];
  await download.frames(frames, async () => {
    most = Math.max(most, ++now);
    await sleep(1);
    now--;
  });
  expect(most).toBeGreaterThan(8);
  expect(most).toBeLessThan(40);
});

it("stopping before anyone knows the frames ends all requests", async () => {
  const { body, found } = bodyOf(1_000, [500_000, 500_000]);
  const download = new Download(remoteOf(body, 65_536), found);
  await download.head;
  await download.stop();
});
