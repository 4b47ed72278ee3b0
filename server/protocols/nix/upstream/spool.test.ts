import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { bytesOf, Random } from "../../../../test/fixtures/random.ts";
import { Spool, SpoolSpace } from "./spool.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "stowhouse-spool-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

async function read(spool: Spool, start: number, end: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  await spool.read(start, end, Buffer.alloc(50_000), async (chunk) => void chunks.push(Buffer.from(chunk)));
  return Buffer.concat(chunks);
}

test("any part of what came can be read at any time, from RAM or from the file, which has no name", async () => {
  const space = new SpoolSpace(folder, 1e9);
  const spool = await Spool.open(space, 0);
  const whole = bytesOf("spool", 3_000_000);
  const random = new Random(7);
  const part = async () => {
    const start = random.int(0, spool.length);
    const end = random.int(start, spool.length);
    return (await read(spool, start, end)).equals(whole.subarray(start, end));
  };
  while (spool.length < whole.length) {
    const next = spool.length + random.int(1, 90_000);
    const appending = spool.append(whole.subarray(spool.length, Math.min(next, whole.length)));
    expect(await Promise.all([part(), part()])).toEqual([true, true]);
    await appending;
    expect(readdirSync(folder)).toEqual([]);
  }
  await spool.flush();
  expect((await read(spool, 0, whole.length)).equals(whole)).toBe(true);
  expect(space.used).toBe(whole.length);
  await spool.close();
  expect(space.used).toBe(0);
});

test("it can start over", async () => {
  const spool = await Spool.open(new SpoolSpace(folder, 1e9), 10);
  await spool.append(Buffer.from("wrong bytes"));
  await spool.clear();
  await spool.append(Buffer.from("right"));
  await spool.flush();
  expect((await read(spool, 0, 5)).toString()).toBe("right");
  await spool.close();
});

test("it is closed in the middle of a write, and takes nothing any more", async () => {
  const spool = await Spool.open(new SpoolSpace(folder, 1e9), 0);
  for (let i = 0; i < 5; i++) spool.append(Buffer.alloc(60_000)).catch(() => {});
  await spool.close();
  await expect(spool.append(Buffer.from("x"))).rejects.toThrow("closed");
});

test("the space is for all together, and nobody is counted beyond what he took", async () => {
  const space = new SpoolSpace(folder, 100);
  const first = await Spool.open(space, 60);
  await expect(Spool.open(space, 50)).rejects.toMatchObject({ code: "STOW_UPSTREAM_BUSY" });
  await first.append(Buffer.alloc(90));
  await expect(first.append(Buffer.alloc(20))).rejects.toMatchObject({ code: "STOW_UPSTREAM_BUSY" });
  await first.close();
  await (await Spool.open(space, 100)).close();
  expect(space.used).toBe(0);
});
