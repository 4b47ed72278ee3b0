import { setTimeout as sleep } from "node:timers/promises";
import { bodyParts, COLUMNS, digestOf, headSize, MAX_COLUMN, parseManifest, type ColumnName, type Found, type Manifest } from "../../../server/protocols/archive/wire.ts";
import { decodeColumns, type Columns, type Content } from "./columns.ts";
import { Crew } from "./crew.ts";
import { inflate } from "./frames.ts";
import { FILE } from "./members.ts";
import { pool, type Prepared } from "./options.ts";
import { assertName, assertNoDetour, literalBase, PathError, rootPath, within } from "./paths.ts";
import type { Remote } from "./remote.ts";
import type { FrameOrder, FrameReport, Write } from "./restore-worker.ts";
import { Staging, timeOf } from "./staging.ts";
import { indexFile, TICK, writeIndex } from "./stat-index.ts";
import { FormatError } from "./varint.ts";

/** Bytes fetched by one request, and how many requests there are at once. */
const RANGE = 16 * 1024 * 1024;
const RANGES = 4;

export interface Restored {
  readonly files: number;
  readonly bytes: number;
}

/**
 * Puts an archive's trees in their places, or changes nothing.
 * @throws RemoteError, ExchangeError, FormatError, PathError, WorkerError, and what the file system throws
 */
export async function restore(remote: Remote, found: Found, options: Prepared): Promise<Restored> {
  const archive = await readHead(remote, found);
  const { manifest, content } = archive;
  const targets = manifest.roots.map(({ name }) => allowed(rootPath(name, options.places), options));
  for (const { path } of content.members) assertName(path);
  const staging = new Staging(content.members, targets);
  try {
    await fill(remote, found, archive, staging, options);
    options.signal.throwIfAborted();
    staging.moveIn();
  } finally {
    staging.remove();
  }
  // Nobody else has touched the files yet: once the clock has ticked, whatever does so later will show.
  await sleep(TICK, undefined, { signal: options.signal });
  const file = indexFile(options.stateDir, options.version, manifest.roots.map(({ name }) => name));
  writeIndex(file, archive.manifestBytes, archive.columns, staging.seen);
  return { files: manifest.files, bytes: remote.received };
}

interface Archive {
  readonly manifestBytes: Buffer;
  readonly manifest: Manifest;
  readonly columns: Columns;
  readonly content: Content;
}

async function readHead(remote: Remote, found: Found): Promise<Archive> {
  if (found.manifest > found.head || found.head > 4 * MAX_COLUMN) throw new FormatError("the archive's head is too large");
  const head = Buffer.allocUnsafeSlow(found.head);
  await remote.read(found.id, 0, [found.head], head, () => {});
  const manifestBytes = head.subarray(0, found.manifest);
  if (digestOf(manifestBytes) !== found.digest) throw new FormatError("the manifest does not hash to its digest");
  const manifest = parseManifest(manifestBytes);
  const size = manifest.frames.reduce((sum, frame) => sum + frame.size, found.head);
  if (headSize(found.manifest, manifest) !== found.head || size !== found.size) throw new FormatError("the archive is not as long as its manifest says");
  const blobs = new Map<string, Buffer>();
  let at = found.manifest;
  for (const { digest, size: stored, raw } of bodyParts({ ...manifest, frames: [] })) {
    const bytes = head.subarray(at, (at += stored));
    if (digestOf(bytes) !== digest) throw new FormatError("a column does not hash to its digest");
    blobs.set(digest, inflate(bytes, raw));
  }
  const columns = Object.fromEntries(COLUMNS.map((name) => [name, blobs.get(manifest.columns[name].digest)!])) as Record<ColumnName, Buffer>;
  return { manifestBytes, manifest, columns, content: decodeColumns(columns, manifest.roots, manifest.frames.map(({ raw }) => raw)) };
}

/** @throws PathError for a root that was not asked for, or that a link leads out of the workspace */
function allowed(target: string, { paths, places }: Prepared): string {
  if (!paths.some((path) => within(literalBase(path, places), target) !== undefined)) throw new PathError(`the archive holds a path that was not asked for: ${target}`);
  assertNoDetour(target, places.workspace);
  return target;
}

