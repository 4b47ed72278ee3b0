import { hash } from "node:crypto";
import { parentPort } from "node:worker_threads";
import { zstdDecompressSync } from "node:zlib";

/** A frame to be checked, and its chunks: identifiers one after the other, and how long each is. */
export interface Check {
  readonly job: number;
  /** In memory that is shared: it stays as it is until the answer. */
  readonly bytes: Uint8Array;
  readonly ids: Uint8Array;
  readonly lengths: readonly number[];
}

export interface Checked {
  readonly job: number;
  /** What is wrong with the frame. */
  readonly problem: string | undefined;
}

const ID_BYTES = 32;

function problemOf({ bytes, ids, lengths }: Check): string | undefined {
  const raw = lengths.reduce((sum, length) => sum + length, 0);
  let content: Buffer;
  try {
    // The size of the output bounds it too; whoever wants more is refused.
    const { buffer, engine } = zstdDecompressSync(bytes, { chunkSize: Math.max(raw, 64), maxOutputLength: raw + 1, info: true }) as unknown as { buffer: Buffer; engine: { bytesWritten: number } };
    if (engine.bytesWritten !== bytes.length) return "a frame is followed by other bytes";
    content = buffer;
  } catch {
    return "a frame is no zstd frame, or holds more than its chunks";
  }
  if (content.length !== raw) return "a frame holds less than its chunks";
  let start = 0;
  for (const [i, length] of lengths.entries()) {
    const digest = hash("sha256", content.subarray(start, start + length), "buffer");
    if (digest.compare(ids, i * ID_BYTES, (i + 1) * ID_BYTES) !== 0) return "a chunk does not hash to its identifier";
    start += length;
  }
  return undefined;
}

parentPort!.on("message", (check: Check) => {
  parentPort!.postMessage({ job: check.job, problem: problemOf(check) } satisfies Checked);
});
