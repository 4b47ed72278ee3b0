import { setTimeout as sleep } from "node:timers/promises";
import { bodyParts, COLUMNS, digestOf, headSize, MAX_COLUMN, parseManifest, type ColumnName, type Found, type Manifest } from "../../../server/protocols/archive/wire.ts";
import { decodeColumns, type Columns, type Content } from "./columns.ts";
import { Crew } from "./crew.ts";
import { Download } from "./download.ts";
import { inflate, inflateAside, release } from "./frames.ts";
import type { Prepared } from "./options.ts";
import { assertName, assertNoDetour, literalBase, PathError, rootPath, within } from "./paths.ts";
import type { Remote } from "./remote.ts";
import { Staging } from "./staging.ts";
import { indexFile, TICK, writeIndex } from "./stat-index.ts";
import { FormatError } from "./varint.ts";
import { joined, PART, ROW, writesOf, type DirectoriesOrder, type FilesOrder, type Written, type WrittenReport } from "./writes.ts";

/** Files are written by one thread: two are slower, because they wait for each other in the file system (archive.md §3). */
const WRITER = 0;

export interface Restored {
  readonly files: number;
  readonly bytes: number;
}

/**
 * Puts an archive's trees in their places, or changes nothing.
 * @throws RemoteError, ExchangeError, FormatError, PathError, WorkerError, and what the file system throws
 */
export async function restore(remote: Remote, found: Found, options: Prepared): Promise<Restored> {
  if (found.manifest > found.head || found.head > Math.min(found.size, 4 * MAX_COLUMN)) throw new FormatError("the archive's head is too large");
  const download = new Download(remote, found, options.concurrency);
  const crew = new Crew<WrittenReport>("restore-worker", 1);
  let staging: Staging | undefined;
  try {
    crew.start();
    const archive = decode(await download.head, found);
    const { manifest, content } = archive;
    const targets = manifest.roots.map(({ name }) => allowed(rootPath(name, options.places), options));
    for (const { path } of content.members) assertName(path);
    staging = new Staging(content.members, targets);
    const pieced = await fill(download, crew, archive, staging, { ...options, received: () => remote.received });
    staging.finish(pieced);
    options.signal.throwIfAborted();
    staging.moveIn();
    // Nobody else has touched the files yet: once the clock has ticked, whatever does so later will show.
    await sleep(TICK, undefined, { signal: options.signal });
    const file = indexFile(options.stateDir, options.version, manifest.roots.map(({ name }) => name));
    writeIndex(file, archive.manifestBytes, archive.columns, staging.seen);
    return { files: manifest.files, bytes: remote.received };
  } finally {
    await download.stop();
    await crew.close();
    staging?.remove();
  }
}

interface Archive {
  readonly manifestBytes: Buffer;
  readonly manifest: Manifest;
  readonly columns: Columns;
  readonly content: Content;
}

function decode(head: Buffer, found: Found): Archive {
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

/** @returns the files that are written piece by piece and not finished yet */
async function fill(download: Download, crew: Crew<WrittenReport>, { manifest, content }: Archive, staging: Staging, options: Prepared & { received: () => number }): Promise<Set<number>> {
  const made = crew.order<Written>(WRITER, { directories: joined(staging.directories()) } satisfies Omit<DirectoriesOrder, "job">).report;
  // Met below; until then it must not count as unhandled.
  made.catch(() => {});
  const { writes, pieced } = writesOf(content, manifest.frames.length, (member) => staging.path(member));
  const started = performance.now();
  let done = 0;
  await download.frames(manifest.frames, async (frame, bytes) => {
    options.signal.throwIfAborted();
    const { members, paths, numbers } = writes[frame]!;
    const inflated = await inflateAside(bytes, manifest.frames[frame]!.raw);
    release(bytes);
    const order: Omit<FilesOrder, "job"> = { content: inflated, paths: joined(paths), numbers: Float64Array.from(numbers) };
    const { seen } = await crew.order<Written>(WRITER, order, [inflated.buffer, order.numbers.buffer as ArrayBuffer]).report;
    for (const [i, member] of members.entries()) {
      done += numbers[i * ROW + 2]!;
      if (numbers[i * ROW + 3] === PART) continue;
      staging.seen.modified[member] = seen[i * 3]!;
      staging.seen.changed[member] = seen[i * 3 + 1]!;
      staging.seen.inode[member] = seen[i * 3 + 2]!;
    }
    options.onProgress?.({ bytes: done, total: manifest.size, transferred: options.received(), elapsed: performance.now() - started });
  });
  await made;
  return pieced;
}