async function fill(remote: Remote, found: Found, { manifest, content }: Archive, staging: Staging, options: Prepared): Promise<void> {
  const crew = new Crew<FrameReport>("restore-worker");
  try {
    const { writes, pieced } = writesOf(content, staging, manifest.frames.length);
    const started = performance.now();
    let done = 0;
    // Used again for every range: new memory for each frame would make V8 collect all there is, again and again.
    const spare: Buffer[] = [];
    await pool(ranges(manifest, found.head), options.concurrency ?? RANGES, async ({ start, first, sizes }) => {
      options.signal.throwIfAborted();
      const jobs: Promise<void>[] = [];
      const take = (piece: number, bytes: Buffer) => {
        const { digest, raw } = manifest.frames[first + piece]!;
        const own = writes[first + piece]!;
        const order: Omit<FrameOrder, "job"> = { digest, raw, bytes, writes: own.map(({ write }) => write) };
        const { report } = crew.order<{ job: number; seen: Float64Array<ArrayBuffer> }>(crew.idlest(), order);
        const job = report.then(({ seen }) => {
          for (const [i, { member }] of own.entries()) {
            if (!own[i]!.write.whole) continue;
            staging.seen.modified[member] = seen[i * 3]!;
            staging.seen.changed[member] = seen[i * 3 + 1]!;
            staging.seen.inode[member] = seen[i * 3 + 2]!;
          }
          done += own.reduce((sum, { write }) => sum + write.length, 0);
          options.onProgress?.({ bytes: done, total: manifest.size, transferred: remote.received, elapsed: performance.now() - started });
        });
        // Its failure is met below; until then it must not count as unhandled.
        job.catch(() => {});
        jobs.push(job);
      };
      const memory = spare.pop() ?? Buffer.from(new SharedArrayBuffer(RANGE));
      await remote.read(found.id, start, sizes, memory, take);
      await Promise.all(jobs);
      spare.push(memory);
    });
    staging.finish(pieced);
  } finally {
    await crew.close();
  }
}

interface OwnWrite {
  readonly member: number;
  readonly write: Write;
}

/** What each frame's bytes are written to, and which files are made of several writes. */
function writesOf({ members, chunks, places }: Content, staging: Staging, frames: number): { writes: OwnWrite[][]; pieced: Set<number> } {
  const spans: { member: number; frame: number; from: number; to: number; length: number }[] = [];
  let [member, to] = [0, 0];
  for (const [i, { length }] of chunks.entries()) {
    const { frame, start } = places[i]!;
    for (let done = 0; done < length; ) {
      while (members[member]!.type !== FILE || to === members[member]!.size) [member, to] = [member + 1, 0];
      const count = Math.min(length - done, members[member]!.size - to);
      const last = spans.at(-1);
      if (last?.member === member && last.frame === frame && last.from + last.length === start + done) last.length += count;
      else spans.push({ member, frame, from: start + done, to, length: count });
      done += count;
      to += count;
    }
  }
  const writes: OwnWrite[][] = Array.from({ length: frames }, () => []);
  const pieced = new Set<number>();
  for (const { member: number, frame, from, to: at, length } of spans) {
    const file = members[number]!;
    const whole = length === file.size;
    if (!whole) pieced.add(number);
    writes[frame]!.push({ member: number, write: { path: staging.path(number), from, to: at, length, ...(whole && { whole: { mode: file.mode, time: timeOf(file) } }) } });
  }
  return { writes, pieced };
}

/** Frames that lie one after the other, to be fetched at once; the number of the first and their sizes. */
function* ranges({ frames }: Manifest, head: number): Generator<{ start: number; first: number; sizes: number[] }> {
  let [start, first, length] = [head, 0, 0];
  let sizes: number[] = [];
  for (const [i, { size }] of frames.entries()) {
    if (sizes.length > 0 && length + size > RANGE) {
      yield { start, first, sizes };
      [start, first, length, sizes] = [start + length, i, 0, []];
    }
    sizes.push(size);
    length += size;
  }
  if (sizes.length > 0) yield { start, first, sizes };
}
