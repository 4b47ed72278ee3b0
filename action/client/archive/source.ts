import { hash } from "node:crypto";
import { stretches, type Stretch } from "./chunker.ts";
import type { Chunk } from "./members.ts";
import { untouched, type StatIndex } from "./stat-index.ts";
import type { Found } from "./walk.ts";

/** A tree to be saved: what lies in it, how its content is cut, and what an index spares reading. */
export interface Source {
  readonly members: readonly Found[];
  /** Absolute paths as byte strings, by member. */
  absolute(member: number): string;
  readonly stretches: readonly Stretch[];
  /** Where the content of stretches is whose files were not touched since the index was written. */
  readonly known: ReadonlyMap<Stretch, readonly KnownPiece[]>;
  /** Whether nothing at all differs from the index. */
  readonly unchanged: boolean;
}

/** A chunk of the archive an index describes, or a slice of one: frame by number, start in what it inflates to. */
export interface KnownPiece {
  readonly chunk: Chunk;
  readonly frame: number;
  readonly start: number;
}

/** A pack that would fall into more pieces is read and sent whole: chunks must not become as many as files. */
const MOST_PIECES = 6;

/** @param roots absolute paths as byte strings, in the order of the members' roots */
export function plan(members: readonly Found[], roots: readonly string[], index: StatIndex | undefined): Source {
  const absolute = (member: number) => {
    const { root, path } = members[member]!;
    return path === "" ? roots[root]! : `${roots[root]!}/${path}`;
  };
  if (!index) return { members, absolute, stretches: [...stretches(members)], known: new Map(), unchanged: false };
  const old = match(members, index);
  let unchanged = members.length === index.content.members.length;
  for (const [i, member] of members.entries()) {
    const before = old[i]!;
    unchanged &&= before === i && member.link === index.content.members[i]!.link;
    if (before < 0) continue;
    // What a restore could write of a time is coarser than what the archive says.
    const { seconds, nanoseconds } = index.content.members[before]!;
    member.seconds = seconds;
    member.nanoseconds = nanoseconds;
  }
  if (unchanged) return { members, absolute, stretches: [...stretches(members)], known: new Map(), unchanged };
  const content = new OldContent(index, old);
  const list: Stretch[] = [];
  const known = new Map<Stretch, readonly KnownPiece[]>();
  for (const stretch of stretches(members)) {
    const runs = content.runs(stretch, members);
    const pieces = runs.map((run) => content.pieces(run));
    if (runs.length > 1 && pieces.reduce((sum, own) => sum + (own?.length ?? 1), 0) > MOST_PIECES) {
      list.push(stretch);
      continue;
    }
    for (const [i, run] of runs.entries()) {
      list.push(run);
      if (pieces[i]) known.set(run, pieces[i]);
    }
  }
  return { members, absolute, stretches: list, known, unchanged };
}

/** For each member its number in the index, or -1 when it is not there or was touched. */
function match(members: readonly Found[], index: StatIndex): Int32Array {
  const before = index.content.members;
  let numbers: Map<string, number> | undefined;
  let next = 0;
  return Int32Array.from(members, (member) => {
    // Both are in the same order, so most follow each other in both.
    let number: number | undefined = next;
    if (before[next]?.path !== member.path || before[next]!.root !== member.root) {
      numbers ??= new Map(before.map(({ root, path }, i) => [`${root}/${path}`, i]));
      number = numbers.get(`${member.root}/${member.path}`);
      if (number === undefined) return -1;
    }
    next = number + 1;
    return untouched(index, number, member) ? number : -1;
  });
}

/** The content of the archive an index describes, by position. */
class OldContent {
  readonly #index: StatIndex;
  readonly #old: Int32Array;
  /** Where each member's bytes begin, and each chunk. */
  readonly #starts: Float64Array;
  readonly #chunks: Float64Array;

  /** @param old for each member of the tree its number in the index, or -1 */
  constructor(index: StatIndex, old: Int32Array) {
    this.#index = index;
    this.#old = old;
    let at = 0;
    const positions = (length: number) => (at += length) - length;
    this.#starts = Float64Array.from(index.content.members, ({ size }) => positions(size));
    at = 0;
    this.#chunks = Float64Array.from(index.content.chunks, ({ length }) => positions(length));
  }

  /** A stretch in parts that are known each, because their files were not touched and follow each other there too, or not at all. */
  runs(stretch: Stretch, members: readonly Found[]): Stretch[] {
    const runs: { files: number[]; length: number }[] = [];
    let end: number | undefined;
    for (const [i, file] of stretch.files.entries()) {
      const { size } = members[file]!;
      const before = this.#old[file]!;
      const start = before < 0 ? -1 : this.#starts[before]!;
      if (start !== end || i === 0) runs.push({ files: [], length: 0 });
      const run = runs.at(-1)!;
      run.files.push(file);
      run.length += size;
      end = before < 0 ? -1 : start + size;
    }
    return runs.length === 1 ? [stretch] : runs.map(({ files, length }) => ({ ...stretch, first: files[0]!, files, length }));
  }

  /** Where a run is; undefined when its files were touched. */
  pieces({ first, offset, length }: Stretch): KnownPiece[] | undefined {
    const before = this.#old[first]!;
    if (before < 0) return undefined;
    const { chunks, places } = this.#index.content;
    const found: KnownPiece[] = [];
    const start = this.#starts[before]! + offset;
    for (let at = start, i = this.#chunkAt(start); at < start + length; i++) {
      const chunk = chunks[i]!;
      const { frame, start: begin } = places[i]!;
      const from = at - this.#chunks[i]!;
      const size = Math.min(chunk.length - from, start + length - at);
      found.push(size === chunk.length ? { chunk, frame, start: begin } : { chunk: this.#slice(frame, begin + from, size), frame, start: begin + from });
      at += size;
    }
    return found;
  }

  /** Bytes that were not hashed are named by where they are: equal to no content's name. */
  #slice(frame: number, start: number, length: number): Chunk {
    return { id: hash("sha256", `${this.#index.manifest.frames[frame]!.digest} ${start} ${length}`, "buffer"), length };
  }

  /** The chunk that a position is in. */
  #chunkAt(position: number): number {
    let [low, high] = [0, this.#chunks.length];
    while (high - low > 1) {
      const middle = (low + high) >>> 1;
      if (this.#chunks[middle]! <= position) low = middle;
      else high = middle;
    }
    return low;
  }
}
