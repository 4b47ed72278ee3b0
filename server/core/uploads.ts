import { createHash, randomBytes } from "node:crypto";
import type { Database } from "../database/database.ts";
import type { FrameContent } from "../database/operations/chunks.ts";
import type { Upload, Verified } from "../database/operations/uploads.ts";
import { auditOf, chunksOf, type Bodies, type Owner, type Source } from "./bodies.ts";
import { assertKey, writeScope, type Catalog } from "./catalog.ts";
import type { Caches } from "./caches.ts";
import type { BlobLocation, Entry, Keyspace } from "./entry.ts";
import { errors, readFailure, writeFailure } from "./errors.ts";
import type { Grant } from "./grant.ts";
import type { Journal } from "./journal.ts";
import type { Quota } from "./quota.ts";

export type { Upload } from "../database/operations/uploads.ts";

export interface UploadLimits {
  /** An upload nobody adds to for so long has expired and its name may be reserved again, ms. */
  readonly idle: number;
  readonly parts: number;
  /** Open uploads of one credential. */
  readonly perActor: number;
}

export interface CommitOptions {
  /** Names in order; null takes all, by position. */
  readonly parts: string[] | null;
  readonly size?: number | undefined;
  readonly address?: string;
}

export interface VerifiedOptions extends CommitOptions {
  /** Sees the body in order, hands it on, and may refuse it. */
  readonly pass: (body: AsyncIterable<Buffer>) => AsyncIterable<Buffer>;
  /** Asked once the whole body was read. */
  readonly metadata: () => string | null;
}

/**
 * Uploads in parts: reserve a name, add parts in any order, commit by listing them. Nothing is merged, and nothing is
 * visible before commit has resolved. Reservations survive a restart of the server.
 */
export class Uploads {
  readonly #database: Database;
  readonly #catalog: Catalog;
  readonly #caches: Caches;
  readonly #bodies: Bodies;
  readonly #quota: Quota;
  readonly #journal: Journal;
  readonly #limits: UploadLimits;

  constructor(parts: { database: Database; catalog: Catalog; caches: Caches; bodies: Bodies; quota: Quota; journal: Journal; limits: UploadLimits }) {
    this.#database = parts.database;
    this.#catalog = parts.catalog;
    this.#caches = parts.caches;
    this.#bodies = parts.bodies;
    this.#quota = parts.quota;
    this.#journal = parts.journal;
    this.#limits = parts.limits;
  }

  /** @throws forbiddenWrite, exists (an entry or a living reservation has the name), tooManyUploads, overQuota, tooLarge */
  async reserve(grant: Grant, keyspace: Keyspace, key: string, version: string, options: { metadata?: string | null; size?: number | undefined } = {}): Promise<Upload> {
    assertKey(keyspace, key, version);
    const scope = writeScope(grant, keyspace);
    // All scopes trust the digest in the name, which is known of a whole body only: see commitVerified.
    if (keyspace.contentAddressed) throw errors.badRequest("a content-addressed body is sent whole");
    const cache = this.#caches.require(grant.cache);
    if (options.size !== undefined && options.size > cache.entrySize) throw errors.tooLarge(`${cache.entrySize} bytes`);
    await this.#quota.assertRoom(cache, grant.trusted, options.size ?? 0);
    const now = Date.now();
    try {
      if ((await this.#database.read("openUploads", { actor: grant.actor, now })) >= this.#limits.perActor) throw errors.tooManyUploads();
      const result = await this.#database.write("reserveUpload", {
        now, overwrite: keyspace.overwrite ?? false,
        upload: {
          id: randomBytes(16).toString("hex"), number: randomBytes(6).readUIntBE(0, 6), cache: cache.name, keyspace: keyspace.name, scope, key, version,
          actor: grant.actor, trusted: grant.trusted, metadata: options.metadata ?? null, created: now, expires: now + this.#limits.idle,
        },
      });
      if (result.status === "exists") throw errors.exists();
      return result.upload;
    } catch (error) {
      throw writeFailure(error);
    }
  }

