import type { FastifyInstance, FastifyRequest } from "fastify";
import { errors } from "../../core/errors.ts";
import type { RouteConfig } from "../../http/context.ts";
import type { ProtocolContext } from "../protocol.ts";
import { GHA, type CacheService } from "./service.ts";
import { decode, encode, formatOf, REQUESTS, RESPONSES, SERVICE, type CacheRequest, type CacheResponse, type Format, type Method } from "./wire.ts";

/** A request holds eleven keys at most. */
const MAX_MESSAGE = 64 * 1024;

export const CONTENT_TYPE: Record<Format, string> = { json: "application/json; charset=utf-8", protobuf: "application/protobuf" };

/**
 * The cache service v2. Its routes stand at the root of the origin: `@actions/cache` drops any path of ACTIONS_RESULTS_URL.
 */
export function registerTwirp(app: FastifyInstance, context: ProtocolContext, service: CacheService): void {
  const method = <M extends Method>(name: M, config: RouteConfig, handle: (request: FastifyRequest, message: CacheRequest<M>) => Promise<Partial<CacheResponse<M>>>) => {
    app.post(`/twirp/${SERVICE}/${name}`, { config: { ...config, keyspace: GHA.name } }, async (request, reply) => {
      const format = formatOf(request.headers["content-type"]);
      if (!format) throw errors.unsupported("send application/json or application/protobuf");
      const message = decode(REQUESTS[name], format, await context.receive.buffer(request, MAX_MESSAGE)) as CacheRequest<M>;
      const answer = await handle(request, message);
      return reply.type(CONTENT_TYPE[format]).send(encode(RESPONSES[name], format, answer));
    });
  };

  method("GetCacheEntryDownloadURL", { op: "lookup", kind: "lookup" }, async (request, { key, restoreKeys, version }) => {
    const entry = await service.lookup(request, [key, ...restoreKeys], version);
    return entry ? { ok: true, signedDownloadUrl: service.readUrl(request, entry), matchedKey: entry.key } : { ok: false };
  });

  method("CreateCacheEntry", { op: "reserve" }, async (request, { key, version }) => {
    const upload = await service.reserve(request, key, version);
    return { ok: true, signedUploadUrl: service.writeUrl(request, upload) };
  });

  method("FinalizeCacheEntryUpload", { op: "commit", kind: "upload" }, async (request, { key, sizeBytes, version }) => {
    const entry = await service.finalize(request, key, version, sizeBytes);
    return { ok: true, entryId: entry.id };
  });

  // The toolkit retries any answer that isn't JSON for half a minute, so nothing below /twirp may fall through.
  const unknown = { config: { auth: "none" } as const };
  app.all("/twirp", unknown, async () => Promise.reject(errors.noRoute()));
  app.all("/twirp/*", unknown, async () => Promise.reject(errors.noRoute()));
}
