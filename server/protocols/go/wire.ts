/**
 * Wire of Go's build cache (README.md): paths, headers and the records in which our own helper and the server exchange many
 * entries at once. Pure, and used by both sides.
 */

import { WireError } from "../wire.ts";

/** Where all of it is mounted. */
export const MOUNT = "/go";
/** Our own endpoints. */
export const BUNDLE = `${MOUNT}/v1/bundle`;
export const MANIFEST = `${MOUNT}/v1/manifest`;
export const GET_MANY = `${MOUNT}/v1/get`;
export const PUT_MANY = `${MOUNT}/v1/put`;
/** An entry by itself, in the form that cacheprog's HTTP storage has (client version 1.3.0 observed). */
export const entryPath = (action: string) => `${MOUNT}/cache/${action}`;

/** Headers of cacheprog's HTTP storage, in lower case. */
export const OUTPUT_HEADER = "x-cacheprog-outputid";
export const COMPRESSION_HEADER = "x-cacheprog-compressionalgorithm";
export const SIZE_HEADER = "x-cacheprog-uncompressedsize";
export const BODY_SHA256_HEADER = "x-cacheprog-sha256sum";
/** go-cacher's own (go-tool-cache of 2026-07 observed). */
export const GO_OUTPUT_HEADER = "go-output-id";

/** Bytes of an action's or output's identifier. */
export const ID_BYTES = 32;
/** Identifiers in one request, and in one manifest. */
export const MAX_IDS = 50_000;
/** Longest label of a manifest and longest key prefix, characters. */
export const MAX_LABEL = 300;
/** Largest body of a PUT_MANY, bytes, and largest stored size of one entry in it. */
export const MAX_PUT_MANY = 8 * 1024 * 1024;
export const MAX_SMALL = 1024 * 1024;
/** Entries whose stored size is larger are never part of a bundle: they are fetched by themselves. */
export const MAX_BUNDLED = 64 * 1024 * 1024;
/** Bytes of an action's identifier by which a client says that it has the entry. */
export const HAVE_BYTES = 8;

/** What an output is: its SHA-256 (hex) and size before compression, and how its stored bytes are compressed. */
export interface Output {
  readonly output: string;
  readonly size: number;
  readonly zstd: boolean;
}

export interface Head extends Output {
  /** Hex. */
  readonly action: string;
  /** False: there is no such entry, and no body follows. */
  readonly found: boolean;
  /** Bytes of the body that follows. */
  readonly stored: number;
  /** When the entry was made, ms. */
  readonly time: number;
}

/** action 32 | output 32 | size u32 | stored u32 | time f64 (ms) | form u8 (0 plain, 1 zstd, 2 no entry); little-endian. */
export const HEAD_BYTES = 2 * ID_BYTES + 4 + 4 + 8 + 1;
const PLAIN = 0;
const ZSTD = 1;
const ABSENT = 2;
const MAX_U32 = 2 ** 32 - 1;

/** Whether an output's sizes fit into a record. */
export function fits(size: number, stored: number): boolean {
  return size <= MAX_U32 && stored <= MAX_U32;
}

export function formatHead(head: Head): Buffer {
  const bytes = Buffer.alloc(HEAD_BYTES);
  bytes.write(head.action, 0, "hex");
  bytes.write(head.output, ID_BYTES, "hex");
  bytes.writeUInt32LE(head.size, 64);
  bytes.writeUInt32LE(head.stored, 68);
  bytes.writeDoubleLE(head.time, 72);
  bytes[80] = head.found ? (head.zstd ? ZSTD : PLAIN) : ABSENT;
  return bytes;
}

export function absent(action: string): Buffer {
  return formatHead({ action, output: "", size: 0, stored: 0, zstd: false, found: false, time: 0 });
}