  /** A living upload by its id, or by its number. @throws uploadGone */
  async get(id: string | number): Promise<Upload> {
    let upload;
    try {
      upload = await (typeof id === "number" ? this.#database.read("uploadByNumber", { number: id }) : this.#database.read("getUpload", { id }));
    } catch (error) {
      throw readFailure(error);
    }
    if (!upload || upload.expires <= Date.now()) throw errors.uploadGone();
    return upload;
  }

  /** The living upload of a name in the grant's own scope. @throws uploadGone, forbiddenWrite */
  async find(grant: Grant, keyspace: Keyspace, key: string, version: string): Promise<Upload> {
    assertKey(keyspace, key, version);
    let upload;
    try {
      upload = await this.#database.read("findUpload", { cache: grant.cache, keyspace: keyspace.name, scope: writeScope(grant, keyspace), key, version });
    } catch (error) {
      throw readFailure(error);
    }
    if (!upload || upload.expires <= Date.now()) throw errors.uploadGone();
    return upload;
  }

  /**
   * Adds a part, or replaces the one of this name; durable when it resolves.
   * @param position orders the parts where a commit does not list them (for a byte range: its start)
   * @param options.content what a verified frame of an archive holds
   * @throws uploadGone, tooLarge, overQuota, digestMismatch, writeFailure, diskFull, clientGone
   */
  async part(upload: Upload, name: string, position: number, source: Source, options: { size?: number | undefined; digest?: string | undefined; content?: FrameContent } = {}): Promise<void> {
    const cache = this.#caches.require(upload.cache);
    // A large part over a slow line takes longer than a reservation may be idle.
    const renewing = setInterval(() => void this.#renew(upload), this.#limits.idle / 3).unref();
    const blob = await this.#bodies.ingest(cache, upload.trusted, source, { ...options, limit: cache.entrySize }).finally(() => clearInterval(renewing));
    const now = Date.now();
    try {
      const result = await this.#database.write("addPart", {
        id: upload.id, name, position, blob, now, expires: now + this.#limits.idle, maxParts: this.#limits.parts, content: options.content,
      });
      await this.#bodies.removeFiles(result.unused);
      if (result.status === "gone") throw errors.uploadGone();
      if (result.status === "full") throw errors.tooLarge(`${this.#limits.parts} parts`);
      this.#quota.add(cache.name, upload.trusted, blob.size);
    } catch (error) {
      await this.#bodies.discard(blob, error);
      throw writeFailure(error);
    }
  }

