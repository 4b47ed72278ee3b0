import type { FastifyReply, FastifyRequest } from "fastify";
import type { Lookup } from "../../core/catalog.ts";
import type { Entry, Keyspace } from "../../core/entry.ts";
import { errors } from "../../core/errors.ts";
import type { Grant } from "../../core/grant.ts";
import { after } from "../../database/database.ts";
import { etagOf } from "../../http/send.ts";
import type { ProtocolContext } from "../protocol.ts";
import { MAX_METADATA, UploadForm } from "./form.ts";
import { boundaryOf, FORM_LIMITS, MultipartError } from "./multipart.ts";
import { CREATED, DIGEST_HEADER, downloadPath, formatList, formatLookup } from "./wire.ts";

export const KEYSPACE: Keyspace = { name: "nip", maxKeyLength: 512, overwrite: true };
export const JSON_TYPE = "application/json; charset=utf-8";

/** The reference server's headers but its Content-Encoding: a client that decodes it would store a bare tar, or fail. */
const DOWNLOAD = { type: "application/x-tar", headers: { "content-disposition": "inline; filename=artifact.tar.gz" } };
/** The most a form holds beside the file; what a Content-Length exceeds this by is the file's. */
const MAX_AROUND = MAX_METADATA + FORM_LIMITS.parts * FORM_LIMITS.headerBytes + 128 * 1024;
const MAX_PAGE = 500;

export type Keyed = FastifyRequest<{ Params: { key: string } }>;
export type Listing = FastifyRequest<{ Querystring: Partial<Record<string, string | string[]>> }>;
type Answer = FastifyReply | Promise<FastifyReply>;

/** The handlers of one mount. They answer at once where the entry is in RAM: no promise on the hot path. */
export class Routes {
  readonly #context: ProtocolContext;
  readonly #mount: string;

  constructor(context: ProtocolContext, mount: string) {
    this.#context = context;
    this.#mount = mount;
  }

  lookup(request: Keyed, reply: FastifyReply): Answer {
    return this.#found(request, () => {
      const path = this.#context.urls.path(request, this.#mount + downloadPath(request.params.key));
      return reply.type(JSON_TYPE).send(formatLookup(path));
    });
  }

  metadata(request: Keyed, reply: FastifyReply): Answer {
    return this.#found(request, (entry) => {
      if (entry.digest) reply.header(DIGEST_HEADER, entry.digest);
      return reply.type(JSON_TYPE).send(entry.metadata);
    });
  }

  download(request: Keyed, reply: FastifyReply): Answer {
    return this.#found(request, (_, lookup, grant) => this.#context.send.lookup(request, reply, lookup, { ...DOWNLOAD, grant }));
  }

  async upload(request: Keyed, reply: FastifyReply): Promise<FastifyReply> {
    const { auth, core, receive } = this.#context;
    const grant = auth.writer(request);
    const key = keyOf(request);
    const form = new UploadForm(formBoundary(request));
    const { size, stream } = receive.body(request);
    // The file's own size is known only when it is here; a hopeless upload is refused by what it must at least be.
    const least = Math.max((size ?? 0) - MAX_AROUND, 0);
    const cache = core.caches.require(grant.cache);
    if (least > cache.entrySize) throw errors.tooLarge(`${cache.entrySize} bytes`);
    if (least > 0) await core.quota.assertRoom(cache, grant.trusted, least);
    const { entry } = await core.bodies.put(grant, KEYSPACE, key, form.file(stream), {
      metadata: () => form.metadata, overwrite: true, address: request.stow.address,
    });
    request.stow.result = "stored";
    return reply.code(201).header("etag", etagOf(entry)).type(JSON_TYPE).send(CREATED);
  }

  /** Ours, not the reference's: what a key can read, newest first, so that a client can show it. */
  async list(request: Listing, reply: FastifyReply): Promise<FastifyReply> {
    const { auth, core } = this.#context;
    const limit = Math.min(integer(request, "limit") ?? MAX_PAGE, MAX_PAGE);
    const before = integer(request, "before");
    const found = await core.catalog.list(auth.grant(request), { keyspace: KEYSPACE.name, limit, ...(before === undefined ? {} : { before }) });
    return reply.type(JSON_TYPE).send(formatList({ artifacts: found, next: found.length === limit ? String(found.at(-1)!.id) : null }));
  }

  #found(request: Keyed, answer: (entry: Entry, lookup: Lookup, grant: Grant) => Answer): Answer {
    const { auth, core } = this.#context;
    const grant = auth.grant(request);
    return after(core.catalog.get(grant, KEYSPACE, keyOf(request)), (lookup) => {
      if (!lookup.entry) throw errors.notFound();
      request.stow.result = "hit";
      return answer(lookup.entry, lookup, grant);
    });
  }
}

function keyOf(request: Keyed): string {
  // `/v1/artifacts/` is no artifact's path.
  if (request.params.key === "") throw errors.noRoute();
  return request.params.key;
}

function formBoundary(request: FastifyRequest): string {
  try {
    const boundary = boundaryOf(request.headers["content-type"]);
    if (boundary !== undefined) return boundary;
  } catch (error) {
    if (!(error instanceof MultipartError)) throw error;
    throw errors.badRequest(error.message);
  }
  throw errors.badRequest("send multipart/form-data with the parts file and metadata");
}

function integer(request: Listing, name: string): number | undefined {
  const value = request.query[name];
  if (value === undefined) return undefined;
  if (typeof value !== "string" || !/^[1-9]\d{0,14}$/.test(value)) throw errors.badRequest(`${name} is not a positive number`);
  return Number(value);
}
