import type { Content } from "./columns.ts";
import { FILE, timeOf } from "./members.ts";

/** Directories to be made, each before what is in it; paths as byte strings, ended by a zero byte each. */
export interface DirectoriesOrder {
  readonly job: number;
  readonly directories: string;
}

/**
 * Bytes that belong into files, one row of `numbers` a path (`row`). They come in few large values: an object a file would cost more than
 * the file.
 */
export interface FilesOrder {
  readonly job: number;
  /** The worker's from now on. */
  readonly content: Uint8Array<ArrayBuffer>;
  /** As byte strings, ended by a zero byte each. */
  readonly paths: string;
  readonly numbers: Float64Array;
}

/** A row of numbers: where the bytes are in the content, where they go in the file, how many; mode and time, or PART. */
export const ROW = 5;
/** In place of a mode: these are not all bytes of the file, it is finished when they are there. */
export const PART = -1;

/** For each whole file what was seen of it: times and inode, in the order of the paths. */
export type WrittenReport = { readonly job: number; readonly seen: Float64Array<ArrayBuffer> } | { readonly job: number; readonly problem: string };
export type Written = Extract<WrittenReport, { seen: unknown }>;

export function joined(paths: readonly string[]): string {
  return paths.length === 0 ? "" : `${paths.join("\0")}\0`;
}

export function split(paths: string): string[] {
  return paths === "" ? [] : paths.slice(0, -1).split("\0");
}

/** What of a frame's bytes belongs where: for each piece of a file its member, path, and row of numbers. */
export interface Writes {
  readonly members: number[];
  readonly paths: string[];
  readonly numbers: number[];
}

/** What each frame's bytes are written to, and which files are made of several writes. @param pathOf where a member is made */
export function writesOf({ members, chunks, places }: Content, frames: number, pathOf: (member: number) => string): { writes: readonly Writes[]; pieced: Set<number> } {
  const writes: readonly Writes[] = Array.from({ length: frames }, () => ({ members: [], paths: [], numbers: [] }));
  const pieced = new Set<number>();
  let span = { member: 0, frame: 0, from: 0, to: 0, length: 0 };
  const flush = () => {
    if (span.length === 0) return;
    const file = members[span.member]!;
    const whole = span.length === file.size;
    if (!whole) pieced.add(span.member);
    const own = writes[span.frame]!;
    own.members.push(span.member);
    own.paths.push(pathOf(span.member));
    own.numbers.push(span.from, span.to, span.length, whole ? file.mode : PART, timeOf(file));
  };
  let [member, to] = [0, 0];
  for (const [i, { length }] of chunks.entries()) {
    const { frame, start } = places[i]!;
    for (let done = 0; done < length; ) {
      while (members[member]!.type !== FILE || to === members[member]!.size) [member, to] = [member + 1, 0];
      const count = Math.min(length - done, members[member]!.size - to);
      if (span.member === member && span.frame === frame && span.from + span.length === start + done) span.length += count;
      else {
        flush();
        span = { member, frame, from: start + done, to, length: count };
      }
      done += count;
      to += count;
    }
  }
  flush();
  return { writes, pieced };
}
