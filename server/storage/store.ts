/**
 * A place for blobs too large for the database. Drivers: filesystem.ts, s3.ts; both pass conformance.ts.
 * A blob's name is chosen by the driver, unique for each write (never reused), so deleting one can't hit a newer upload
 * of the same bytes. All methods throw the driver's own errors with `code` where the system gave one (ENOSPC, EIO);
 * a blob that is not there is a `MissingBlob`.
 */
export interface BlobStore {
  readonly kind: "filesystem" | "s3";
  /** Starts a write. Nothing is visible, and nothing survives a crash, before `commit` has returned. */
  create(cache: string): Promise<BlobWriter>;
  /** Opens a blob for reading. @throws MissingBlob, also when fewer than `size` bytes are there */
  open(name: string, size: number): Promise<BlobReader>;
  /** Deletes; a blob that is not there is not an error. */
  remove(name: string): Promise<void>;
  /** All blobs, in no order, in bounded pages; for repair and fsck. */
  list(): AsyncIterable<StoredBlob>;
  /** Removes what unfinished writes left behind (only what is older than `olderThan` milliseconds). Returns how many. */
  sweep(olderThan: number): Promise<number>;
  /** Bytes in total and free, where the storage knows; undefined where it has no end (S3). */
  capacity(): Promise<{ total: number; free: number } | undefined>;
  /** A URL good for `seconds` under which anyone may GET the blob, where the storage can make one. */
  presign?(name: string, seconds: number): Promise<string>;
  close(): Promise<void>;
}

export interface StoredBlob {
  readonly name: string;
  readonly size: number;
  /** Last modified, ms. */
  readonly modified: number;
}

export interface BlobWriter {
  /**
   * Takes the next bytes; the buffer is the writer's from now on. A returned promise must be awaited before the next
   * write (back pressure); `undefined` means go on at once. Rejects with the storage's error.
   */
  write(chunk: Buffer): Promise<void> | undefined;
  /** Makes the blob durable under a name. After it returned, a power cut can't lose it. @param digest SHA-256 hex of all bytes */
  commit(digest: string): Promise<string>;
  /** Drops everything written. Never throws; harmless after commit. */
  abort(): Promise<void>;
}

export interface BlobReader {
  readonly size: number;
  /**
   * Hands the bytes [start, end) to `push` in order. A chunk is valid only until the promise of its `push` settles (buffers are pooled).
   * Stops when `push` rejects, and rejects with its error. @throws MissingBlob, TruncatedBlob
   */
  read(start: number, end: number, push: (chunk: Buffer) => Promise<void> | undefined): Promise<void>;
  close(): Promise<void>;
}

export class MissingBlob extends Error {
  constructor(name: string) {
    super(`blob ${name} is missing`);
    this.name = "MissingBlob";
  }
}

/** The storage holds fewer bytes of a blob than the index says: what is left of it is of no use to anybody. */
export class TruncatedBlob extends MissingBlob {
  constructor(name: string, held: number, expected: number) {
    super(name);
    this.message = `blob ${name} holds ${held} bytes of ${expected}`;
    this.name = "TruncatedBlob";
  }
}
