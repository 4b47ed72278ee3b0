import { createHash } from "node:crypto";
import { WireError } from "../wire.ts";

/** Paths, messages and the manifest of archives (README.md), for the server and for clients. Pure. */

export const BASE = "/archive/v1";
export const FIND = `${BASE}/find`;
export const RESERVE = `${BASE}/reserve`;
export const uploadPath = (upload: string) => `${BASE}/uploads/${upload}`;
export const havePath = (upload: string) => `${BASE}/uploads/${upload}/have`;
export const blobsPath = (upload: string) => `${BASE}/uploads/${upload}/blobs`;
export const commitPath = (upload: string) => `${BASE}/uploads/${upload}/commit`;
export const bodyPath = (entry: number | string) => `${BASE}/entries/${entry}/body`;

export const MAX_KEYS = 10;
/** Chunks asked for in one message. */
export const MAX_HAVE = 8_192;
export const MAX_MANIFEST = 16 * 1024 * 1024;
/** Longest chunk, and what a frame may hold, bytes before and after compression. */
export const MAX_CHUNK = 2 * 1024 * 1024;
export const MAX_FRAME = 4 * 1024 * 1024;
export const MAX_FRAME_CHUNKS = 8_192;
/** Longest column, bytes before and after compression. */
export const MAX_COLUMN = 256 * 1024 * 1024;

export const ID_BYTES = 32;

/** What belongs to every member, a column of one kind each (README.md). */
export const COLUMNS = ["paths", "attributes", "times", "links", "lengths", "places", "ids"] as const;
export type ColumnName = (typeof COLUMNS)[number];

/** A blob of an archive: SHA-256 (hex) and size as stored, size inflated. */
export interface Piece {
  readonly digest: string;
  readonly size: number;
  readonly raw: number;
}

/** A path that was saved: its name on the wire (client README), and how many members lie at and below it. */
export interface Root {
  readonly name: string;
  readonly members: number;
}

export interface Manifest {
  readonly roots: readonly Root[];
  /** Bytes of all files. */
  readonly size: number;
  readonly files: number;
  readonly columns: Readonly<Record<ColumnName, Piece>>;
  readonly frames: readonly Piece[];
}

/** The same archive always gives the same bytes: its digest is their SHA-256. */
export function formatManifest({ roots, size, files, columns, frames }: Manifest): Buffer {
  const row = ({ digest, size: stored, raw }: Piece) => [digest, stored, raw];
  return Buffer.from(JSON.stringify({
    format: 1, roots: roots.map(({ name, members }) => [name, members]), size, files,
    columns: COLUMNS.map((name) => row(columns[name])), frames: frames.map(row),
  }));
}

/** @throws WireError for anything but a manifest */
export function parseManifest(bytes: Buffer): Manifest {
  const { format, roots, size, files, columns, frames } = object(bytes);
  if (format !== 1) throw new WireError("the manifest's format is not known");
  const list = Array.isArray(columns) ? columns.map((row) => piece(row, MAX_COLUMN)) : [];
  if (list.length !== COLUMNS.length) throw new WireError("the manifest has not all columns");
  if (!Array.isArray(roots) || !Array.isArray(frames)) throw new WireError("the manifest has no roots or no frames");
  const manifest: Manifest = {
    roots: roots.map((row: unknown) => {
      const [name, members] = Array.isArray(row) ? (row as unknown[]) : [];
      if (typeof name !== "string" || !isCount(members)) throw new WireError("a root is no name and count");
      return { name, members };
    }),
    size: count(size), files: count(files),
    columns: Object.fromEntries(COLUMNS.map((name, i) => [name, list[i]!])) as Record<ColumnName, Piece>,
    frames: frames.map((row) => piece(row, MAX_FRAME)),
  };
  const digests = new Set(frames.map((_, i) => manifest.frames[i]!.digest));
  if (digests.size !== frames.length || list.some(({ digest }) => digests.has(digest))) throw new WireError("a frame is listed twice");
  return manifest;
}

/** The blobs after the manifest in an archive's body, in order: equal columns are one blob. */
export function bodyParts({ columns, frames }: Manifest): Piece[] {
  return [...new Map(COLUMNS.map((name) => [columns[name].digest, columns[name]])).values(), ...frames];
}

/** How much of a body comes before its frames, bytes. @param manifest its own size */
export function headSize(manifest: number, { columns }: Manifest): number {
  return bodyParts({ columns, frames: [] } as unknown as Manifest).reduce((sum, { size }) => sum + size, manifest);
}

/** SHA-256 of a manifest names its archive. */
export const digestOf = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

/** A row `[digest, size, raw]`. */
function piece(row: unknown, limit: number): Piece {
  const [digest, size, raw] = Array.isArray(row) ? (row as unknown[]) : [];
  if (!isDigest(digest) || !isCount(size) || !isCount(raw) || size > limit || raw > limit) throw new WireError("a blob of the manifest is no digest and sizes");
  return { digest, size, raw };
}

export function isDigest(value: unknown): value is string {
  return typeof value === "string" && /^[0-9a-f]{64}$/.test(value);
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function count(value: unknown): number {
  if (!isCount(value)) throw new WireError("a number of the manifest is none");
  return value;
}

/** @throws WireError */
export function object(bytes: Buffer): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString("utf8"));
  } catch {
    value = undefined;
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new WireError("the message is no JSON object");
  return value as Record<string, unknown>;
}

export interface FindRequest {
  readonly key: string;
  readonly restoreKeys: readonly string[];
  readonly version: string;
}

