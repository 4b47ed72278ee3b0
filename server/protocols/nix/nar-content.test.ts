import { spawnSync } from "node:child_process";
import { hash, randomBytes } from "node:crypto";
import { gzipSync, zstdCompressSync } from "node:zlib";
import fc from "fast-check";
import { afterEach, describe, expect, it, vi } from "vitest";
import { nar } from "../../../test/fixtures/nix.ts";
import { Places } from "../../http/limits.ts";
import { NarInspector, sniff, type NarContent } from "./nar-content.ts";

afterEach(() => vi.unstubAllEnvs());

const plain = nar(Buffer.concat([randomBytes(30_000), Buffer.alloc(30_000)]));
const tool = (name: string) => spawnSync(name, ["-c"], { input: plain, maxBuffer: 2 ** 24 }).stdout;
const FILES: Record<string, Buffer> = {
  zstd: zstdCompressSync(plain),
  "zstd in frames": Buffer.concat([plain.subarray(0, 7), plain.subarray(7, 40_000), plain.subarray(40_000)].map((part) => zstdCompressSync(part))),
  gzip: gzipSync(plain),
  xz: tool("xz"),
  bzip2: tool("bzip2"),
};

/** @param cuts where one chunk ends and the next begins */
async function inspect(file: Buffer, cuts: readonly number[] = [], limit = 2 ** 24, places = new Places(1, 1_000)): Promise<NarContent> {
  const inspector = new NarInspector(limit, places);
  const bounds = [0, ...cuts.filter((cut) => cut < file.length).toSorted((a, b) => a - b), file.length];
  async function* chunks() {
    for (let i = 1; i < bounds.length; i++) yield file.subarray(bounds[i - 1], bounds[i]);
  }
  const passed: Buffer[] = [];
  for await (const chunk of inspector.pass(chunks())) passed.push(chunk);
  expect(Buffer.concat(passed).equals(file)).toBe(true);
  return inspector.content;
}

describe.each(Object.keys(FILES))("a NAR packed as %s", (name) => {
  const file = FILES[name]!;
  const compression = name.split(" ")[0];

  it("is known by its first bytes", () => {
    expect(sniff(file)).toBe(compression);
  });

  it("is known by what is in it, however it is cut on its way", async () => {
    const content = { compression, narHash: hash("sha256", plain), narSize: plain.length };
    expect(await inspect(file)).toEqual(content);
    await fc.assert(fc.asyncProperty(fc.array(fc.nat(file.length), { maxLength: 8 }), async (cuts) => void expect(await inspect(file, cuts)).toEqual(content)), { numRuns: 8 });
    expect(await inspect(file, Array.from({ length: 30 }, (_, i) => i + 1))).toEqual(content);
  });

  it("is refused when it breaks off, is spoilt, or is too large unpacked, and leaves its place to others", async () => {
    const places = new Places(1, 1_000);
    await expect(inspect(file.subarray(0, -9), [], 2 ** 24, places)).rejects.toThrow("can't be unpacked");
    await expect(inspect(Buffer.concat([file.subarray(0, 6), randomBytes(2_000)]), [5], 2 ** 24, places)).rejects.toThrow("can't be unpacked");
    await expect(inspect(file, [100], 50_000, places)).rejects.toThrow("50000 bytes when unpacked");
    expect(await inspect(file, [], 2 ** 24, places)).toMatchObject({ compression });
  });
});

it("a plain NAR needs no unpacking", async () => {
  expect(await inspect(plain)).toEqual({ compression: "none" });
});

it("what is none of them can't be judged", async () => {
  for (const file of [Buffer.alloc(0), Buffer.from("hello"), randomBytes(100).fill(7, 0, 8)]) expect(await inspect(file)).toEqual({});
});

it("a NAR whose first bytes are all there is, is none", async () => {
  await expect(inspect(FILES["zstd"]!.subarray(0, 12))).rejects.toThrow("breaks off");
});

it.each(["xz", "bzip2"])("without the tool %s nobody verifies it, and it is taken", async (name) => {
  vi.stubEnv("PATH", "/nonexistent");
  expect(await inspect(FILES[name]!)).toEqual({ compression: name });
  expect(await inspect(FILES[name]!, [30, 60, 90, 1_000])).toEqual({ compression: name });
});

it("places are waited for, and not for ever", async () => {
  const places = new Places(1, 50);
  const leave = await places.take();
  await expect(inspect(FILES["zstd"]!, [], 2 ** 24, places)).rejects.toThrow();
  leave();
  expect(await inspect(FILES["zstd"]!, [], 2 ** 24, places)).toMatchObject({ compression: "zstd" });
});
