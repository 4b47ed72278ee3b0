import type { FastifyInstance, FastifyRequest } from "fastify";
import type { Entry } from "../../core/entry.ts";
import { errors } from "../../core/errors.ts";
import type { Upload } from "../../core/uploads.ts";
import type { ProtocolContext } from "../protocol.ts";
import { GHA, type CacheService } from "./service.ts";
import { parseCacheId, parseCommit, parseContentRange, parseReservation } from "./v1-wire.ts";

export const V1_BASE = "/_apis/artifactcache";

const MAX_MESSAGE = 64 * 1024;
const MAX_LISTED = 100;
/** Chunks are parts of this name and at the position they start at. */
const chunkName = (start: number) => `@${start}`;

/** The legacy artifact cache API: GitHub Enterprise Server and clients from before 2025 (github-actions.md §1.7). */
export function registerV1(app: FastifyInstance, context: ProtocolContext, service: CacheService): void {
  const { auth, core, receive } = context;
  const { uploads } = core;
  const keyspace = GHA.name;

  app.get(`${V1_BASE}/cache`, { config: { op: "lookup", kind: "lookup", keyspace } }, async (request, reply) => {
    const { keys, version } = request.query as Record<string, unknown>;
    if (typeof keys !== "string" || typeof version !== "string") throw errors.badRequest("keys and version are needed, each once");
    const entry = await service.lookup(request, keys.split(","), version);
    if (!entry) return reply.code(204).send();
    return { ...describe(entry), archiveLocation: service.readUrl(request, entry) };
  });

  app.get(`${V1_BASE}/caches`, { config: { op: "list", keyspace } }, async (request) => {
    const { key } = request.query as Record<string, unknown>;
    const grant = auth.grant(request);
    const entries = await core.catalog.list(grant, { keyspace, limit: MAX_LISTED, ...(typeof key === "string" && { prefix: key }) });
    return { totalCount: entries.length, artifactCaches: entries.map((entry) => ({ ...describe(entry), cacheVersion: entry.version })) };
  });

  app.post(`${V1_BASE}/caches`, { config: { op: "reserve", keyspace } }, async (request, reply) => {
    const { key, version, cacheSize } = parseReservation(await receive.buffer(request, MAX_MESSAGE));
    const upload = await service.reserve(request, key, version, cacheSize);
    return reply.code(201).send({ cacheId: upload.number });
  });

  app.patch<{ Params: { id: string } }>(`${V1_BASE}/caches/:id`, { config: { op: "upload", keyspace } }, async (request, reply) => {
    const upload = await reservation(request);
    const { start, end } = parseContentRange(request.headers["content-range"]);
    // The toolkit sends chunks without Content-Length: the range says how long they are.
    await uploads.part(upload, chunkName(start), start, receive.body(request).stream, { size: end - start });
    request.stow.result = "stored";
    return reply.code(204).send();
  });

  app.post<{ Params: { id: string } }>(`${V1_BASE}/caches/:id`, { config: { op: "commit", kind: "upload", keyspace } }, async (request, reply) => {
    const grant = auth.writer(request);
    const upload = await reservation(request);
    const size = parseCommit(await receive.buffer(request, MAX_MESSAGE));
    const parts = coverage(await uploads.parts(upload), size);
    await uploads.commit(grant, GHA, upload, { parts, size, address: request.stow.address });
    request.stow.result = "stored";
    return reply.code(204).send();
  });

  app.all(`${V1_BASE}/*`, { config: { auth: "none" } }, async () => Promise.reject(errors.noRoute()));

  /** The reservation of this number, if the credential writes where it was made. */
  async function reservation(request: FastifyRequest<{ Params: { id: string } }>): Promise<Upload> {
    const grant = auth.writer(request);
    const upload = await uploads.get(parseCacheId(request.params.id));
    if (upload.cache !== grant.cache || upload.scope !== grant.write || upload.keyspace !== keyspace) throw errors.uploadGone();
    return upload;
  }
}

/** @returns the chunks in order @throws badRequest unless they cover all bytes exactly once @param parts by position */
function coverage(parts: readonly { name: string; position: number; size: number }[], size: number): string[] {
  const chunks = parts.filter(({ name }) => name.startsWith("@"));
  let end = 0;
  for (const chunk of chunks) {
    if (chunk.position !== end) throw errors.badRequest(`byte ${Math.min(chunk.position, end)} is missing or was sent twice`);
    end += chunk.size;
  }
  if (end !== size) throw errors.badRequest(`${end} bytes were uploaded, ${size} were announced`);
  return chunks.map(({ name }) => name);
}

/** Repository ids are the server's own affair: clients know scopes as refs. */
function describe(entry: Entry): object {
  return { cacheKey: entry.key, scope: entry.scope.replace(/^\d+:/, ""), creationTime: new Date(entry.created).toISOString() };
}
