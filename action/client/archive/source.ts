import { stretches, type Stretch } from "./chunker.ts";
import type { Content } from "./columns.ts";
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
  const list = [...stretches(members)];
  const known = new Map<Stretch, readonly Chunk[]>();
  if (!unchanged) {
    const content = new OldContent(index);
    for (const stretch of list) {
      const chunks = content.chunks(stretch, old);
      if (chunks) known.set(stretch, chunks);
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
  readonly #content: Content;
  /** Where each member's bytes begin. */
  readonly #starts: Float64Array;
  /** The chunks by where they begin. */
  readonly #chunkAt = new Map<number, number>();

  constructor({ content }: StatIndex) {
    this.#content = content;
    let at = 0;
    this.#starts = Float64Array.from(content.members, ({ size }) => (at += size) - size);
    at = 0;
    for (const [i, { length }] of content.chunks.entries()) {
      this.#chunkAt.set(at, i);
      at += length;
    }
  }

  /**
   * The chunks that make up exactly this stretch, if its files were not touched, lie there in one piece too, and are cut at its ends.
   * @param old for each member of the tree its number in the index, or -1
   */
  chunks({ files, offset, length }: Stretch, old: Int32Array): readonly Chunk[] | undefined {
    const { members, chunks } = this.#content;
    let end: number | undefined;
    for (const file of files) {
      const before = old[file]!;
      if (before < 0 || this.#starts[before] !== (end ?? this.#starts[before])) return undefined;
      end = this.#starts[before]! + members[before]!.size;
    }
    const first = this.#chunkAt.get(this.#starts[old[files[0]!]!]! + offset);
    if (first === undefined) return undefined;
    let last = first;
    for (let left = length; left > 0; last++) {
      const chunk = chunks[last];
      if (!chunk || chunk.length > left) return undefined;
      left -= chunk.length;
    }
    return chunks.slice(first, last);
  }
}
