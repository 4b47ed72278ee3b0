import type { FastifyRequest } from "fastify";
import type { Entry, Keyspace } from "../../core/entry.ts";
import { errors } from "../../core/errors.ts";
import type { Upload } from "../../core/uploads.ts";
import type { ProtocolContext } from "../protocol.ts";
import { bodyOf } from "./block-list.ts";

/** Keys have at most 512 characters; a character takes up to three bytes for each of its UTF-16 units. */
export const GHA: Keyspace = { name: "gha", maxKeyLength: 3 * 512 };

const MAX_KEY = 512;
const MAX_KEYS = 10;
/** Seconds a signed URL is good for, while its entry or reservation and its credential stand. */
const READ_LIFE = 60 * 60;
const WRITE_LIFE = 6 * 60 * 60;
/** The end of a read URL is rounded down to this many seconds, so that look-ups shortly after each other give the same URL. */
const READ_STEP = 5 * 60;

/** What both versions of the protocol do: the same entries, matched and reserved by the same rules. */
export class CacheService {
  readonly #context: ProtocolContext;

  constructor(context: ProtocolContext) {
    this.#context = context;
  }

  /**
   * The entry a restore gets: scope by scope the exact key, then the newest one each key is a prefix of.
   * @param keys the key itself, then its restore keys in order
   * @throws unauthorized, forbiddenRead, badRequest, readFailure
   */
  async lookup(request: FastifyRequest, keys: readonly string[], version: string): Promise<Entry | undefined> {
    const { auth, core } = this.#context;
    const grant = auth.grant(request);
    if (grant.read.length === 0) throw errors.forbiddenRead();
    // BuildKit repeats the key among its restore keys.
    const unique = [...new Set(keys.filter((key) => key !== ""))];
    if (unique.length > MAX_KEYS) throw errors.badRequest(`more than ${MAX_KEYS} keys`);
    for (const key of unique) assertKey(key);
    assertKey(keys[0] ?? "");
    assertVersion(version);
    const entry = await core.catalog.find(grant, GHA, { key: keys[0]!, prefixes: unique, version });
    request.stow.result = entry ? "hit" : "miss";
    // A look-up without a download (`lookup-only`) is a use too.
    if (entry) core.catalog.touch(entry, grant);
    return entry;
  }

  /** @param size bytes, where the client says so @throws unauthorized, forbiddenWrite, badRequest, exists, overQuota, tooLarge, tooManyUploads, writeFailure */
  async reserve(request: FastifyRequest, key: string, version: string, size?: number): Promise<Upload> {
    const grant = this.#context.auth.writer(request);
    assertKey(key);
    assertVersion(version);
    return this.#context.core.uploads.reserve(grant, GHA, key, version, { size });
  }

  /**
   * Makes what was put to the write URL an entry.
   * @throws unauthorized, forbiddenWrite, badRequest (nothing was put), digestMismatch (size), uploadGone, exists, writeFailure
   */
  async finalize(request: FastifyRequest, key: string, version: string, size: number): Promise<Entry> {
    const { auth, core } = this.#context;
    const grant = auth.writer(request);
    assertKey(key);
    assertVersion(version);
    // Asked again because the first answer was lost on its way.
    const { entry } = await core.catalog.get({ ...grant, read: [grant.write] }, GHA, key, version);
    if (entry) {
      if (entry.size !== size) throw errors.exists();
      request.stow.result = "exists";
      return entry;
    }
    const upload = await core.uploads.find(grant, GHA, key, version);
    const parts = bodyOf(await core.uploads.parts(upload));
    if (!parts) throw errors.badRequest("nothing was uploaded, or no block list was put");
    const committed = await core.uploads.commit(grant, GHA, upload, { parts, size, address: request.stow.address });
    request.stow.result = "stored";
    return committed;
  }

  /** Where an entry is downloaded from without any header; ends with the credential of this request. */
  readUrl(request: FastifyRequest, entry: Entry): string {
    const { signer, urls } = this.#context;
    const { actor, until } = request.stow;
    const now = Math.floor(Date.now() / 1000);
    const end = Math.min(now + READ_LIFE - ((now + READ_LIFE) % READ_STEP), Math.floor(until / 1000));
    const query = signer.sign({ op: "read", cache: entry.cache, id: String(entry.id), actor }, end - now);
    return `${urls.origin(request)}/_blob/read/${entry.cache}/${entry.id}/${Buffer.from(actor).toString("base64url")}?${query}`;
  }

  /** Where a reservation is filled; good as long as the reservation is. sccache needs two path segments and a query. */
  writeUrl(request: FastifyRequest, upload: Upload): string {
    const { signer, urls } = this.#context;
    const query = signer.sign({ op: "write", cache: upload.cache, id: upload.id, actor: upload.actor }, WRITE_LIFE);
    return `${urls.origin(request)}/_blob/write/${upload.cache}/${upload.id}?${query}`;
  }
}

function assertKey(key: string): void {
  if (key === "") throw errors.badRequest("the key is empty");
  if (key.length > MAX_KEY) throw errors.badRequest(`a key is longer than ${MAX_KEY} characters`);
}

function assertVersion(version: string): void {
  if (version === "") throw errors.badRequest("the version is empty");
}
