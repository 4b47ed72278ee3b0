import { promisify } from "node:util";
import { constants, zstdCompressSync, zstdDecompress, zstdDecompressSync } from "node:zlib";
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

// Room for one byte more shows what is too long, and that it has ended. So much memory is never a part of Node's pool.
const inflating = (raw: number) => ({ chunkSize: Math.max(raw + 1, 64 * 1024), maxOutputLength: raw + 1 });
const decompress = promisify(zstdDecompress);

/**
 * Inflates into exactly `raw` bytes; naming them bounds what a hostile frame can ask for, and saves time too.
 * @throws FormatError
 */
export function inflate(bytes: Uint8Array, raw: number): Buffer {
  try {
    return exactly(zstdDecompressSync(bytes, inflating(raw)), raw);
  } catch (error) {
    throw refused(error);
  }
}

/** The same in one of Node's own threads, into memory of its own. @throws FormatError */
export async function inflateAside(bytes: Uint8Array, raw: number): Promise<Buffer<ArrayBuffer>> {
  try {
    return exactly(await decompress(bytes, inflating(raw)), raw);
  } catch (error) {
    throw refused(error);
  }
}

function exactly<T extends Buffer>(inflated: T, raw: number): T {
  if (inflated.length !== raw) throw new FormatError("a frame is not as long as it should be");
  return inflated;
}

function refused(error: unknown): Error {
  return error instanceof FormatError ? error : new FormatError(`a frame can't be inflated: ${(error as Error).message}`);
}

/** Gives memory back at once. V8 counts what lies outside its heap, and would collect all of it again and again. */
export function release({ buffer }: Uint8Array<ArrayBuffer>): void {
  buffer.transfer(0);
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
