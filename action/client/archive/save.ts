import { COLUMNS, digestOf, formatManifest, type ColumnName, type Manifest, type Piece } from "../../../server/protocols/archive/wire.ts";
import { ExchangeError } from "../patience.ts";
import { SEGMENT, type Stretch } from "./chunker.ts";
import { encodeChunks, encodeMembers, type Columns } from "./columns.ts";
import { Crew } from "./crew.ts";
import { bound, deflate } from "./frames.ts";
import { byteString, FILE, type Chunk } from "./members.ts";
import { pool, type Prepared } from "./options.ts";
import { assertNoDetour, outermost, rootName } from "./paths.ts";
import type { Blob, Remote } from "./remote.ts";
import type { FileToRead, MadeFrame, ReadUnit, Report, Section } from "./save-worker.ts";
import { plan, type Source } from "./source.ts";
import { indexFile, newSeen, readIndex, writeIndex, type Seen, type StatIndex } from "./stat-index.ts";
import { walk, type Found } from "./walk.ts";

/** Bytes read at once by one worker. */
const UNIT = 8 * 1024 * 1024;
/** Units under way: enough to hide a round trip behind reading, few enough to stay small. */
const UNITS = 6;
/** Room for the frames of a unit in the worst case; pages that no frame reaches cost nothing. */
const MEMORY = bound(SEGMENT) + 64 * bound(0);
/** How often the server may find something missing. */
const ROUNDS = 4;
/** A frame of which less than this part is used is not worth fetching: its chunks are sent again. */
const LEAST_USE = 0.5;

export interface Saved {
  readonly unchanged: boolean;
  readonly files: number;
  readonly bytesTotal: number;
}

/** Saves the paths under the key. @throws RemoteError, ExchangeError, PathError, WorkerError, and what the file system throws */
export async function save(remote: Remote, options: Prepared): Promise<Saved> {
  const started = Date.now();
  const roots = outermost(options.paths);
  for (const root of roots) assertNoDetour(root, options.places.workspace);
  const names = roots.map((root) => rootName(root, options.places));
  const file = indexFile(options.stateDir, options.version, names);
  const index = readIndex(file);
  const crew = new Crew<Report>("save-worker");
  try {
    // Everything has to be read then: threads start while this one looks at the tree.
    if (!index) crew.start();
    const bytePaths = roots.map(byteString);
    const members = walk(bytePaths);
    const source = plan(members, bytePaths, index);
    const result = { files: members.filter(({ type }) => type === FILE).length, bytesTotal: members.reduce((sum, { size }) => sum + size, 0) };

    const digest = source.unchanged ? digestOf(index!.manifestBytes) : undefined;
    const reserving = remote.reserve(options.key, options.version, digest);
    // With the digest of what the server may have there is nothing to do before it has answered.
    if (digest !== undefined && (await reserving).committed) return { ...result, unchanged: true };
    const upload = reserving.then((reserved) => reserved.upload!);
    // A refusal is met where the reservation is needed; until then it must not count as unhandled.
    upload.catch(() => {});
    const { manifest, columns } = await new SaveJob({ remote, options, upload, source, names, index, crew }).run().catch(async (error: unknown) => {
      // A server that can't be reached, or is too slow, is not bothered with it.
      if (!(error instanceof ExchangeError) && !options.signal.aborted) await upload.then((id) => remote.abandon(id), () => {});
      throw error;
    });
    // What was seen before the walk began is as old as that, whenever it is written down.
    writeIndex(file, manifest, columns, seenOf(members), started);
    return { ...result, unchanged: index !== undefined && digestOf(index.manifestBytes) === digestOf(manifest) };
  } finally {
    await crew.close();
  }
}

function seenOf(members: readonly Found[]): Seen {
  const seen = newSeen(members.length);
  for (const [i, { modified, changed, inode }] of members.entries()) {
    seen.modified[i] = modified;
    seen.changed[i] = changed;
    seen.inode[i] = inode;
  }
  return seen;
}

