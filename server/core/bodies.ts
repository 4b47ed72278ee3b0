import { createHash } from "node:crypto";
import type { Database, MaybePromise } from "../database/database.ts";
import type { AuditRecord } from "../database/operations/audit.ts";
import type { NewBlob } from "../database/operations/blobs.ts";
import type { NeededName } from "../database/operations/needs.ts";
import { MissingBlob, type BlobReader, type BlobStore, type BlobWriter } from "../storage/store.ts";
import { assertKey, writeScope, type Catalog } from "./catalog.ts";
import type { Cache, Caches } from "./caches.ts";
import type { BlobLocation, Entry, Keyspace } from "./entry.ts";
import { errors, readFailure, StowError, writeFailure } from "./errors.ts";
import type { Grant } from "./grant.ts";
import type { Journal } from "./journal.ts";
import type { Quota } from "./quota.ts";

/** How far a body without an announced size may run ahead of the room kept for it, bytes. */
const ROOM_STEP = 1024 * 1024;
/** Bytes that `chunksOf` hands on at once. */
const CHUNK = 1024 * 1024;

/** Bytes on their way in: a buffer, or a stream of chunks which the consumer may keep. */
export type Source = Buffer | AsyncIterable<Buffer>;

export interface PutOptions {
  readonly version?: string;
  /** Bytes announced by the client; a body of another size is refused. */
  readonly size?: number | undefined;
  /** SHA-256 announced by the client (hex); a body with another is refused. Content-addressed keyspaces use the key. */
  readonly digest?: string | undefined;
  /** As a function, it is asked once the whole body was read, for wires on which the metadata may come after it. */
  readonly metadata?: string | null | (() => string | null);
  readonly overwrite?: boolean;
  readonly expires?: number | null;
  /** What eviction must leave as long as this entry is there. Undefined: nothing, and nobody needs this one. */
  readonly needs?: readonly NeededName[] | undefined;
  /** Never evicted; only its own time, or who names it, removes it. */
  readonly kept?: boolean | undefined;
  /** Where the client is, for the audit log. */
  readonly address?: string;
}

export interface Expected {
  /** Announced by the client, bytes. */
  readonly size?: number | undefined;
  /** Announced by the client, SHA-256 hex. */
  readonly digest?: string | undefined;
  /** Largest body, bytes. */
  readonly limit: number;
  /** False for bytes that are in the cache already. */
  readonly counted?: boolean;
}

/** Picks storages by name and for new blobs; storage/placement.ts. */
export interface Placement {
  create(cache: string): Promise<{ store: string; writer: BlobWriter }>;
  store(name: string): BlobStore;
}

/** A body open for reading: nothing more can be missing of its first part. */
export interface OpenBody {
  readonly size: number;
  /** Hands [start, end) to `push` in order; a chunk is valid until its push has settled. @throws readFailure */
  read(start: number, end: number, push: (chunk: Buffer) => Promise<void> | undefined): Promise<void>;
  close(): Promise<void>;
}

/** Whose bytes are read: an entry, or an upload that is to become one. */
export type Owner = Pick<Entry, "cache" | "keyspace" | "scope" | "key" | "version" | "size">;

/** The bytes of entries: stream → verify → durable → visible on the way in, from RAM, database or storage on the way out. */
export class Bodies {
  readonly #database: Database;
  readonly #catalog: Catalog;
  readonly #caches: Caches;
  readonly #placement: Placement;
  readonly #quota: Quota;
  readonly #journal: Journal;
  readonly #inlineLimit: number;
  readonly #ram: SmallBodies;

  constructor(parts: { database: Database; catalog: Catalog; caches: Caches; placement: Placement; quota: Quota; journal: Journal; inlineLimit: number; ramBytes: number }) {
    this.#database = parts.database;
    this.#catalog = parts.catalog;
    this.#caches = parts.caches;
    this.#placement = parts.placement;
    this.#quota = parts.quota;
    this.#journal = parts.journal;
    this.#inlineLimit = parts.inlineLimit;
    this.#ram = new SmallBodies(parts.ramBytes);
  }

