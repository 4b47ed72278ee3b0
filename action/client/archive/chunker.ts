import { FILE, type Member } from "./members.ts";

/**
 * How content is cut into chunks. Small files are packed together, and where a pack ends depends on paths and sizes alone:
 * it is known before anything is read, and a file that is rewritten moves no boundary of its neighbours. Large files are cut
 * by content (FastCDC) within segments of a fixed size, so that they can be read in parallel and in bounded memory.
 */
const PACK = 4 * 1024;
const LEAST_PACK = PACK / 4;
const MOST_PACK = PACK * 3;
/** Files from here on are cut by content. */
export const LARGE = 64 * 1024;
export const SEGMENT = 16 * 1024 * 1024;

// No byte before the minimum is looked at. Edited files cost as many new bytes as with a minimum of 64 KiB.
const MIN_CUT = 192 * 1024;
const AVERAGE_CUT = 256 * 1024;
const MAX_CUT = 1024 * 1024;
// Harder to meet before the average, easier after it: lengths keep close to it.
const MASK_BEFORE = 0xffff8000 | 0;
const MASK_AFTER = 0xffff0000 | 0;

/** Consecutive content that is read at once: whole small files, or a segment of a large one. */
export interface Stretch {
  /** The first member of it, and how many files it has bytes of. */
  readonly first: number;
  readonly files: readonly number[];
  /** Where it begins in its first file. */
  readonly offset: number;
  readonly length: number;
  /** Whether it is one chunk, or is cut by content. */
  readonly packed: boolean;
}

export function* stretches(members: readonly Member[]): Generator<Stretch> {
  let files: number[] = [];
  let length = 0;
  let root = 0;
  const pack = (): Stretch => ({ first: files[0]!, files, offset: 0, length, packed: true });
  for (const [index, member] of members.entries()) {
    if (member.type !== FILE || member.size === 0) continue;
    const large = member.size >= LARGE;
    if (files.length > 0 && (large || member.root !== root)) {
      yield pack();
      [files, length] = [[], 0];
    }
    root = member.root;
    if (large) {
      for (let offset = 0; offset < member.size; offset += SEGMENT) {
        yield { first: index, files: [index], offset, length: Math.min(SEGMENT, member.size - offset), packed: false };
      }
      continue;
    }
    files.push(index);
    length += member.size;
    if ((length >= LEAST_PACK && fnv(member.path) / 2 ** 32 < Math.max(member.size, 256) / PACK) || length >= MOST_PACK) {
      yield pack();
      [files, length] = [[], 0];
    }
  }
  if (files.length > 0) yield pack();
}

/** FNV-1a of a byte string. */
function fnv(path: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < path.length; i++) hash = Math.imul(hash ^ path.charCodeAt(i), 0x01000193);
  // The last bytes of a path differ most; without this they would hardly reach the high bits.
  hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d);
  return (hash ^ (hash >>> 13)) >>> 0;
}

/** The lengths of the chunks that bytes are cut into by their content. */
export function cuts(bytes: Uint8Array): number[] {
  const lengths: number[] = [];
  for (let start = 0; start < bytes.length; ) {
    const length = cut(bytes, start);
    lengths.push(length);
    start += length;
  }
  return lengths;
}

function cut(bytes: Uint8Array, start: number): number {
  const left = bytes.length - start;
  if (left <= MIN_CUT) return left;
  const normal = start + Math.min(left, AVERAGE_CUT);
  const end = start + Math.min(left, MAX_CUT);
  let hash = 0;
  let at = start + MIN_CUT;
  for (; at < normal; at++) {
    hash = ((hash << 1) + GEAR[bytes[at]!]!) | 0;
    if ((hash & MASK_BEFORE) === 0) return at + 1 - start;
  }
  for (; at < end; at++) {
    hash = ((hash << 1) + GEAR[bytes[at]!]!) | 0;
    if ((hash & MASK_AFTER) === 0) return at + 1 - start;
  }
  return end - start;
}

/** Any numbers without a pattern, but the same for ever: other ones cut elsewhere. */
const GEAR = Int32Array.from({ length: 256 }, (_, i) => {
  let x = Math.imul(i + 1, 0x9e3779b1);
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return x ^ (x >>> 16);
});
