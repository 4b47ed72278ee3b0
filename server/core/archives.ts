import type { Database } from "../database/database.ts";
import { auditOf } from "./bodies.ts";
import type { ChunkPlace } from "../database/operations/chunks.ts";
import type { Upload } from "../database/operations/uploads.ts";
import { assertKey, writeScope, type Catalog } from "./catalog.ts";
import type { Caches } from "./caches.ts";
import type { Entry, Keyspace } from "./entry.ts";
import { errors, writeFailure } from "./errors.ts";
import type { Grant } from "./grant.ts";
import type { Journal } from "./journal.ts";
import type { Quota } from "./quota.ts";
import type { UploadLimits } from "./uploads.ts";

/** Bodies of archives are lists of blobs which they share with each other: manifest, columns, frames. */
export const ARCHIVES: Keyspace = { name: "archive", maxKeyLength: 3 * 512 };

/**
 * What archives share. A frame whose chunks were verified belongs to all scopes of a cache that can name every one of them, as
 * content-addressed entries do; any other blob is shared only with who can read an archive that holds it.
 */
export class Archives {
  readonly #database: Database;
  readonly #catalog: Catalog;
  readonly #caches: Caches;
  readonly #quota: Quota;
  readonly #journal: Journal;
  readonly #limits: UploadLimits;

  constructor(parts: { database: Database; catalog: Catalog; caches: Caches; quota: Quota; journal: Journal; limits: UploadLimits }) {
    this.#database = parts.database;
    this.#catalog = parts.catalog;
    this.#caches = parts.caches;
    this.#quota = parts.quota;
    this.#journal = parts.journal;
    this.#limits = parts.limits;
  }

  /**
   * Where chunks are, as far as the grant may have the whole frames: it reads them, or has named all that they hold. Those
   * frames are parts of the upload from now on. @throws uploadGone, tooLarge, writeFailure
   */
  async find(grant: Grant, upload: Upload, ids: readonly Uint8Array[]): Promise<readonly ChunkPlace[]> {
    return (await this.#lease(this.#database.write("leaseChunks", { ...this.#bounds(upload), ids, keyspace: ARCHIVES.name, scopes: grant.read }))).places;
  }

  /**
   * Completes an upload with blobs of archives the grant reads. Returns those of the digests that are no parts of it yet.
   * @throws uploadGone, tooLarge, writeFailure
   */
  async complete(grant: Grant, upload: Upload, digests: readonly string[]): Promise<readonly string[]> {
    return (await this.#lease(this.#database.write("leaseParts", { ...this.#bounds(upload), digests, keyspace: ARCHIVES.name, scopes: grant.read }))).missing;
  }

  /**
   * Gives the archive with this manifest (SHA-256, hex) another name, in the grant's own scope. Undefined when the grant reads
   * no such archive. @throws forbiddenWrite, exists, tooLarge, overQuota, writeFailure
   */
  async copy(grant: Grant, key: string, version: string, digest: string, address: string): Promise<Entry | undefined> {
    assertKey(ARCHIVES, key, version);
    const scope = writeScope(grant, ARCHIVES);
    const cache = this.#caches.require(grant.cache);
    await this.#quota.assertRoom(cache, grant.trusted, 0);
    const audit = auditOf(grant, "put", ARCHIVES.name, scope, key, 0, address);
    let result;
    try {
      result = await this.#database.write("copyArchive", {
        cache: cache.name, keyspace: ARCHIVES.name, scope, key, version, digest, scopes: grant.read, maxSize: cache.entrySize,
        trusted: grant.trusted, expires: null, now: audit.at, overwrite: false, audit,
      });
    } catch (error) {
      throw writeFailure(error);
    }
    if (result.status === "unknown") return undefined;
    if (result.status === "large") throw errors.tooLarge(`${cache.entrySize} bytes`);
    this.#catalog.forget(result.entry);
    if (result.status === "exists") throw errors.exists();
    this.#quota.add(cache.name, grant.trusted, result.entry.size);
    this.#journal.auditLine({ ...audit, size: result.entry.size });
    return result.entry;
  }

  #bounds(upload: Upload) {
    const now = Date.now();
    return { upload: upload.id, now, expires: now + this.#limits.idle, maxParts: this.#limits.parts };
  }

  async #lease<T extends { status: "gone" | "full" | "leased" }>(work: Promise<T>): Promise<Extract<T, { status: "leased" }>> {
    const result = await work.catch((error: unknown) => Promise.reject(writeFailure(error)));
    if (result.status === "gone") throw errors.uploadGone();
    if (result.status === "full") throw errors.tooLarge(`${this.#limits.parts} parts`);
    return result as Extract<T, { status: "leased" }>;
  }
}