/** @throws WireError */
export function parseFind(bytes: Buffer): FindRequest {
  const { key, restore_keys: restoreKeys = [], version } = object(bytes);
  if (typeof key !== "string" || typeof version !== "string" || key === "" || version === "") throw new WireError("key and version are needed");
  if (!Array.isArray(restoreKeys) || restoreKeys.some((one) => typeof one !== "string")) throw new WireError("restore_keys is no list of keys");
  if (restoreKeys.length >= MAX_KEYS) throw new WireError(`more than ${MAX_KEYS} keys`);
  return { key, restoreKeys: restoreKeys as string[], version };
}

/** What a look-up finds; sizes in bytes. */
export interface Found {
  readonly key: string;
  readonly id: number;
  readonly digest: string;
  readonly size: number;
  /** Of the manifest. */
  readonly manifest: number;
  /** Of manifest and columns. */
  readonly head: number;
}

export interface ReserveRequest {
  readonly key: string;
  readonly version: string;
  /** Digest of the archive that is wanted under this name. */
  readonly digest: string | undefined;
}

/** @throws WireError */
export function parseReserve(bytes: Buffer): ReserveRequest {
  const { key, version, digest } = object(bytes);
  if (typeof key !== "string" || typeof version !== "string" || key === "" || version === "") throw new WireError("key and version are needed");
  if (digest !== undefined && !isDigest(digest)) throw new WireError("the digest is none");
  return { key, version, digest };
}

/** A frame that holds chunks which were asked for. */
export interface KnownChunk {
  readonly frame: Piece;
  readonly start: number;
  readonly length: number;
}

const UNKNOWN = 0xffffffff;
const FRAME_ROW = ID_BYTES + 8;
const CHUNK_ROW = 12;

/**
 * The answer to a have: frames (count, then digest, size and raw size each), then for every chunk asked for the number of its
 * frame, its start in it and its length; all numbers are 32 bits, little-endian.
 */
export function formatHave(known: readonly (KnownChunk | undefined)[]): Buffer {
  const frames = new Map<string, { piece: Piece; index: number }>();
  for (const chunk of known) if (chunk && !frames.has(chunk.frame.digest)) frames.set(chunk.frame.digest, { piece: chunk.frame, index: frames.size });
  const bytes = Buffer.alloc(4 + frames.size * FRAME_ROW + known.length * CHUNK_ROW);
  let at = bytes.writeUInt32LE(frames.size);
  for (const { piece: { digest, size, raw } } of frames.values()) {
    at += bytes.write(digest, at, "hex");
    at = bytes.writeUInt32LE(raw, bytes.writeUInt32LE(size, at));
  }
  for (const chunk of known) {
    at = bytes.writeUInt32LE(chunk ? frames.get(chunk.frame.digest)!.index : UNKNOWN, at);
    at = bytes.writeUInt32LE(chunk?.length ?? 0, bytes.writeUInt32LE(chunk?.start ?? 0, at));
  }
  return bytes;
}

/** @param asked how many chunks were @throws WireError */
export function parseHave(bytes: Buffer, asked: number): (KnownChunk | undefined)[] {
  const frames = bytes.length >= 4 ? bytes.readUInt32LE() : 0;
  if (bytes.length !== 4 + frames * FRAME_ROW + asked * CHUNK_ROW) throw new WireError("the answer is not as long as it says");
  const pieces = Array.from({ length: frames }, (_, i): Piece => {
    const at = 4 + i * FRAME_ROW;
    return { digest: bytes.toString("hex", at, at + ID_BYTES), size: bytes.readUInt32LE(at + ID_BYTES), raw: bytes.readUInt32LE(at + ID_BYTES + 4) };
  });
  return Array.from({ length: asked }, (_, i) => {
    const at = 4 + frames * FRAME_ROW + i * CHUNK_ROW;
    const index = bytes.readUInt32LE(at);
    if (index === UNKNOWN) return undefined;
    const [frame, start, length] = [pieces[index], bytes.readUInt32LE(at + 4), bytes.readUInt32LE(at + 8)];
    if (!frame || start + length > frame.raw) throw new WireError("the answer places a chunk outside its frame");
    return { frame, start, length };
  });
}

/** A frame's chunks in order; together they are all it inflates to. */
export interface FrameChunk {
  readonly id: Uint8Array;
  readonly length: number;
}

/** The bytes before a blob: its digest, its size, and for a frame its chunks; a column has none. */
export function recordHead(digest: string, size: number, chunks: readonly FrameChunk[] = []): Buffer {
  const bytes = Buffer.allocUnsafe(RECORD_HEAD + chunks.length * RECORD_CHUNK);
  let at = bytes.write(digest, "hex");
  at = bytes.writeUInt32LE(chunks.length, bytes.writeUInt32LE(size, at));
  for (const { id, length } of chunks) {
    bytes.set(id, at);
    at = bytes.writeUInt32LE(length, at + ID_BYTES);
  }
  return bytes;
}

export const RECORD_HEAD = ID_BYTES + 8;
export const RECORD_CHUNK = ID_BYTES + 4;

export interface RecordHead {
  readonly digest: string;
  readonly size: number;
  /** How many chunks follow. */
  readonly chunks: number;
}

export function parseRecordHead(bytes: Buffer): RecordHead {
  return { digest: bytes.toString("hex", 0, ID_BYTES), size: bytes.readUInt32LE(ID_BYTES), chunks: bytes.readUInt32LE(ID_BYTES + 4) };
}

/** The chunks of a record; their identifiers are views of `bytes`. */
export function parseRecordChunks(bytes: Buffer): FrameChunk[] {
  return Array.from({ length: bytes.length / RECORD_CHUNK }, (_, i) => {
    const at = i * RECORD_CHUNK;
    return { id: bytes.subarray(at, at + ID_BYTES), length: bytes.readUInt32LE(at + ID_BYTES) };
  });
}
