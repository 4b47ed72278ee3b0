import { constants, zstdCompressSync, zstdDecompressSync } from "node:zlib";
import { FormatError } from "./varint.ts";

/** What a frame inflates to when there is enough for it, bytes: large frames compress and inflate best (archive.md §3). */
export const FRAME = 2 * 1024 * 1024;

// Level 3 takes half as much time again and saves 3 to 7 % of the bytes (README.md).
const PARAMS = { [constants.ZSTD_c_compressionLevel]: 2, [constants.ZSTD_c_checksumFlag]: 1 };

/** The longest that bytes become, whatever they are: ZSTD_compressBound, and what it adds to small ones. */
export function bound(length: number): number {
  return length + (length >> 8) + 128;
}

/** A frame. @returns a view of memory that has room for the worst case: whoever keeps it, copies it */
export function deflate(bytes: Uint8Array): Buffer {
  // With so much room it is made in one go.
  return zstdCompressSync(bytes, { params: PARAMS, chunkSize: bound(bytes.length) });
}

/**
 * Inflates into exactly `raw` bytes; naming them bounds what a hostile frame can ask for, and saves time too.
 * @throws FormatError
 */
export function inflate(bytes: Uint8Array, raw: number): Buffer {
  let inflated: Buffer;
  try {
    inflated = zstdDecompressSync(bytes, { chunkSize: Math.max(raw, 64), maxOutputLength: raw + 1 });
  } catch (error) {
    throw new FormatError(`a frame can't be inflated: ${(error as Error).message}`);
  }
  if (inflated.length !== raw) throw new FormatError("a frame is not as long as it should be");
  return inflated;
}

/** Which neighbours go into one frame. @param lengths of chunks in order @returns how many each frame takes */
export function grouped(lengths: readonly number[]): number[] {
  const groups: number[] = [];
  let [count, raw] = [0, 0];
  for (const length of lengths) {
    if (count > 0 && raw + length > FRAME * 1.25) {
      groups.push(count);
      [count, raw] = [0, 0];
    }
    count++;
    raw += length;
    if (raw >= FRAME) {
      groups.push(count);
      [count, raw] = [0, 0];
    }
  }
  if (count > 0) groups.push(count);
  return groups;
}
