import type { FastifyInstance, FastifyRequest } from "fastify";
import { errors } from "../../core/errors.ts";
import type { ProtocolContext } from "../protocol.ts";
import { decoded, whole } from "./decode.ts";
import { DOCUMENTS } from "./document.ts";
import { REALISATIONS } from "./keyspaces.ts";
import { realisationIdOf, type Services } from "./services.ts";
import { fromFirst, orMissing } from "./source.ts";
import { PATHS } from "./wire.ts";

/** What belongs to paths: realisations to read, and listings, logs and debug information to read and write. */
export function registerDocuments(app: FastifyInstance, mount: string, { auth, core, receive }: ProtocolContext<unknown>, { sources }: Services): void {
  for (const path of [PATHS.realisation, PATHS.trace]) {
    app.get(mount + path, { config: { op: "realisation", kind: "get", keyspace: REALISATIONS.name } }, (request, reply) => {
      const asker = { request, reply, grant: auth.grant(request) };
      const id = realisationIdOf(request);
      return orMissing(fromFirst(sources, (source) => source.realisation(asker, id)));
    });
  }

  for (const document of DOCUMENTS) {
    const { path, op, keyspace, name, limit, keyed, check } = document;
    const keyOf = (request: FastifyRequest) => {
      const key = (request.params as Record<string, string>)[name]!;
      if (keyed && !keyed(key)) throw errors.notFound();
      return key;
    };
    app.get(mount + path, { config: { op, kind: "get", keyspace: keyspace.name } }, (request, reply) => {
      const asker = { request, reply, grant: auth.grant(request) };
      const key = keyOf(request);
      return orMissing(fromFirst(sources, (source) => source.document(asker, document, key)));
    });
    app.put(mount + path, { config: { op: `${op}.put`, kind: "upload", keyspace: keyspace.name } }, async (request, reply) => {
      const grant = auth.writer(request);
      const key = keyOf(request);
      let body: AsyncIterable<Buffer> | Buffer = decoded(receive.body(request).stream, request.headers["content-encoding"], limit);
      if (check) check((body = await whole(body)));
      const { entry: before } = await core.catalog.get({ ...grant, read: [grant.write] }, keyspace, key);
      // Nobody untrusted changes what a trusted writer of the same scope wrote.
      const kept = before?.trusted === true && !grant.trusted;
      if (kept) await discard(body);
      else await core.bodies.put(grant, keyspace, key, body, { overwrite: true, address: request.stow.address });
      request.stow.result = kept ? "exists" : "stored";
      return reply.code(204).send();
    });
  }
}

async function discard(body: AsyncIterable<Buffer> | Buffer): Promise<void> {
  if (!Buffer.isBuffer(body)) for await (const _ of body);
}