/** @throws WireError */
export function parseHead(bytes: Buffer): Head {
  const form = bytes[80]!;
  const [size, stored] = [bytes.readUInt32LE(64), bytes.readUInt32LE(68)];
  const time = bytes.readDoubleLE(72);
  if (form > ABSENT) throw new WireError("a record is of an unknown form");
  if (form === ABSENT && (size !== 0 || stored !== 0)) throw new WireError("a record without an entry has a body");
  if (form === PLAIN && size !== stored) throw new WireError("a plain record has two sizes");
  if (!(time >= 0 && time <= 8.64e15)) throw new WireError("a record has no time");
  return { action: bytes.toString("hex", 0, ID_BYTES), output: bytes.toString("hex", ID_BYTES, 2 * ID_BYTES), size, stored, zstd: form === ZSTD, found: form !== ABSENT, time };
}

export interface Received {
  readonly head: Head;
  readonly body: Buffer;
}

/**
 * Takes records out of bytes that arrive in any pieces. Pieces are kept as they are and joined once a record's body is
 * complete: joining at each piece is quadratic (8 s instead of 1 measured for 41 MB).
 */
export class RecordParser {
  readonly #limit: number;
  readonly #chunks: Buffer[] = [];
  #length = 0;
  #head: Head | undefined;

  /** @param limit largest body that is accepted, bytes */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Whether nothing is left of a record that did not end. */
  get idle(): boolean {
    return this.#length === 0 && this.#head === undefined;
  }

  /** The records complete with this piece, which must not be changed afterwards. @throws WireError */
  *push(chunk: Buffer): Generator<Received> {
    this.#chunks.push(chunk);
    this.#length += chunk.length;
    for (;;) {
      if (this.#head === undefined) {
        if (this.#length < HEAD_BYTES) return;
        this.#head = parseHead(this.#take(HEAD_BYTES));
        if (this.#head.stored > this.#limit) throw new WireError(`a record has more than ${this.#limit} bytes`);
      }
      if (this.#length < this.#head.stored) return;
      const head = this.#head;
      this.#head = undefined;
      yield { head, body: this.#take(head.stored) };
    }
  }

  #take(size: number): Buffer {
    this.#length -= size;
    const first = this.#chunks[0];
    if (first === undefined || size === 0) return EMPTY;
    if (first.length >= size) {
      if (first.length === size) this.#chunks.shift();
      else this.#chunks[0] = first.subarray(size);
      return first.subarray(0, size);
    }
    const bytes = Buffer.allocUnsafeSlow(size);
    let at = 0;
    let whole = 0;
    while (at < size) {
      const piece = this.#chunks[whole]!;
      const copied = piece.copy(bytes, at, 0, size - at);
      at += copied;
      if (copied < piece.length) this.#chunks[whole] = piece.subarray(copied);
      else whole++;
    }
    this.#chunks.splice(0, whole);
    return bytes;
  }
}

const EMPTY = Buffer.alloc(0);

/** Identifiers one after the other. @throws WireError */
export function parseIds(bytes: Buffer): string[] {
  if (bytes.length % ID_BYTES !== 0) throw new WireError("the body is no list of identifiers");
  if (bytes.length / ID_BYTES > MAX_IDS) throw new WireError(`the body lists more than ${MAX_IDS} identifiers`);
  return Array.from({ length: bytes.length / ID_BYTES }, (_, i) => bytes.toString("hex", i * ID_BYTES, (i + 1) * ID_BYTES));
}

export function formatIds(ids: readonly string[]): Buffer {
  return Buffer.from(ids.join(""), "hex");
}

/** How a bundle begins: `SGB1`, number of entries u32, their actions in the order in which their records follow. */
const MAGIC = Buffer.from("SGB1");
export const BUNDLE_HEAD_BYTES = MAGIC.length + 4;

export function formatBundleHead(actions: readonly string[]): Buffer {
  const head = Buffer.alloc(BUNDLE_HEAD_BYTES);
  MAGIC.copy(head);
  head.writeUInt32LE(actions.length, MAGIC.length);
  return Buffer.concat([head, formatIds(actions)]);
}

/** The number of actions. @throws WireError */
export function parseBundleHead(bytes: Buffer): number {
  if (!bytes.subarray(0, MAGIC.length).equals(MAGIC)) throw new WireError("this is no bundle");
  const count = bytes.readUInt32LE(MAGIC.length);
  if (count > MAX_IDS) throw new WireError(`a bundle of more than ${MAX_IDS} entries`);
  return count;
}
