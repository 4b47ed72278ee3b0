import { hash } from "node:crypto";
import { closeSync, constants, fchmodSync, fstatSync, ftruncateSync, futimesSync, openSync, writeSync } from "node:fs";
import { parentPort } from "node:worker_threads";
import { inflate } from "./frames.ts";
import { native } from "./members.ts";
import { FormatError } from "./varint.ts";

/** Bytes of a frame that belong into a file. */
export interface Write {
  readonly path: string;
  /** Where they are in what the frame inflates to, where they go in the file, and how many there are. */
  readonly from: number;
  readonly to: number;
  readonly length: number;
  /** The file's, when these are all its bytes; else it is finished when all frames are there. */
  readonly whole?: { readonly mode: number; readonly time: number };
}

export interface FrameOrder {
  readonly job: number;
  readonly digest: string;
  readonly raw: number;
  /** In shared memory: it stays as it is until the report. */
  readonly bytes: Uint8Array;
  readonly writes: readonly Write[];
}

/** For each whole file what was seen of it: times and inode, in the order of the writes. */
export type FrameReport = { readonly job: number; readonly seen: Float64Array<ArrayBuffer> } | { readonly job: number; readonly problem: string };

const { O_CREAT, O_EXCL, O_WRONLY } = constants;
/** A file's hole is kept where a whole run of this many zeros would be written. */
const HOLE = 64 * 1024;
const ZEROS = Buffer.alloc(HOLE);

function writeAll(fd: number, bytes: Buffer, at: number): void {
  for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done, bytes.length - done, at + done);
}

function writePart(fd: number, bytes: Buffer, to: number): void {
  for (let at = 0; at < bytes.length; at += HOLE) {
    const piece = bytes.subarray(at, at + HOLE);
    if (!piece.equals(piece.length === HOLE ? ZEROS : ZEROS.subarray(0, piece.length))) writeAll(fd, piece, to + at);
  }
}

function write(order: FrameOrder): Float64Array<ArrayBuffer> {
  // The digest covers what was sent; the frame's own checksum what it inflates to.
  if (hash("sha256", order.bytes, "hex") !== order.digest) throw new FormatError("a frame does not hash to its digest");
  const content = inflate(order.bytes, order.raw);
  const seen = new Float64Array(order.writes.length * 3);
  for (const [i, { path, from, to, length, whole }] of order.writes.entries()) {
    const bytes = content.subarray(from, from + length);
    const fd = openSync(native(path), whole ? O_CREAT | O_EXCL | O_WRONLY : O_CREAT | O_WRONLY, whole?.mode ?? 0o600);
    try {
      if (!whole) {
        writePart(fd, bytes, to);
        continue;
      }
      if (length < HOLE) writeAll(fd, bytes, 0);
      else {
        writePart(fd, bytes, 0);
        ftruncateSync(fd, length);
      }
      futimesSync(fd, whole.time, whole.time);
      let stats = fstatSync(fd);
      if ((stats.mode & 0o7777) !== whole.mode) {
        fchmodSync(fd, whole.mode);
        stats = fstatSync(fd);
      }
      seen.set([stats.mtimeMs, stats.ctimeMs, stats.ino], i * 3);
    } finally {
      closeSync(fd);
    }
  }
  return seen;
}

parentPort!.on("message", (order: FrameOrder) => {
  try {
    const seen = write(order);
    parentPort!.postMessage({ job: order.job, seen } satisfies FrameReport, [seen.buffer]);
  } catch (error) {
    parentPort!.postMessage({ job: order.job, problem: (error as Error).message } satisfies FrameReport);
  }
});
