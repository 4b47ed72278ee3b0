import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseManifest, type Manifest } from "../../../server/protocols/archive/wire.ts";
import { decodeColumns, type Columns, type Content } from "./columns.ts";
import { COLUMNS } from "../../../server/protocols/archive/wire.ts";
import { FILE, type Member } from "./members.ts";

/**
 * What a save or a restore leaves behind, so that the next save need not read what was not touched since: the archive's
 * manifest and columns, and what was seen of each member on disk.
 */
export interface StatIndex {
  readonly manifestBytes: Buffer;
  readonly manifest: Manifest;
  readonly content: Content;
  readonly seen: Seen;
  /** When it was written, ms. */
  readonly written: number;
}

/** What tells that a member was not touched, by member; NaN where it is not known. */
export interface Seen {
  readonly modified: Float64Array;
  readonly changed: Float64Array;
  readonly inode: Float64Array;
}

export function newSeen(members: number): Seen {
  const unknown = () => new Float64Array(members).fill(Number.NaN);
  return { modified: unknown(), changed: unknown(), inode: unknown() };
}

const MAGIC = "stowhouse archive index 1\n";

/** @param names of the roots: another list of paths is another archive */
export function indexFile(stateDir: string, version: string, names: readonly string[]): string {
  const name = createHash("sha256").update(JSON.stringify([version, names])).digest("hex").slice(0, 32);
  return join(stateDir, `${name}.archive`);
}

/** Undefined when there is none, or none that is whole. */
export function readIndex(file: string): StatIndex | undefined {
  try {
    const bytes = readFileSync(file);
    const body = bytes.subarray(0, -32);
    if (!createHash("sha256").update(body).digest().equals(bytes.subarray(-32)) || bytes.toString("latin1", 0, MAGIC.length) !== MAGIC) return undefined;
    let at = MAGIC.length;
    const next = () => {
      const length = bytes.readUInt32LE(at);
      return bytes.subarray(at + 4, (at += 4 + length));
    };
    const written = next().readDoubleLE();
    const manifestBytes = next();
    const manifest = parseManifest(manifestBytes);
    const columns = Object.fromEntries(COLUMNS.map((name) => [name, next()])) as unknown as Columns;
    const floats = () => new Float64Array(new Uint8Array(next()).buffer);
    const seen = { modified: floats(), changed: floats(), inode: floats() };
    return { manifestBytes, manifest, content: decodeColumns(columns, manifest.roots, manifest.frames.map(({ raw }) => raw)), seen, written };
  } catch {
    return undefined;
  }
}

/** Never throws: without an index the next save only takes longer. */
export function writeIndex(file: string, manifestBytes: Buffer, columns: Columns, seen: Seen, written = Date.now()): void {
  const time = Buffer.alloc(8);
  time.writeDoubleLE(written);
  const floats = ({ buffer, byteOffset, byteLength }: Float64Array) => Buffer.from(buffer as ArrayBuffer, byteOffset, byteLength);
  const parts = [time, manifestBytes, ...COLUMNS.map((name) => columns[name]), floats(seen.modified), floats(seen.changed), floats(seen.inode)];
  const body = Buffer.concat([Buffer.from(MAGIC, "latin1"), ...parts.flatMap((part) => [uint32(part.length), part])]);
  try {
    mkdirSync(join(file, ".."), { recursive: true });
    const temporary = `${file}.${process.pid}.new`;
    writeFileSync(temporary, Buffer.concat([body, createHash("sha256").update(body).digest()]), { mode: 0o600 });
    renameSync(temporary, file);
  } catch {
    // Said above.
  }
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

/** How coarse times may be, ms: kernels count in ticks, some file systems in seconds (then the fraction is always zero). */
export const TICK = 11;
const COARSE = 2_000;

/**
 * Whether a member is as the index saw it. One whose times are not surely before the index is not trusted: it may have been
 * written after it was looked at, in the same moment as far as its times tell (git's "racy" entries).
 */
export function untouched(index: StatIndex, old: number, found: Member & { modified: number; changed: number; inode: number }): boolean {
  const { seen, written } = index;
  const before = index.content.members[old]!;
  if (before.type !== found.type || before.mode !== found.mode || before.size !== found.size || before.target !== found.target) return false;
  if (seen.modified[old] !== found.modified) return false;
  if (found.type !== FILE) return true;
  if (seen.changed[old] !== found.changed || seen.inode[old] !== found.inode) return false;
  const coarse = found.changed % 1000 === 0 ? COARSE : TICK;
  return found.modified < written - (written % 1000) && found.changed < written - coarse;
}