  /**
   * Stores a body under a name. When this resolves, entry and body are durable.
   * @throws forbiddenWrite, tooLarge, overQuota, digestMismatch, exists, diskFull, writeFailure, clientGone
   */
  async put(grant: Grant, keyspace: Keyspace, key: string, source: Source, options: PutOptions = {}): Promise<{ entry: Entry; replaced: boolean }> {
    assertKey(keyspace, key, options.version);
    const scope = writeScope(grant, keyspace);
    const cache = this.#caches.require(grant.cache);
    const digest = keyspace.contentAddressed ? key : options.digest;
    const blob = await this.ingest(cache, grant.trusted, source, { size: options.size, digest, limit: cache.entrySize });
    const metadata = typeof options.metadata === "function" ? options.metadata() : (options.metadata ?? null);
    const audit = auditOf(grant, "put", keyspace.name, scope, key, blob.size, options.address);
    let result;
    try {
      result = await this.#database.write("putEntry", {
        cache: cache.name, keyspace: keyspace.name, scope, key, version: options.version ?? "", metadata,
        trusted: grant.trusted, expires: options.expires ?? null, now: audit.at, overwrite: options.overwrite ?? false, needs: options.needs, kept: options.kept, audit, blob,
      });
    } catch (error) {
      await this.discard(blob, error);
      throw writeFailure(error);
    }
    await this.removeFiles(result.unused);
    this.#catalog.forget(result.entry);
    if (result.status === "exists") {
      // The same bytes under their own digest again is what content-addressed clients do all the time. It is a use of them:
      // what a trusted scope writes is trusted, whoever wrote it first.
      if (keyspace.contentAddressed) {
        this.#catalog.touch(result.entry, grant);
        return { entry: result.entry, replaced: false };
      }
      throw errors.exists();
    }
    this.#quota.add(cache.name, grant.trusted, blob.size + Buffer.byteLength(metadata ?? ""));
    this.#journal.auditLine(audit);
    return { entry: result.entry, replaced: result.status === "replaced" };
  }

  /**
   * Streams bytes into a blob that no row knows yet: small ones into memory, larger ones durably into a storage.
   * The caller hands it to the database or to `discard`.
   */
  async ingest(cache: Cache, trusted: boolean, source: Source, expected: Expected): Promise<NewBlob> {
    const limit = expected.limit;
    if (expected.size !== undefined && expected.size > limit) throw errors.tooLarge(`${limit} bytes`);
    const room = (expected.counted ?? true) ? await this.#quota.reserve(cache, trusted, expected.size ?? 0) : undefined;
    let roomFor = expected.size ?? ROOM_STEP;
    const hash = createHash("sha256");
    let size = 0;
    let small: Buffer[] = [];
    let target: { store: string; writer: BlobWriter } | undefined;
    try {
      for await (const chunk of Buffer.isBuffer(source) ? [source] : source) {
        size += chunk.length;
        if (size > limit) throw errors.tooLarge(`${limit} bytes`);
        if (size > roomFor) {
          if (expected.size !== undefined) throw errors.digestMismatch(`more than the announced ${expected.size} bytes arrived`);
          await room?.grow(size);
          roomFor = size + ROOM_STEP;
        }
        hash.update(chunk);
        if (!target && size <= this.#inlineLimit) {
          small.push(chunk);
          continue;
        }
        if (!target) {
          target = await writing(this.#placement.create(cache.name));
          for (const kept of small) await writing(target.writer.write(kept));
          small = [];
        }
        const wait = target.writer.write(chunk);
        if (wait) await writing(wait);
      }
      const digest = hash.digest("hex");
      if (expected.size !== undefined && size !== expected.size) throw errors.digestMismatch(`${size} bytes arrived, ${expected.size} were announced`);
      if (expected.digest !== undefined && digest !== expected.digest) throw errors.digestMismatch(`it hashes to ${digest}`);
      // A body without an announced size is held against the quota now that its size is known.
      if (expected.size === undefined) await room?.grow(size);
      if (!target) return { digest, size, store: null, name: null, bytes: compact(small) };
      return { digest, size, store: target.store, name: await writing(target.writer.commit(digest)), bytes: null };
    } catch (error) {
      await target?.writer.abort();
      throw error instanceof StowError ? error : errors.clientGone("", { cause: error });
    } finally {
      room?.release();
    }
  }

  /**
   * Drops a blob whose row could not be written. Only when the database certainly refused (SQLite says so with a number): a
   * lost connection may have committed, and then a row needs the file. Repair sweeps what stays behind. Never throws.
   */
  async discard(blob: NewBlob, error: unknown): Promise<void> {
    const refused = typeof (error as { errcode?: unknown }).errcode === "number";
    if (blob.store !== null && refused) await this.removeFiles([{ store: blob.store, name: blob.name! }]);
  }

  /** Deletes files no row names. A failure leaves an orphan, which repair finds. */
  async removeFiles(files: readonly { store: string; name: string }[]): Promise<void> {
    for (const file of files) await Promise.try(() => this.#placement.store(file.store).remove(file.name)).catch(() => {});
  }

  /** A small body whole (at most the inline limit), at once when RAM or SQLite has it. @throws notFound, readFailure */
  bytes(entry: Entry): MaybePromise<Buffer> {
    if (entry.size === 0) return EMPTY;
    const blob = entry.blob;
    if (blob) {
      const known = this.#ram.get(blob.id);
      if (known) return known;
      if (blob.store === null) {
        const read = guarded(() => this.#database.read("blobBytes", { blob: blob.id }));
        return read instanceof Promise ? read.then((bytes) => this.#small(entry, blob, bytes), failRead) : this.#small(entry, blob, read);
      }
    }
    return this.#collect(entry);
  }

  #small(entry: Entry, blob: BlobLocation, bytes: Uint8Array | undefined): Buffer | Promise<Buffer> {
    if (!bytes || bytes.length !== blob.size) return this.#lost(entry, blob).then(() => Promise.reject(errors.notFound()));
    const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#ram.set(blob.id, buffer);
    return buffer;
  }

  async #collect(entry: Entry): Promise<Buffer> {
    const body = await this.open(entry);
    const whole = Buffer.allocUnsafeSlow(entry.size);
    let offset = 0;
    try {
      await body.read(0, entry.size, (chunk) => void (offset += chunk.copy(whole, offset)));
    } finally {
      await body.close();
    }
    if (entry.blob) this.#ram.set(entry.blob.id, whole);
    return whole;
  }

  /**
   * Opens a body. A part whose bytes are gone costs the entry its place in the catalog: it is a miss from then on.
   * @throws notFound, readFailure
   */
  async open(entry: Entry): Promise<OpenBody> {
    return this.openParts(entry, await this.parts(entry));
  }

  /** Opens a body in these parts, which no entry needs to hold yet. @throws as `open` */
  async openParts(owner: Owner, parts: readonly BlobLocation[]): Promise<OpenBody> {
    // Removed since it was looked up, and its list of parts with it.
    if (parts.reduce((sum, part) => sum + part.size, 0) !== owner.size) throw errors.notFound();
    let index = 0;
    let reader: BlobReader | undefined = parts.length > 0 ? await this.#openPart(owner, parts[0]!) : undefined;
    return {
      size: owner.size,
      read: async (start, end, push) => {
        let offset = 0;
        for (let i = 0; i < parts.length && offset < end; i++) {
          const part = parts[i]!;
          const [from, to] = [Math.max(start - offset, 0), Math.min(end - offset, part.size)];
          offset += part.size;
          if (from >= to) continue;
          if (i !== index || !reader) {
            await reader?.close();
            reader = undefined;
            reader = await this.#openPart(owner, part);
            index = i;
          }
          await this.#readPart(owner, part, reader, from, to, push);
        }
      },
      close: async () => {
        await reader?.close();
        reader = undefined;
      },
    };
  }

  /** The blobs of a body, in order. */
  async parts(entry: Entry): Promise<readonly BlobLocation[]> {
    if (entry.blob) return [entry.blob];
    if (entry.size === 0) return [];
    const parts = await guarded(() => this.#database.read("entryParts", { entry: entry.id }));
    if (parts.length > 0) return parts;
    // Joined into one blob since it was looked up.
    const joined = await guarded(() => this.#database.read("entryById", { id: entry.id }));
    return joined?.blob ? [joined.blob] : [];
  }

  /** A URL at the storage itself, where the body is one object there. */
  async presigned(entry: Entry, seconds: number): Promise<string | undefined> {
    if (!entry.blob?.store) return undefined;
    const store = this.#placement.store(entry.blob.store);
    return store.presign?.(entry.blob.name!, seconds).catch(() => undefined);
  }

  async #openPart(entry: Owner, part: BlobLocation): Promise<BlobReader> {
    if (part.store === null) {
      const bytes = await guarded(() => this.#database.read("blobBytes", { blob: part.id }));
      if (bytes && bytes.length === part.size) return memoryReader(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
      await this.#lost(entry, part);
      throw errors.notFound();
    }
    try {
      return await this.#placement.store(part.store).open(part.name!, part.size);
    } catch (error) {
      if (!(error instanceof MissingBlob)) throw readFailure(error);
      await this.#lost(entry, part);
      throw errors.notFound();
    }
  }

  async #readPart(entry: Owner, part: BlobLocation, reader: BlobReader, start: number, end: number, push: (chunk: Buffer) => Promise<void> | undefined): Promise<void> {
    try {
      await reader.read(start, end, push);
    } catch (error) {
      if (!(error instanceof MissingBlob)) throw readFailure(error);
      await this.#lost(entry, part);
      throw errors.notFound();
    }
  }

  /** The bytes are gone although their row is there: whoever needs them is a miss from now on. Never throws. */
  async #lost(entry: Owner, blob: BlobLocation): Promise<void> {
    this.#catalog.forget(entry);
    const audit: AuditRecord = { at: Date.now(), actor: "server", action: "repair", cache: entry.cache, keyspace: entry.keyspace, scope: entry.scope, key: entry.key, size: entry.size, result: "body lost", address: "" };
    const files = await this.#catalog.loseBlob(blob.id, audit).catch(() => []);
    await this.removeFiles(files);
  }
}

/** A body as a stream of chunks its consumer may keep: the reader's own buffers are reused. */
export async function* chunksOf(body: OpenBody): AsyncGenerator<Buffer> {
  for (let start = 0; start < body.size; start += CHUNK) {
    const end = Math.min(start + CHUNK, body.size);
    const copy = Buffer.allocUnsafeSlow(end - start);
    let offset = 0;
    await body.read(start, end, (chunk) => void (offset += chunk.copy(copy, offset)));
    yield copy;
  }
}

export function auditOf(grant: Grant, action: string, keyspace: string, scope: string, key: string, size: number, address = ""): AuditRecord {
  return { at: Date.now(), actor: grant.actor, action, cache: grant.cache, keyspace, scope, key, size, result: "ok", address };
}

const EMPTY = Buffer.alloc(0);

/** The bytes in a buffer of their own size: a slice would carry all of the socket's buffer to the database's thread. */
function compact(chunks: readonly Buffer[]): Buffer {
  const size = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
  const only = chunks.length === 1 ? chunks[0]! : undefined;
  if (only && only.buffer.byteLength === size) return only;
  const bytes = Buffer.allocUnsafeSlow(size);
  let offset = 0;
  for (const chunk of chunks) offset += chunk.copy(bytes, offset);
  return bytes;
}

function writing<T>(work: Promise<T> | undefined): Promise<T> {
  return Promise.resolve(work as Promise<T>).catch((error: unknown) => Promise.reject(writeFailure(error)));
}

function failRead(error: unknown): never {
  throw readFailure(error);
}

function guarded<T>(read: () => MaybePromise<T>): MaybePromise<T> {
  try {
    const value = read();
    return value instanceof Promise ? value.catch(failRead) : value;
  } catch (error) {
    throw readFailure(error);
  }
}

function memoryReader(bytes: Buffer): BlobReader {
  return {
    size: bytes.length,
    read: async (start, end, push) => void (await push(bytes.subarray(start, end))),
    close: async () => {},
  };
}

/** Bodies small enough to answer from RAM, bounded in bytes; least recently used go first. */
class SmallBodies {
  readonly #bodies = new Map<number, Buffer>();
  readonly #max: number;
  #bytes = 0;

  constructor(max: number) {
    this.#max = max;
  }

  get(blob: number): Buffer | undefined {
    const body = this.#bodies.get(blob);
    if (body && this.#bytes > this.#max / 2) {
      this.#bodies.delete(blob);
      this.#bodies.set(blob, body);
    }
    return body;
  }

  set(blob: number, body: Buffer): void {
    if (body.length > this.#max / 16 || this.#bodies.has(blob)) return;
    this.#bodies.set(blob, body);
    this.#bytes += body.length;
    for (const [id, old] of this.#bodies) {
      if (this.#bytes <= this.#max) break;
      this.#bodies.delete(id);
      this.#bytes -= old.length;
    }
  }
}
