import type { ColumnName, Root } from "../../../server/protocols/archive/wire.ts";
import { DIRECTORY, FILE, HARDLINK, SYMLINK, type Chunk, type Member, type MemberType, type Place } from "./members.ts";
import { FormatError, VarintReader, VarintWriter } from "./varint.ts";

/**
 * An archive's columns (server/protocols/archive/README.md), inflated. What seldom changes is apart from what often does: a
 * column that equals that of another archive is not sent.
 */
export type Columns = Readonly<Record<ColumnName, Buffer>>;

export interface Content {
  readonly members: readonly Member[];
  readonly chunks: readonly Chunk[];
  readonly places: readonly Place[];
}

/** The columns that depend on the tree alone. */
export function encodeMembers(members: readonly Member[]): Pick<Columns, "paths" | "attributes" | "times" | "links"> {
  const attributes = new VarintWriter();
  const seconds = new VarintWriter();
  const nanoseconds = new VarintWriter();
  const links: string[] = [];
  let second = 0;
  for (const member of members) {
    attributes.unsigned(member.mode * 4 + member.type);
    if (member.type === FILE) attributes.unsigned(member.size);
    if (member.type === SYMLINK) links.push(member.target);
    if (member.type === HARDLINK) links.push(String(member.link));
    seconds.signed(member.seconds - second);
    nanoseconds.unsigned(member.nanoseconds);
    second = member.seconds;
  }
  return {
    paths: terminated(members.map(({ path }) => path)),
    attributes: attributes.finish(),
    times: Buffer.concat([seconds.finish(), nanoseconds.finish()]),
    links: terminated(links),
  };
}

/** The columns that depend on what was sent, and when. */
export function encodeChunks(chunks: readonly Chunk[], places: readonly Place[]): Pick<Columns, "lengths" | "places" | "ids"> {
  const lengths = new VarintWriter();
  const where = new VarintWriter();
  let [frame, end] = [0, 0];
  for (const [i, { length }] of chunks.entries()) {
    const place = places[i]!;
    lengths.unsigned(length);
    where.signed(place.frame - frame);
    where.signed(place.start - (place.frame === frame ? end : 0));
    [frame, end] = [place.frame, place.start + length];
  }
  return { lengths: lengths.finish(), places: where.finish(), ids: Buffer.concat(chunks.map(({ id }) => id)) };
}

/** @param frames what each inflates to, bytes @throws FormatError for columns that don't fit each other */
export function decodeColumns(columns: Columns, roots: readonly Root[], frames: readonly number[]): Content {
  const members = decodeMembers(columns, roots);
  const count = columns.ids.length / ID_BYTES;
  if (!Number.isInteger(count)) throw new FormatError("the identifiers are cut off");
  const lengths = new VarintReader(columns.lengths);
  const where = new VarintReader(columns.places);
  const chunks: Chunk[] = [];
  const places: Place[] = [];
  let [frame, end, total] = [0, 0, 0];
  for (let i = 0; i < count; i++) {
    const length = lengths.unsigned();
    const next = frame + where.signed();
    const start = where.signed() + (next === frame ? end : 0);
    const raw = frames[next];
    if (raw === undefined || length === 0 || start < 0 || start + length > raw) throw new FormatError("a chunk lies outside the frames");
    chunks.push(new StoredChunk(columns.ids, i, length));
    places.push({ frame: next, start });
    [frame, end, total] = [next, start + length, total + length];
  }
  lengths.end();
  where.end();
  if (total !== members.reduce((sum, { size }) => sum + size, 0)) throw new FormatError("the chunks are not as long as the files");
  return { members, chunks, places };
}

const ID_BYTES = 32;

/** Its name is read when it is asked for: a restore never asks, and tens of thousands of views would be collected with it. */
class StoredChunk implements Chunk {
  readonly #ids: Buffer;
  readonly #index: number;
  readonly length: number;

  constructor(ids: Buffer, index: number, length: number) {
    this.#ids = ids;
    this.#index = index;
    this.length = length;
  }

  get id(): Buffer {
    return this.#ids.subarray(this.#index * ID_BYTES, (this.#index + 1) * ID_BYTES);
  }
}

function decodeMembers(columns: Columns, roots: readonly Root[]): Member[] {
  const paths = split(columns.paths);
  const links = split(columns.links);
  const attributes = new VarintReader(columns.attributes);
  const times = new VarintReader(columns.times);
  if (roots.reduce((sum, root) => sum + root.members, 0) !== paths.length) throw new FormatError("the roots don't have as many members as there are paths");
  const members: Member[] = [];
  let [link, second] = [0, 0];
  for (const [root, { members: count }] of roots.entries()) {
    for (let i = 0; i < count; i++) {
      const attribute = attributes.unsigned();
      const type = (attribute % 4) as MemberType;
      second += times.signed();
      const text = type === SYMLINK || type === HARDLINK ? links[link++] : "";
      const original = type === HARDLINK ? Number(text) : -1;
      if (text === undefined || (type === HARDLINK && members[original]?.type !== FILE)) throw new FormatError("a link leads nowhere");
      members.push({
        path: paths[members.length]!, root, type, mode: Math.floor(attribute / 4) & 0o7777, size: type === FILE ? attributes.unsigned() : 0,
        seconds: second, nanoseconds: 0, target: type === SYMLINK ? text : "", link: original,
      });
    }
  }
  for (const member of members) {
    member.nanoseconds = times.unsigned();
    if (member.nanoseconds >= 1e9) throw new FormatError("a time is none");
  }
  attributes.end();
  times.end();
  if (link !== links.length) throw new FormatError("there are more links than members");
  assertPaths(members);
  return members;
}

/** What no member may be called, on any system: it would lie elsewhere than it seems. */
function assertPaths(members: readonly Member[]): void {
  let root = -1;
  const types = new Map<string, MemberType>();
  for (const { path, root: own, type } of members) {
    if (own !== root) {
      types.clear();
      root = own;
      if (path !== "") throw new FormatError("a root's first member is not itself");
    } else {
      const cut = path.lastIndexOf("/");
      const name = path.slice(cut + 1);
      if (cut === 0 || name === "" || name === "." || name === "..") throw new FormatError(`a member is called ${JSON.stringify(path)}`);
      // A directory comes before what is in it, so nothing lies below a link or a file.
      if (types.get(cut < 0 ? "" : path.slice(0, cut)) !== DIRECTORY || types.has(path)) throw new FormatError(`a member lies outside the directories: ${JSON.stringify(path)}`);
    }
    types.set(path, type);
  }
}

function terminated(texts: readonly string[]): Buffer {
  return Buffer.from(texts.length === 0 ? "" : `${texts.join("\0")}\0`, "latin1");
}

function split(bytes: Buffer): string[] {
  if (bytes.length === 0) return [];
  if (bytes.at(-1) !== 0) throw new FormatError("a list of texts is cut off");
  return bytes.toString("latin1", 0, bytes.length - 1).split("\0");
}