/** Where a chunk is, in a frame the server has or was sent. */
interface Located {
  readonly frame: Piece;
  readonly start: number;
}

/** Chunks by identifier, as text that maps can hold. */
const keyOf = ({ id }: Chunk): string => id.toString("latin1");

/** A column, and how it is sent. */
interface Packed {
  readonly raw: Buffer;
  readonly bytes: Buffer;
  readonly piece: Piece;
}

/** Those that depend on the tree alone. */
type TreeColumns = Record<keyof ReturnType<typeof encodeMembers>, Packed>;

/** What a save is about. */
interface Task {
  readonly remote: Remote;
  readonly options: Prepared;
  /** Of the reservation: what can be done without it is done while the server is asked. */
  readonly upload: Promise<string>;
  readonly source: Source;
  /** Of the roots. */
  readonly names: readonly string[];
  readonly index: StatIndex | undefined;
  readonly crew: Crew<Report>;
}

class SaveJob {
  readonly #remote: Remote;
  readonly #options: Prepared;
  readonly #upload: Promise<string>;
  readonly #source: Source;
  readonly #names: readonly string[];
  readonly #index: StatIndex | undefined;
  readonly #crew: Crew<Report>;
  readonly #chunks: Map<Stretch, readonly Chunk[]>;
  readonly #located = new Map<string, Located>();
  /** Being made into a frame at this moment. */
  readonly #pending = new Set<string>();
  /** Frames of this save: all of them is used. */
  readonly #own = new Set<string>();
  readonly #started = performance.now();
  /** Where workers put frames, once these are sent: new memory for each would make V8 collect all there is, again and again. */
  readonly #memory: SharedArrayBuffer[] = [];
  #bytes = 0;

  constructor({ remote, options, upload, source, names, index, crew }: Task) {
    this.#remote = remote;
    this.#options = options;
    this.#upload = upload;
    this.#source = source;
    this.#names = names;
    this.#index = index;
    this.#crew = crew;
    this.#chunks = new Map(source.known);
    if (!index) return;
    const { manifest, content } = index;
    for (const [i, chunk] of content.chunks.entries()) {
      const { frame, start } = content.places[i]!;
      this.#located.set(keyOf(chunk), { frame: manifest.frames[frame]!, start });
    }
  }