  async #renew(upload: Upload): Promise<void> {
    const now = Date.now();
    await this.#database.write("renewUpload", { id: upload.id, now, expires: now + this.#limits.idle }).catch(() => {});
  }

  /** The parts stored so far, by position. */
  async parts(upload: Upload): Promise<readonly { name: string; position: number; size: number }[]> {
    try {
      return await this.#database.read("uploadParts", { id: upload.id });
    } catch (error) {
      throw readFailure(error);
    }
  }

  /**
   * Orders the parts and drops all others: each place takes the first part of `from` that is there, as `to`, at its index as
   * position. @throws uploadGone, badRequest (a part is missing)
   */
  async arrange(upload: Upload, places: readonly { from: readonly string[]; to: string }[]): Promise<void> {
    const now = Date.now();
    let result;
    try {
      result = await this.#database.write("arrangeParts", { id: upload.id, places, now, expires: now + this.#limits.idle });
    } catch (error) {
      throw writeFailure(error);
    }
    if (result.status === "gone") throw errors.uploadGone();
    if (result.status === "missing") throw errors.badRequest("a listed part was not uploaded");
  }

  /**
   * Makes the upload an entry: its body is the listed parts in this order (null: all, by position).
   * @throws uploadGone, exists, badRequest (a part is missing), digestMismatch (size), tooLarge
   */
  async commit(grant: Grant, keyspace: Keyspace, upload: Upload, options: CommitOptions): Promise<Entry> {
    assertWriter(grant, keyspace, upload);
    return this.#commit(grant, keyspace, upload, { ...options, metadata: upload.metadata });
  }

  /**
   * Makes the upload an entry of a content-addressed keyspace: its listed parts are read, and exactly what was read is committed,
   * whoever sends a part meanwhile.
   * @throws what `commit` does, digestMismatch (also for another digest), readFailure, and what `pass` throws
   */
  async commitVerified(grant: Grant, keyspace: Keyspace, upload: Upload, into: Keyspace, digest: string, options: VerifiedOptions): Promise<Entry> {
    assertWriter(grant, keyspace, upload);
    assertKey(into, digest);
    const body = await this.#listed(upload, options);
    const size = body.reduce((sum, blob) => sum + blob.size, 0);
    const renewing = setInterval(() => void this.#renew(upload), this.#limits.idle / 3).unref();
    try {
      await this.#assertDigest({ ...upload, size }, body, digest, options.pass);
    } finally {
      clearInterval(renewing);
    }
    const verified = { keyspace: into.name, scope: writeScope(grant, into), digest, blobs: body.map((blob) => blob.id) };
    return this.#commit(grant, into, upload, { ...options, metadata: options.metadata(), verified });
  }

  async #listed(upload: Upload, { parts, size }: CommitOptions): Promise<BlobLocation[]> {
    let stored;
    try {
      stored = await this.#database.read("uploadBlobs", { id: upload.id });
    } catch (error) {
      throw readFailure(error);
    }
    const byName = new Map(stored.map(({ name, blob }) => [name, blob]));
    const body = (parts ?? [...byName.keys()]).map((name) => byName.get(name));
    if (!body.every((blob) => blob !== undefined)) throw errors.badRequest("a listed part was not uploaded");
    const sent = body.reduce((sum, blob) => sum + blob.size, 0);
    const { entrySize } = this.#caches.require(upload.cache);
    if (size !== undefined && size !== sent) throw announced(sent, size);
    if (sent > entrySize) throw errors.tooLarge(`${entrySize} bytes`);
    return body;
  }

  async #assertDigest(owner: Owner, parts: readonly BlobLocation[], digest: string, pass: VerifiedOptions["pass"]): Promise<void> {
    const hash = createHash("sha256");
    const body = await this.#bodies.openParts(owner, parts);
    try {
      for await (const chunk of pass(chunksOf(body))) hash.update(chunk);
    } finally {
      await body.close();
    }
    const found = hash.digest("hex");
    if (found !== digest) throw errors.digestMismatch(`it hashes to ${found}`);
  }

  async #commit(grant: Grant, keyspace: Keyspace, upload: Upload, options: CommitOptions & { metadata: string | null; verified?: Verified }): Promise<Entry> {
    const { parts, size, metadata, verified, address } = options;
    const cache = this.#caches.require(upload.cache);
    if (size !== undefined && size > cache.entrySize) throw errors.tooLarge(`${cache.entrySize} bytes`);
    const audit = auditOf(grant, "put", keyspace.name, verified?.scope ?? upload.scope, verified?.digest ?? upload.key, size ?? 0, address);
    let result;
    try {
      result = await this.#database.write("commitUpload", {
        id: upload.id, parts, size: size ?? null, maxSize: cache.entrySize, expires: null, metadata, now: audit.at, overwrite: keyspace.overwrite ?? false, audit, verified,
      });
    } catch (error) {
      throw writeFailure(error);
    }
    if (result.status === "gone") throw errors.uploadGone();
    if (result.status === "missing") throw errors.badRequest("a listed part was not uploaded");
    if (result.status === "size") throw announced(result.size, size!);
    if (result.status === "large") throw errors.tooLarge(`${cache.entrySize} bytes`);
    this.#catalog.forget(result.entry);
    if (result.status === "exists") {
      if (!verified) throw errors.exists();
      // The same bytes again are a use of them.
      this.#catalog.touch(result.entry, grant);
      return result.entry;
    }
    this.#journal.auditLine({ ...audit, size: result.entry.size });
    return result.entry;
  }

  /** Gives a reservation up. */
  async abort(upload: Upload): Promise<void> {
    try {
      await this.#database.write("abortUpload", { id: upload.id, now: Date.now() });
    } catch (error) {
      throw writeFailure(error);
    }
  }
}

/** Whoever commits must be able to write there itself; the reservation's id alone proves nothing. @throws uploadGone */
function assertWriter(grant: Grant, keyspace: Keyspace, upload: Upload): void {
  if (grant.cache !== upload.cache || upload.keyspace !== keyspace.name || writeScope(grant, keyspace) !== upload.scope) throw errors.uploadGone();
}

function announced(sent: number, size: number) {
  return errors.digestMismatch(`${sent} bytes were uploaded, ${size} were announced`);
}
