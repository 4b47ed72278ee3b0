import { createHash, randomUUID } from "node:crypto";
import type { Core } from "../../../core/core.ts";
import type { Entry } from "../../../core/entry.ts";
import { errors, StowError } from "../../../core/errors.ts";
import type { Grant } from "../../../core/grant.ts";
import type { Upload } from "../../../core/uploads.ts";
import { PUSHES } from "../keyspaces.ts";
import type { NarContent } from "../nar-content.ts";
import { assertContent, contentOf, type Nars } from "../nars.ts";
import type { Completion, Compression, Created } from "./wire.ts";

export type Writer = Grant & { readonly write: string };

/** How a client names an upload: both were given out when it began. */
export interface UploadName {
  readonly narId: string;
  readonly uploadId: string;
}

/** However busy, no upload lives longer, ms. */
const MAX_AGE = 86_400_000;
const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** NARs that come in parts, in any order and of any size. Nothing of them is visible before they are whole and verified. */
export class Multipart {
  readonly #core: Core;
  readonly #nars: Nars;
  /** Uploads that are being completed: who asks again meanwhile waits, and finds what came of it. */
  readonly #completing = new Map<string, Promise<unknown>>();

  constructor(core: Core, nars: Nars) {
    this.#core = core;
    this.#nars = nars;
  }

  /** @throws forbiddenWrite, tooManyUploads, overQuota */
  async create(grant: Writer, compression: Compression): Promise<UploadName & { readonly upload: Upload }> {
    const upload = await this.#core.uploads.reserve(grant, PUSHES, randomUUID(), "", { metadata: compression });
    const [, a, b, c, d, e] = /^(.{8})(.{4})(.{4})(.{4})(.{12})$/.exec(upload.id)!;
    return { narId: `${a}-${b}-${c}-${d}-${e}`, uploadId: String(upload.number), upload };
  }

  /** A living upload of the grant's own scope. @throws uploadGone */
  async find(grant: Writer, { narId, uploadId }: UploadName): Promise<Upload> {
    const upload = await this.byId(narId);
    const own = upload.cache === grant.cache && upload.scope === grant.write && upload.trusted === grant.trusted;
    if (!own || String(upload.number) !== uploadId) throw errors.uploadGone();
    return upload;
  }

  /** Only for who has proven by a signature that it may add to it. @throws uploadGone */
  async byId(narId: string): Promise<Upload> {
    if (!UUID.test(narId)) throw errors.uploadGone();
    const upload = await this.#core.uploads.get(narId.replaceAll("-", ""));
    if (upload.keyspace !== PUSHES.name) throw errors.uploadGone();
    if (upload.created + MAX_AGE > Date.now()) return upload;
    await this.#core.uploads.abort(upload);
    throw errors.uploadGone();
  }

  /** Adds a part; sent again with other bytes it is another one, and completion says which counts. @throws digestMismatch, and what Uploads.part throws */
  part(upload: Upload, number: number, md5: string, body: AsyncIterable<Buffer>, size: number | undefined): Promise<void> {
    return this.#core.uploads.part(upload, partName(number, md5), number, withMd5(body, md5), { size });
  }

  abort(upload: Upload): Promise<void> {
    return this.#core.uploads.abort(upload);
  }

  /**
   * Makes a NAR of the parts, once their bytes are what the client says. Asked again after that, it finds the NAR.
   * @throws uploadGone, badRequest, digestMismatch, tooLarge, and what Uploads.commitVerified throws
   */
  async complete(grant: Writer, name: UploadName, { parts, created }: Completion, address: string): Promise<Entry> {
    for (let running = this.#completing.get(name.narId); running; running = this.#completing.get(name.narId)) await running.catch(() => {});
    const done = this.#complete(grant, name, parts, created, address).finally(() => this.#completing.delete(name.narId));
    this.#completing.set(name.narId, done);
    return done;
  }

  async #complete(grant: Writer, name: UploadName, listed: Completion["parts"], created: Created, address: string): Promise<Entry> {
    try {
      const upload = await this.find(grant, name);
      const parts = listed?.map(({ number, md5 }) => partName(number, md5)) ?? (await this.#all(upload));
      const check = (content: NarContent) => assertContent(content, { ...created, compression: compressionOf(content, upload) });
      return await this.#nars.adopt(grant, created.fileHash, { from: PUSHES, upload, parts, size: created.fileSize, check, address });
    } catch (error) {
      if (!(error instanceof StowError) || error.code !== "STOW_UPLOAD_GONE") throw error;
      // It was completed before, and the answer got lost.
      const { entry } = await this.#nars.get(grant, created.fileHash);
      if (!entry || contentOf(entry).compression === undefined) throw error;
      return entry;
    }
  }

  /** All parts in order, for a client that lists none. @throws badRequest when a number was sent with different bytes */
  async #all(upload: Upload): Promise<string[]> {
    const parts = await this.#core.uploads.parts(upload);
    if (new Set(parts.map((part) => part.position)).size < parts.length) throw errors.badRequest("a part was sent twice with different bytes; list the parts that count");
    return parts.map((part) => part.name);
  }

  /** A NAR in one piece, named by what it hashes to (older clients). @throws what parts and completion throw */
  async whole(grant: Writer, compression: Compression, body: AsyncIterable<Buffer>, size: number | undefined, address: string): Promise<Entry> {
    const { upload } = await this.create(grant, compression);
    try {
      const sha256 = createHash("sha256");
      await this.#core.uploads.part(upload, "whole", 0, passing(body, (chunk) => sha256.update(chunk)), { size });
      return await this.#nars.adopt(grant, sha256.digest("hex"), { from: PUSHES, upload, parts: null, check: (content) => void compressionOf(content, upload), address });
    } catch (error) {
      await this.#core.uploads.abort(upload).catch(() => {});
      throw error;
    }
  }
}

/** What its first bytes say, which must be what the client said. @throws badRequest */
function compressionOf(content: NarContent, upload: Upload): string {
  if (content.compression !== upload.metadata) throw errors.badRequest(`the NAR's compression is ${content.compression ?? "unknown"}, not ${upload.metadata}`);
  return content.compression!;
}

/** The bytes are in the name: a completion that lists an eTag means them and no others. */
function partName(number: number, md5: string): string {
  return `${number}.${md5}`;
}

async function* passing(body: AsyncIterable<Buffer>, see: (chunk: Buffer) => void): AsyncGenerator<Buffer> {
  for await (const chunk of body) {
    see(chunk);
    yield chunk;
  }
}

async function* withMd5(body: AsyncIterable<Buffer>, wanted: string): AsyncGenerator<Buffer> {
  const md5 = createHash("md5");
  yield* passing(body, (chunk) => md5.update(chunk));
  const found = md5.digest("hex");
  if (found !== wanted) throw errors.digestMismatch(`its MD5 is ${found}`);
}