  async run(): Promise<{ manifest: Buffer; columns: Columns }> {
    const read = this.#read(this.#source.stretches.filter((stretch) => !this.#chunks.has(stretch)), new Set());
    // The workers have their orders; this thread would only wait for them.
    const columns = async () => packed(encodeMembers(this.#source.members));
    const [tree] = await Promise.all([columns(), read]);
    await this.#again(this.#wasted());
    return this.#commit(tree);
  }

  /** Reads stretches, and sends what the server does not have. @param forced chunks that are sent whatever the server has */
  async #read(stretches: readonly Stretch[], forced: ReadonlySet<string>): Promise<void> {
    const total = stretches.reduce((sum, { length }) => sum + length, 0) + this.#bytes;
    await pool(units(stretches), UNITS, async (unit) => {
      this.#options.signal.throwIfAborted();
      const worker = this.#crew.idlest();
      const { job, report } = this.#crew.order<{ job: number; unit: ReadUnit }>(worker, { read: unit.map((stretch) => this.#section(stretch)) });
      const { lengths, ids } = (await report).unit;
      const chunks: Chunk[] = [];
      for (const [i, stretch] of unit.entries()) {
        const own = lengths[i]!.map((length, j): Chunk => ({ id: Buffer.from(ids.buffer, ids.byteOffset + (chunks.length + j) * 32, 32), length }));
        this.#chunks.set(stretch, own);
        chunks.push(...own);
      }
      const wanted = await this.#wanted(chunks, forced);
      const memory = this.#memory.pop() ?? new SharedArrayBuffer(MEMORY);
      const made = this.#crew.order<{ job: number; frames: MadeFrame[] }>(worker, { unit: job, wanted, memory });
      await this.#send((await made.report).frames, Buffer.from(memory), wanted.map((number) => chunks[number]!));
      this.#memory.push(memory);
      this.#bytes += unit.reduce((sum, { length }) => sum + length, 0);
      this.#options.onProgress?.({ bytes: this.#bytes, total, transferred: this.#remote.sent, elapsed: performance.now() - this.#started });
    });
  }

  #section(stretch: Stretch): Section {
    const { members } = this.#source;
    const files = stretch.files.map((number): FileToRead => {
      const { size, modified, changed } = members[number]!;
      return { path: this.#source.absolute(number), offset: stretch.offset, length: stretch.packed ? size : stretch.length, size, modified, changed };
    });
    return { files, length: stretch.length, packed: stretch.packed };
  }

  /** The numbers of those chunks that have to be sent, each once. */
  async #wanted(chunks: readonly Chunk[], forced: ReadonlySet<string>): Promise<number[]> {
    const unknown = new Map<string, number>();
    for (const [i, chunk] of chunks.entries()) {
      const key = keyOf(chunk);
      if (!this.#located.has(key) && !this.#pending.has(key)) unknown.set(key, i);
    }
    const ask = [...unknown].filter(([key]) => !forced.has(key));
    for (const [key] of unknown) this.#pending.add(key);
    if (ask.length > 0) {
      const known = await this.#remote.have(await this.#upload, ask.map(([, i]) => chunks[i]!.id));
      for (const [n, [key, i]] of ask.entries()) {
        const place = known[n];
        if (place?.length !== chunks[i]!.length) continue;
        this.#located.set(key, { frame: place.frame, start: place.start });
        this.#pending.delete(key);
        unknown.delete(key);
      }
    }
    return [...unknown.values()].toSorted((a, b) => a - b);
  }

  async #send(frames: readonly MadeFrame[], memory: Buffer, chunks: readonly Chunk[]): Promise<void> {
    const blobs: Blob[] = [];
    let [from, end] = [0, 0];
    for (const { digest, size, raw, count } of frames) {
      const own = chunks.slice(from, from + count);
      from += count;
      blobs.push({ digest, bytes: memory.subarray(end, (end += size)), chunks: own });
      const frame: Piece = { digest, size, raw };
      this.#own.add(digest);
      let start = 0;
      for (const chunk of own) {
        this.#located.set(keyOf(chunk), { frame, start });
        this.#pending.delete(keyOf(chunk));
        start += chunk.length;
      }
    }
    if (blobs.length > 0) await this.#remote.put(await this.#upload, blobs);
  }

  /** Chunks in frames of which this archive would use too little. */
  #wasted(): Set<string> {
    const used = new Map<string, { frame: Piece; bytes: number; keys: Set<string> }>();
    for (const chunk of this.#all()) {
      const key = keyOf(chunk);
      const { frame } = this.#located.get(key)!;
      if (this.#own.has(frame.digest)) continue;
      let one = used.get(frame.digest);
      if (!one) used.set(frame.digest, (one = { frame, bytes: 0, keys: new Set() }));
      if (!one.keys.has(key)) one.bytes += chunk.length;
      one.keys.add(key);
    }
    return new Set([...used.values()].filter(({ frame, bytes }) => bytes < frame.raw * LEAST_USE).flatMap(({ keys }) => [...keys]));
  }

