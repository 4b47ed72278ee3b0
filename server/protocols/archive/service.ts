import type { FastifyRequest } from "fastify";
import type { Upload } from "../../core/uploads.ts";
import { ARCHIVES } from "../../core/archives.ts";
import type { Entry } from "../../core/entry.ts";
import { errors } from "../../core/errors.ts";
import type { ProtocolContext } from "../protocol.ts";
import { valid } from "../valid.ts";
import { bodyParts, digestOf, headSize, parseManifest, type FindRequest, type Found, type KnownChunk, type ReserveRequest } from "./wire.ts";

/** What an entry's metadata says of its archive: digest of the manifest, its size, and that of manifest and columns. */
type Description = Pick<Found, "digest" | "manifest" | "head">;

/** A manifest that says what its sender does not hold, or not yet. */
export type Committed = { readonly entry: Entry } | { readonly missing: readonly string[] };

export class ArchiveService {
  readonly #context: ProtocolContext;

  constructor(context: ProtocolContext) {
    this.#context = context;
  }

  /** GitHub's matching: scope by scope the exact key, then the newest entry that each key is a prefix of. */
  async find(request: FastifyRequest, { key, restoreKeys, version }: FindRequest): Promise<Found | undefined> {
    const { auth, core } = this.#context;
    const grant = auth.grant(request);
    const entry = await core.catalog.find(grant, ARCHIVES, { key, prefixes: [...new Set([key, ...restoreKeys.filter((one) => one !== "")])], version });
    request.stow.result = entry ? "hit" : "miss";
    if (!entry) return undefined;
    core.catalog.touch(entry, grant);
    return { key: entry.key, id: entry.id, size: entry.size, ...(JSON.parse(entry.metadata!) as Description) };
  }

  /** An archive the request's grant reads. @throws notFound */
  async entry(request: FastifyRequest, id: string) {
    const { auth, core } = this.#context;
    const grant = auth.grant(request);
    const lookup = /^\d{1,15}$/.test(id) ? await core.catalog.byId(Number(id)) : undefined;
    const entry = lookup?.entry;
    if (!entry || entry.cache !== grant.cache || entry.keyspace !== ARCHIVES.name || !grant.read.includes(entry.scope)) throw errors.notFound();
    return { lookup, grant };
  }

  /** Commits an archive that is there already under the name, or reserves the name. */
  async reserve(request: FastifyRequest, { key, version, digest }: ReserveRequest): Promise<{ entry: Entry } | { upload: Upload }> {
    const { auth, core } = this.#context;
    const grant = auth.writer(request);
    const entry = digest === undefined ? undefined : await core.archives.copy(grant, key, version, digest, request.stow.address);
    if (!entry) return { upload: await core.uploads.reserve(grant, ARCHIVES, key, version) };
    request.stow.result = "stored";
    return { entry };
  }

  /** The reservation, if the credential writes where it was made. @throws uploadGone, forbiddenWrite */
  async upload(request: FastifyRequest<{ Params: { id: string } }>) {
    const { auth, core } = this.#context;
    const grant = auth.writer(request);
    const upload = await core.uploads.get(request.params.id);
    if (upload.cache !== grant.cache || upload.scope !== grant.write || upload.keyspace !== ARCHIVES.name) throw errors.uploadGone();
    return { upload, grant };
  }

  async have(request: FastifyRequest<{ Params: { id: string } }>, ids: readonly Buffer[]): Promise<(KnownChunk | undefined)[]> {
    const { upload, grant } = await this.upload(request);
    const places = await this.#context.core.archives.find(grant, upload, ids);
    const known = new Map(places.map(({ id, digest, size, raw, start, length }) => [Buffer.from(id).toString("latin1"), { frame: { digest, size, raw }, start, length }]));
    return ids.map((id) => known.get(id.toString("latin1")));
  }

  /** Makes the upload an archive, when all that its manifest lists is there. @throws badRequest, digestMismatch, exists, tooLarge */
  async commit(request: FastifyRequest<{ Params: { id: string } }>, bytes: Buffer): Promise<Committed> {
    const { core } = this.#context;
    const manifest = valid(() => parseManifest(bytes));
    const { upload, grant } = await this.upload(request);
    const parts = bodyParts(manifest);
    const missing = await core.archives.complete(grant, upload, parts.map(({ digest }) => digest));
    if (missing.length > 0) return { missing };

    const digest = digestOf(bytes);
    // Its name can't be that of a blob, and another manifest that is committed at the same moment has another.
    const name = `manifest ${digest}`;
    await core.uploads.part(upload, name, 0, bytes, { digest });
    const about: Description = { digest, manifest: bytes.length, head: headSize(bytes.length, manifest) };
    const entry = await core.uploads.commit(grant, ARCHIVES, { ...upload, metadata: JSON.stringify(about) }, {
      parts: [name, ...parts.map((part) => part.digest)],
      size: parts.reduce((sum, { size }) => sum + size, bytes.length),
      address: request.stow.address,
    });
    request.stow.result = "stored";
    return { entry };
  }
}
