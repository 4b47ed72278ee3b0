import { hash } from "node:crypto";
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { parentPort } from "node:worker_threads";
import { cuts, SEGMENT } from "./chunker.ts";
import { deflate, grouped } from "./frames.ts";
import { native, readable } from "./members.ts";

/** A file to be read, with what the walk saw of it. */
export interface FileToRead {
  readonly path: string;
  /** Where reading begins, and how much is read. */
  readonly offset: number;
  readonly length: number;
  readonly size: number;
  readonly modified: number;
  readonly changed: number;
}

/** What is read as one: chunked alone. */
export interface Section {
  readonly files: readonly FileToRead[];
  readonly length: number;
  readonly packed: boolean;
}

export type Order =
  | { readonly job: number; readonly read: readonly Section[] }
  /** Chunks of the unit (by number) to make frames of, one after the other in `memory`; the unit is forgotten then. */
  | { readonly job: number; readonly unit: number; readonly wanted: readonly number[]; readonly memory: SharedArrayBuffer };

/** Chunks of a unit: for each section its lengths, and all identifiers one after the other. */
export interface ReadUnit {
  readonly lengths: readonly (readonly number[])[];
  readonly ids: Uint8Array;
}

export interface MadeFrame {
  readonly digest: string;
  readonly size: number;
  readonly raw: number;
  /** How many of the wanted chunks it holds. */
  readonly count: number;
}

export type Report = { readonly job: number; readonly unit: ReadUnit } | { readonly job: number; readonly frames: readonly MadeFrame[] } | { readonly job: number; readonly problem: string };

const units = new Map<number, { bytes: Buffer; lengths: number[] }>();
/** Memory of units that are done: pages the system has given already. No unit is longer than a segment. */
const spare: Buffer[] = [];

function readFile(file: FileToRead, target: Buffer, at: number): void {
  const fd = openSync(native(file.path), "r");
  try {
    for (let done = 0; done < file.length; ) {
      const count = readSync(fd, target, at + done, file.length - done, file.offset + done);
      if (count === 0) throw new Error(`${readable(file.path)} became shorter while it was saved`);
      done += count;
    }
    const { size, mtimeMs, ctimeMs } = fstatSync(fd);
    // A file that is being written would be stored half old, half new.
    if (size !== file.size || mtimeMs !== file.modified || ctimeMs !== file.changed) throw new Error(`${readable(file.path)} was changed while it was saved`);
  } finally {
    closeSync(fd);
  }
}

function read(job: number, sections: readonly Section[]): ReadUnit {
  const bytes = spare.pop() ?? Buffer.allocUnsafeSlow(SEGMENT);
  const lengths: number[][] = [];
  let at = 0;
  for (const { files, length, packed } of sections) {
    let end = at;
    for (const file of files) {
      readFile(file, bytes, end);
      end += file.length;
    }
    lengths.push(packed ? [length] : cuts(bytes.subarray(at, end)));
    at = end;
  }
  const all = lengths.flat();
  const ids = Buffer.allocUnsafeSlow(all.length * 32);
  let start = 0;
  for (const [i, length] of all.entries()) {
    hash("sha256", bytes.subarray(start, start + length), "buffer").copy(ids, i * 32);
    start += length;
  }
  units.set(job, { bytes, lengths: all });
  return { lengths, ids };
}

function frames(unit: number, wanted: readonly number[], memory: Buffer): MadeFrame[] {
  const { bytes, lengths } = units.get(unit)!;
  units.delete(unit);
  spare.push(bytes);
  const starts: number[] = [];
  for (let at = 0, i = 0; i < lengths.length; at += lengths[i++]!) starts.push(at);
  const made: MadeFrame[] = [];
  let [from, end] = [0, 0];
  for (const count of grouped(wanted.map((chunk) => lengths[chunk]!))) {
    const chunks = wanted.slice(from, from + count);
    from += count;
    const neighbours = chunks.at(-1)! - chunks[0]! === count - 1;
    const parts = chunks.map((chunk) => bytes.subarray(starts[chunk], starts[chunk]! + lengths[chunk]!));
    const raw = neighbours ? bytes.subarray(starts[chunks[0]!], starts[chunks.at(-1)!]! + lengths[chunks.at(-1)!]!) : Buffer.concat(parts);
    const frame = deflate(raw);
    end += frame.copy(memory, end);
    made.push({ digest: hash("sha256", frame, "hex"), size: frame.length, raw: raw.length, count });
  }
  return made;
}

parentPort!.on("message", (order: Order) => {
  const { job } = order;
  try {
    if ("read" in order) parentPort!.postMessage({ job, unit: read(job, order.read) } satisfies Report);
    else parentPort!.postMessage({ job, frames: frames(order.unit, order.wanted, Buffer.from(order.memory)) } satisfies Report);
  } catch (error) {
    parentPort!.postMessage({ job, problem: (error as Error).message } satisfies Report);
  }
});
