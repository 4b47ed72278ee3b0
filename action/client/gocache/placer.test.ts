import { hash } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { zstdCompressSync } from "node:zlib";
import { afterEach, beforeEach, expect, it } from "vitest";
import { bytesOf } from "../../../test/fixtures/random.ts";
import { Placer } from "./placer.ts";
import type { Fetched } from "./remote.ts";
import { DiskStore } from "./store.ts";

let root: string;
let placer: Placer;
beforeEach(() => {
  root = mkdtempSync(path.join(tmpdir(), "stowhouse-placer-"));
  placer = new Placer(new DiskStore(root, 0).root);
});
afterEach(() => {
  placer.stop();
  rmSync(root, { recursive: true, force: true });
});

function fetched(plain: Buffer, body = zstdCompressSync(plain)): Fetched {
  const output = hash("sha256", plain);
  return { head: { action: hash("sha256", output), output, size: plain.length, stored: body.length, zstd: true, found: true, time: 1 }, body };
}

const placed = (plain: Buffer) => readFileSync(path.join(root, "o", hash("sha256", plain)[0]!, hash("sha256", plain)));

it("puts outputs in their place, and takes two at once", async () => {
  const [large, text] = [bytesOf("large", 2_000_000), Buffer.from("go ".repeat(1000))];
  // A part of a larger piece of memory, as it comes from a socket.
  const packed = zstdCompressSync(text);
  const within = Buffer.concat([Buffer.alloc(7), packed, Buffer.alloc(7)]).subarray(7, 7 + packed.length);
  const both = [placer.place(fetched(large)), placer.place(fetched(text, within))];
  expect(placer.free).toBe(false);
  await Promise.all(both);
  expect(placer.free).toBe(true);
  expect([placed(large).equals(large), placed(text).equals(text)]).toEqual([true, true]);
});

it("puts nothing there that is not what it is said to be, and goes on", async () => {
  const [good, other] = [Buffer.from("good"), Buffer.from("evil")];
  await expect(placer.place(fetched(good, zstdCompressSync(other)))).rejects.toThrow("is not the output it says");
  await expect(placer.place(fetched(good, Buffer.from("no frame")))).rejects.toThrow();
  expect(readdirSync(path.join(root, "o"), { recursive: true }).filter((name) => name.length > 8)).toEqual([]);
  await placer.place(fetched(good));
  expect(placed(good).equals(good)).toBe(true);
});

it("says what the file system says", async () => {
  rmSync(path.join(root, "tmp"), { recursive: true });
  writeFileSync(path.join(root, "tmp"), "");
  await expect(placer.place(fetched(Buffer.from("a")))).rejects.toThrow("ENOTDIR");
  rmSync(path.join(root, "tmp"));
  mkdirSync(path.join(root, "tmp"));
  await placer.place(fetched(Buffer.from("a")));
});

it("takes nothing more once its thread has ended, and leaves nobody waiting", async () => {
  const waiting = placer.place(fetched(bytesOf("large", 5_000_000)));
  placer.stop();
  await expect(waiting).rejects.toThrow("ended");
  expect(placer.free).toBe(false);
});
