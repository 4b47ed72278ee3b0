import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { createZstdDecompress } from "node:zlib";
import type { Lookup } from "../../core/catalog.ts";
import { errors, readFailure } from "../../core/errors.ts";
import type { Grant } from "../../core/grant.ts";
import type { ProtocolContext } from "../protocol.ts";
import { ACTIONS, OUTPUTS, outputOf, type Actions } from "./actions.ts";
import { idOf, writerOrDrained, type Named } from "./cacheprog.ts";
import { AT_ONCE, inflated } from "./outputs.ts";
import { OPS } from "./refusals.ts";
import { GO_OUTPUT_HEADER, MOUNT, type Output } from "./wire.ts";

/**
 * go-cacher (bradfitz/go-tool-cache of 2026-07): plain bodies; one hop with `Want-Object: 1`. Its older form asks for the
 * output by itself and without a credential, so it is answered only where a cache allows anonymous reads.
 */
export function registerGoCacher(app: FastifyInstance, context: ProtocolContext, actions: Actions): void {
  const { auth, core, receive } = context;
  const labels = (keyspace: string) => ({ config: { op: OPS.cacherGet, kind: "get" as const, keyspace } });

  app.get(`${MOUNT}/action/:action`, labels(ACTIONS.name), async (request, reply) => {
    const grant = auth.grant(request);
    const lookup = await actions.get(grant, idOf((request as Named).params.action), "");
    if (!lookup.entry) throw errors.notFound();
    const output = outputOf(lookup.entry);
    if (request.headers["want-object"] === "1") return plain(context, request, reply, lookup, output, grant);
    if (!core.caches.require(grant.cache).anonymousRead) throw errors.notFound();
    request.stow.result = "hit";
    core.catalog.touch(lookup.entry, grant);
    return reply.type("application/json").send({ outputID: output.output, size: output.size });
  });

  app.get(`${MOUNT}/output/:output`, labels(OUTPUTS.name), async (request, reply) => {
    const grant = auth.grant(request);
    const lookup = await core.catalog.get(grant, OUTPUTS, idOf((request as Named).params.output!));
    if (!lookup.entry) throw errors.notFound();
    return plain(context, request, reply, lookup, outputOf(lookup.entry), grant);
  });

  app.put(`${MOUNT}/:action/:output`, { config: { op: OPS.cacherPut, kind: "upload", keyspace: ACTIONS.name } }, async (request, reply) => {
    const { action, output } = (request as Named).params;
    const { size, stream } = receive.body(request);
    const grant = await writerOrDrained(auth, request, stream);
    if (size === undefined) throw errors.badRequest("Content-Length is missing");
    const incoming = { action: idOf(action), prefix: "", output: { output: idOf(output!), size, zstd: false }, stored: size, address: request.stow.address };
    await actions.put(grant, stream, incoming);
    request.stow.result = "stored";
    return reply.code(204).send();
  });
}

/** The output as it was before compression. */
async function plain({ core, send }: ProtocolContext, request: FastifyRequest, reply: FastifyReply, lookup: Lookup, output: Output, grant: Grant): Promise<FastifyReply> {
  const headers = { [GO_OUTPUT_HEADER]: output.output };
  const entry = lookup.entry!;
  if (!output.zstd) return send.lookup(request, reply, lookup, { grant, headers });
  core.catalog.touch(entry, grant);
  if (entry.size <= AT_ONCE && output.size <= AT_ONCE) {
    request.stow.result = "hit";
    return reply.headers(headers).type("application/octet-stream").send(inflated(await core.bodies.bytes(entry), output.size));
  }
  const body = await core.bodies.open(entry);
  return send.produced(request, reply, { ...headers, "content-type": "application/octet-stream", "content-length": output.size }, async (push) => {
    const inflate = createZstdDecompress();
    const out = (async () => {
      for await (const chunk of inflate) await push(chunk as Buffer);
    })();
    out.catch(() => inflate.destroy());
    try {
      // The reader uses its buffers again, and the inflating thread is in no hurry.
      await body.read(0, entry.size, (chunk) => new Promise((done, failed) => inflate.write(Buffer.from(chunk), (error) => (error ? failed(readFailure(error)) : done()))));
      inflate.end();
      await out;
    } finally {
      inflate.destroy();
      await body.close();
    }
  });
}
