import { hash } from "node:crypto";
import { zstdCompressSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { bytesOf } from "../../../test/fixtures/random.ts";
import { StowError } from "../../core/errors.ts";
import { assertOutput, verified } from "./outputs.ts";

const plain = bytesOf("an output", 700_000);
const good = { output: hash("sha256", plain), size: plain.length };
const packed = zstdCompressSync(plain);

async function* pieces(bytes: Buffer, size = 65_536): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}
async function through(bytes: Buffer, output: Parameters<typeof assertOutput>[1]): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of verified(pieces(bytes), output)) chunks.push(chunk);
  return Buffer.concat(chunks);
}
const bomb = zstdCompressSync(Buffer.alloc(50_000_000));

describe.each([
  ["at once", async (bytes: Buffer, output: Parameters<typeof assertOutput>[1]) => (assertOutput(bytes, output), bytes)],
  ["as they arrive", through],
])("outputs checked %s", (_, check) => {
  it("pass unchanged when they are what they are said to be", async () => {
    expect((await check(plain, { ...good, zstd: false })).equals(plain)).toBe(true);
    expect((await check(packed, { ...good, zstd: true })).equals(packed)).toBe(true);
    const nothing = { output: hash("sha256", ""), size: 0, zstd: false };
    expect(await check(Buffer.alloc(0), nothing)).toHaveLength(0);
  });

  it.each([
    ["another digest", packed, { ...good, output: hash("sha256", "x"), zstd: true }],
    ["another size", packed, { ...good, size: 699_999, zstd: true }],
    ["a larger size", packed, { ...good, size: 700_001, zstd: true }],
    ["one byte flipped", Buffer.concat([packed.subarray(0, 500), Buffer.from([packed[500]! ^ 1]), packed.subarray(501)]), { ...good, zstd: true }],
    ["its end missing", packed.subarray(0, -5), { ...good, zstd: true }],
    ["other bytes after it", Buffer.concat([packed, Buffer.from("more")]), { ...good, zstd: true }],
    ["another frame after it", Buffer.concat([packed, zstdCompressSync(Buffer.from("more"))]), { ...good, zstd: true }],
    ["more in it than it says", bomb, { ...good, zstd: true }],
    ["no compression at all", plain, { ...good, zstd: true }],
    ["plain bytes of another digest", plain.subarray(1), { ...good, size: plain.length - 1, zstd: false }],
  ])("with %s are refused", async (_, bytes, output) => {
    const error = await check(bytes, output).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(StowError);
    expect((error as StowError).code).toBe("STOW_DIGEST_MISMATCH");
  });
});