  /** Reads the stretches with these chunks once more, and sends the chunks. */
  async #again(keys: ReadonlySet<string>): Promise<void> {
    if (keys.size === 0) return;
    for (const key of keys) this.#located.delete(key);
    await this.#read(this.#source.stretches.filter((stretch) => this.#chunks.get(stretch)!.some((chunk) => keys.has(keyOf(chunk)))), keys);
  }

  #all(): Chunk[] {
    return this.#source.stretches.flatMap((stretch) => this.#chunks.get(stretch)!);
  }

  async #commit(tree: TreeColumns): Promise<{ manifest: Buffer; columns: Columns }> {
    const held = new Set(Object.values(this.#index?.manifest.columns ?? {}).map(({ digest }) => digest));
    // Columns an index knows are there; without one, the server is asked first, unless it knew nothing at all.
    let send = this.#index !== undefined || this.#own.size > 0;
    for (let round = 1; ; round++) {
      const { manifest, columns, blobs } = this.#manifest(tree);
      const fresh = blobs.filter(({ digest }) => !held.has(digest));
      if (send && fresh.length > 0) {
        await this.#remote.put(await this.#upload, fresh);
        for (const { digest } of fresh) held.add(digest);
      }
      const bytes = formatManifest(manifest);
      const missing = new Set(await this.#remote.commit(await this.#upload, bytes));
      if (missing.size === 0) return { manifest: bytes, columns };
      if (round === ROUNDS) throw new Error("the server lost what it was sent, again and again");
      for (const { digest } of blobs) {
        if (missing.has(digest)) held.delete(digest);
        else held.add(digest);
      }
      send = true;
      const lost = manifest.frames.some(({ digest }) => missing.has(digest)) ? this.#all().map(keyOf).filter((key) => missing.has(this.#located.get(key)!.frame.digest)) : [];
      await this.#again(new Set(lost));
    }
  }

  #manifest(tree: TreeColumns): { manifest: Manifest; columns: Columns; blobs: Blob[] } {
    const chunks = this.#all();
    const frames = new Map<string, { frame: Piece; number: number }>();
    const places = chunks.map((chunk) => {
      const { frame, start } = this.#located.get(keyOf(chunk))!;
      let known = frames.get(frame.digest);
      if (!known) frames.set(frame.digest, (known = { frame, number: frames.size }));
      return { frame: known.number, start };
    });
    const all: Record<ColumnName, Packed> = { ...tree, ...packed(encodeChunks(chunks, places)) };
    const each = <T>(of: (column: Packed) => T) => Object.fromEntries(COLUMNS.map((name) => [name, of(all[name])])) as Record<ColumnName, T>;
    const { members } = this.#source;
    const counts = new Map<number, number>();
    for (const { root } of members) counts.set(root, (counts.get(root) ?? 0) + 1);
    const manifest: Manifest = {
      roots: this.#names.map((name, i) => ({ name, members: counts.get(i) ?? 0 })),
      size: members.reduce((sum, { size }) => sum + size, 0), files: members.filter(({ type }) => type === FILE).length,
      columns: each(({ piece }) => piece), frames: [...frames.values()].map(({ frame }) => frame),
    };
    const blobs = new Map(Object.values(all).map(({ bytes, piece: { digest } }): [string, Blob] => [digest, { digest, bytes, chunks: [] }]));
    return { manifest, columns: each(({ raw }) => raw), blobs: [...blobs.values()] };
  }
}

function packed<Name extends ColumnName>(columns: Readonly<Record<Name, Buffer>>): Record<Name, Packed> {
  return Object.fromEntries(Object.entries<Buffer>(columns).map(([name, raw]) => {
    const bytes = deflate(raw);
    return [name, { raw, bytes, piece: { digest: digestOf(bytes), size: bytes.length, raw: raw.length } }];
  })) as Record<Name, Packed>;
}

/** Stretches to be read at once, so that a worker has something to do and little in memory. */
function* units(stretches: readonly Stretch[]): Generator<Stretch[]> {
  let unit: Stretch[] = [];
  let length = 0;
  for (const stretch of stretches) {
    if (unit.length > 0 && length + stretch.length > UNIT) {
      yield unit;
      [unit, length] = [[], 0];
    }
    unit.push(stretch);
    length += stretch.length;
  }
  if (unit.length > 0) yield unit;
}
