import { createHash, hash } from "node:crypto";
import { createZstdDecompress, zstdDecompressSync } from "node:zlib";
import { errors } from "../../core/errors.ts";
import { StreamInflater, Undecodable } from "../inflate.ts";
import type { Output } from "./wire.ts";

/** Outputs up to this size are inflated and hashed at once; larger ones as they arrive, beside the request thread. */
export const AT_ONCE = 256 * 1024;

/** Makes sure that bytes are the output they are said to be: what a compiler takes from the cache is what another one made. @throws digestMismatch */
export function assertOutput(bytes: Buffer, output: Output): void {
  const plain = output.zstd ? inflated(bytes, output.size) : bytes;
  if (plain.length !== output.size) throw errors.digestMismatch(`${plain.length} bytes are not ${output.size}`);
  const digest = hash("sha256", plain);
  if (digest !== output.output) throw errors.digestMismatch(`the output hashes to ${digest}`);
}

/** One zstd frame. @throws digestMismatch when it is none, is followed by other bytes, or holds more than `size` bytes */
export function inflated(bytes: Buffer, size: number): Buffer {
  try {
    const options = { chunkSize: Math.max(size, 64), maxOutputLength: size + 1, info: true };
    const { buffer, engine } = zstdDecompressSync(bytes, options) as unknown as { buffer: Buffer; engine: { bytesWritten: number } };
    // node:zlib stops at the end of the first frame and says nothing.
    if (engine.bytesWritten === bytes.length) return buffer;
  } catch {
    // Said below.
  }
  throw errors.digestMismatch("it is not one zstd frame of the announced size");
}

/** The same for a body that arrives in pieces: hands them on, and fails at its end unless they are the output. @throws digestMismatch */
export async function* verified(source: AsyncIterable<Buffer>, output: Output): AsyncGenerator<Buffer> {
  const sha256 = createHash("sha256");
  let length = 0;
  const take = (plain: Buffer) => {
    length += plain.length;
    if (length > output.size) throw errors.digestMismatch(`more than ${output.size} bytes`);
    sha256.update(plain);
  };
  if (output.zstd) yield* inflating(source, take);
  else {
    for await (const chunk of source) {
      take(chunk);
      yield chunk;
    }
  }
  const digest = sha256.digest("hex");
  if (length !== output.size || digest !== output.output) throw errors.digestMismatch(`the output has ${length} bytes and hashes to ${digest}`);
}

async function* inflating(source: AsyncIterable<Buffer>, take: (plain: Buffer) => void): AsyncGenerator<Buffer> {
  const frame = new StreamInflater(createZstdDecompress(), take);
  let given = 0;
  try {
    for await (const chunk of source) {
      given += chunk.length;
      await frame.write(chunk);
      yield chunk;
    }
    await frame.end();
    if (frame.decoder.bytesWritten !== given) throw errors.digestMismatch("its zstd frame is followed by other bytes");
  } catch (error) {
    throw error instanceof Undecodable ? errors.digestMismatch("it is no zstd frame") : error;
  } finally {
    frame.destroy();
  }
}
