import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { errors } from "../../core/errors.ts";
import { after } from "../../database/database.ts";
import type { ProtocolContext } from "../protocol.ts";
import { ACTIONS, outputOf, type Actions } from "./actions.ts";
import { OPS } from "./refusals.ts";
import { BODY_SHA256_HEADER, COMPRESSION_HEADER, MAX_LABEL, MOUNT, OUTPUT_HEADER, SIZE_HEADER, type Output } from "./wire.ts";

export type Named = FastifyRequest<{ Params: { action: string; output?: string }; Querystring: { prefix?: unknown } }>;

/**
 * cacheprog's HTTP storage (1.3.0): bodies as they were compressed by the client, all that is known of them in headers. The
 * client takes no chunked answers and no answer without Last-Modified, and verifies nothing.
 */
export function registerCacheprog(app: FastifyInstance, { auth, receive, send }: ProtocolContext, actions: Actions): void {
  const path = `${MOUNT}/cache/:action`;

  app.get(path, { config: { op: OPS.get, kind: "get", keyspace: ACTIONS.name } }, (request, reply) => {
    const grant = auth.grant(request);
    return after(actions.get(grant, idOf((request as Named).params.action), prefixOf(request as Named)), (lookup) => {
      if (!lookup.entry) throw errors.notFound();
      return send.lookup(request, reply, lookup, { grant, headers: describe(outputOf(lookup.entry)) });
    });
  });

  app.put(path, { config: { op: OPS.put, kind: "upload", keyspace: ACTIONS.name } }, async (request, reply: FastifyReply) => {
    const action = idOf((request as Named).params.action);
    const { size, stream } = receive.body(request);
    if (size === undefined) throw errors.badRequest("Content-Length is missing");
    const { digest, ...output } = described(request, size);
    const grant = await writerOrDrained(auth, request, stream);
    await actions.put(grant, stream, { action, prefix: prefixOf(request as Named), output, stored: size, digest, address: request.stow.address });
    request.stow.result = "stored";
    return reply.code(200).send();
  });
}

/** A grant that may write. A body nobody wants is read first: its sender has to see the answer. @throws forbiddenWrite, unauthorized */
export async function writerOrDrained(auth: ProtocolContext["auth"], request: FastifyRequest, stream: AsyncIterable<Buffer>) {
  const grant = auth.grant(request);
  if (grant.write === null) for await (const _ of stream);
  return auth.writer(request);
}

export function idOf(text: string): string {
  if (!/^[0-9a-f]{64}$/.test(text)) throw errors.noRoute();
  return text;
}

/** The key prefix: golangci-lint and others keep their entries apart from the compiler's. @throws badRequest */
export function prefixOf(request: Named): string {
  const { prefix = "" } = request.query;
  if (typeof prefix !== "string" || prefix.length > MAX_LABEL) throw errors.badRequest(`prefix is longer than ${MAX_LABEL} characters`);
  return prefix;
}

function describe({ output, size, zstd }: Output): Record<string, string> {
  return { [OUTPUT_HEADER]: output, [COMPRESSION_HEADER]: zstd ? "zstd" : "", [SIZE_HEADER]: String(size) };
}

function described(request: FastifyRequest, stored: number): Output & { readonly digest: string | undefined } {
  const header = (name: string) => request.headers[name] as string | undefined;
  const [output, compression = "", size = "", digest] = [OUTPUT_HEADER, COMPRESSION_HEADER, SIZE_HEADER, BODY_SHA256_HEADER].map(header);
  if (output === undefined || !/^[0-9a-f]{64}$/.test(output)) throw errors.badRequest(`${OUTPUT_HEADER} is not a SHA-256 in lower-case hex`);
  if (compression !== "" && compression !== "zstd") throw errors.badRequest(`${COMPRESSION_HEADER} is neither empty nor zstd`);
  if (!/^\d{1,15}$/.test(size)) throw errors.badRequest(`${SIZE_HEADER} is not a number of bytes`);
  if (compression === "" && Number(size) !== stored) throw errors.badRequest(`${SIZE_HEADER} is not the body's size`);
  if (digest !== undefined && !/^[0-9a-f]{64}$/.test(digest)) throw errors.badRequest(`${BODY_SHA256_HEADER} is not a SHA-256 in lower-case hex`);
  return { output, size: Number(size), zstd: compression === "zstd", digest };
}
