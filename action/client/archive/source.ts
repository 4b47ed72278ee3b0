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
  /** The chunks of stretches whose files were not touched since the index was written. */
  readonly known: ReadonlyMap<Stretch, readonly Chunk[]>;
  /** Whether nothing at all differs from the index. */
  readonly unchanged: boolean;
}

/** @param roots absolute paths as byte strings, in the order of the members' roots */
export function plan(members: readonly Found[], roots: readonly string[], index: StatIndex | undefined): Source {
  const absolute = (member: number) => {
    const { root, path } = members[member]!;
    return path === "" ? roots[root]! : `${roots[root]!}/${path}`;
  };
  const old = index ? match(members, index) : undefined;
  for (const [i, member] of members.entries()) {
    const before = old?.[i] ?? -1;
    if (before >= 0) ({ seconds: member.seconds, nanoseconds: member.nanoseconds } = index!.content.members[before]!);
  }
  const list = [...stretches(members)];
  const known = new Map<Stretch, readonly Chunk[]>();
  if (index && old) {
    const content = new OldContent(index);
    for (const stretch of list) {
      const chunks = content.chunks(stretch, old);
      if (chunks) known.set(stretch, chunks);
    }
  }
  const unchanged = old !== undefined && members.length === index!.content.members.length && old.every((before, i) => before === i && members[i]!.link === index!.content.members[i]!.link);
  return { members, absolute, stretches: list, known, unchanged };
}

/** For each member its number in the index, or -1 when it is not there or was touched. */
function match(members: readonly Found[], index: StatIndex): Int32Array {
  const numbers = new Map<string, number>();
  for (const [i, { root, path }] of index.content.members.entries()) numbers.set(`${root}/${path}`, i);
  return Int32Array.from(members, (member) => {
    const before = numbers.get(`${member.root}/${member.path}`);
    return before !== undefined && untouched(index, before, member) ? before : -1;
  });
}

/** The content of the archive an index describes, by position. */
class OldContent {
  /** Where each member's bytes begin. */
  readonly #starts: Float64Array;
  readonly #sizes: Float64Array;
  readonly #chunkAt = new Map<number, number>();
  readonly #chunks: readonly Chunk[];

  constructor({ content: { members, chunks } }: StatIndex) {
    this.#chunks = chunks;
    this.#starts = new Float64Array(members.length);
    this.#sizes = Float64Array.from(members, ({ size }) => size);
    let at = 0;
    for (const [i, { size }] of members.entries()) {
      this.#starts[i] = at;
      at += size;
    }
    at = 0;
    for (const [i, { length }] of chunks.entries()) {
      this.#chunkAt.set(at, i);
      at += length;
    }
  }

  /** The chunks that make up exactly this stretch, if it is in one piece there and cut at its ends. */
  chunks({ files, offset, length }: Stretch, old: Int32Array): readonly Chunk[] | undefined {
    let end: number | undefined;
    for (const [i, file] of files.entries()) {
      const before = old[file]!;
      if (before < 0) return undefined;
      const start = this.#starts[before]!;
      if (end !== undefined && start !== end) return undefined;
      end = start + this.#sizes[before]!;
      if (i === 0 && !this.#chunkAt.has(start + offset)) return undefined;
    }
    const first = this.#chunkAt.get(this.#starts[old[files[0]!]!]! + offset)!;
    let last = first;
    for (let left = length; left > 0; last++) {
      const chunk = this.#chunks[last];
      if (!chunk || chunk.length > left) return undefined;
      left -= chunk.length;
    }
    return this.#chunks.slice(first, last);
  }
}
