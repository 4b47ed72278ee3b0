import { closeSync, constants, fchmodSync, fstatSync, ftruncateSync, futimesSync, mkdirSync, openSync, writeSync } from "node:fs";
import { parentPort } from "node:worker_threads";
import { release } from "./frames.ts";
import { native } from "./members.ts";
import { PART, ROW, split, type DirectoriesOrder, type FilesOrder, type WrittenReport } from "./writes.ts";

const { O_CREAT, O_EXCL, O_WRONLY } = constants;
/** A file's hole is kept where a whole run of this many zeros would be written. */
const HOLE = 64 * 1024;
const ZEROS = Buffer.alloc(HOLE);

function writeAll(fd: number, bytes: Uint8Array, from: number, to: number, length: number): void {
  for (let done = 0; done < length; ) done += writeSync(fd, bytes, from + done, length - done, to + done);
}

/** Writes all but holes. @returns where the last byte that was written ends */
function writePart(fd: number, bytes: Buffer, to: number): number {
  let [begun, end] = [0, 0];
  for (let at = 0; at < bytes.length; at += HOLE) {
    const next = Math.min(at + HOLE, bytes.length);
    if (ZEROS.compare(bytes, at, next, 0, next - at) !== 0) {
      end = next;
      continue;
    }
    if (end > begun) writeAll(fd, bytes, begun, to + begun, end - begun);
    begun = next;
  }
  if (end > begun) writeAll(fd, bytes, begun, to + begun, end - begun);
  return to + end;
}

function write({ content, paths, numbers }: FilesOrder): Float64Array<ArrayBuffer> {
  const bytes = Buffer.from(content.buffer, content.byteOffset, content.byteLength);
  const seen = new Float64Array((numbers.length / ROW) * 3);
  for (const [i, path] of split(paths).entries()) {
    const row = i * ROW;
    const [from, to, length, mode, time] = [numbers[row]!, numbers[row + 1]!, numbers[row + 2]!, numbers[row + 3]!, numbers[row + 4]!];
    const whole = mode !== PART;
    const fd = openSync(native(path), whole ? O_CREAT | O_EXCL | O_WRONLY : O_CREAT | O_WRONLY, whole ? mode : 0o600);
    try {
      if (length < HOLE) writeAll(fd, bytes, from, to, length);
      else if (writePart(fd, bytes.subarray(from, from + length), to) < to + length && whole) ftruncateSync(fd, length);
      if (!whole) continue;
      futimesSync(fd, time, time);
      let stats = fstatSync(fd);
      if ((stats.mode & 0o7777) !== mode) {
        fchmodSync(fd, mode);
        stats = fstatSync(fd);
      }
      seen[i * 3] = stats.mtimeMs;
      seen[i * 3 + 1] = stats.ctimeMs;
      seen[i * 3 + 2] = stats.ino;
    } finally {
      closeSync(fd);
    }
  }
  release(content);
  return seen;
}

function run(order: DirectoriesOrder | FilesOrder): Float64Array<ArrayBuffer> {
  if ("content" in order) return write(order);
  for (const path of split(order.directories)) mkdirSync(native(path), 0o700);
  return new Float64Array();
}

parentPort!.on("message", (order: DirectoriesOrder | FilesOrder) => {
  try {
    const seen = run(order);
    parentPort!.postMessage({ job: order.job, seen } satisfies WrittenReport, [seen.buffer]);
  } catch (error) {
    parentPort!.postMessage({ job: order.job, problem: (error as Error).message } satisfies WrittenReport);
  }
});
