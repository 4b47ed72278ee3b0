import type { FastifyInstance } from "fastify";
import Type from "typebox";
import { errors } from "../../core/errors.ts";
import type { OperationKind } from "../../http/context.ts";
import type { Protocol } from "../protocol.ts";
import { refusals } from "./refusals.ts";
import { JSON_TYPE, KEYSPACE, Routes, type Keyed, type Listing } from "./routes.ts";
import { HEALTHY } from "./wire.ts";

/** nip's remote cache (README.md): at the root, where nip looks for it, and under /nip. */
export const nip = {
  name: "nip",
  options: Type.Object({}, { description: "Remote cache of the package builder nip." }),
  keyspaces: [KEYSPACE],
  refusals,
  plugin(app, context) {
    for (const mount of ["", "/nip"]) {
      const routes = new Routes(context, mount);
      const artifact = `${mount}/v1/artifacts/:key`;
      const metadata = `${artifact}/metadata`;
      const download = `${mount}/v1/download/:key`;
      app.get(`${mount}/v1/health`, { config: { op: "health", auth: "none" } }, (_, reply) => reply.type(JSON_TYPE).send(HEALTHY));
      app.get(`${mount}/v1/artifacts`, labels("list", "other"), (request, reply) => routes.list(request as Listing, reply));
      app.get(artifact, labels("lookup", "lookup"), (request, reply) => routes.lookup(request as Keyed, reply));
      app.get(metadata, labels("metadata", "other"), (request, reply) => routes.metadata(request as Keyed, reply));
      app.get(download, labels("download", "download"), (request, reply) => routes.download(request as Keyed, reply));
      app.post(artifact, labels("upload", "upload"), (request, reply) => routes.upload(request as Keyed, reply));
      refuseMethods(app, artifact, ["GET", "HEAD", "POST"]);
      refuseMethods(app, metadata, ["GET", "HEAD"]);
      refuseMethods(app, download, ["GET", "HEAD"]);
    }
  },
} satisfies Protocol;

function labels(op: string, kind: OperationKind) {
  return { config: { op, kind, keyspace: KEYSPACE.name } };
}

/** 405 for the methods a client may try in vain; any other is unknown to the router. */
function refuseMethods(app: FastifyInstance, url: string, allowed: readonly string[]): void {
  const allow = allowed.join(", ");
  app.route({
    method: ["DELETE", "PATCH", "POST", "PUT"].filter((method) => !allowed.includes(method)),
    url,
    config: { op: "other", auth: "none" },
    handler: (_, reply) => {
      reply.header("allow", allow);
      throw errors.methodNotAllowed(allow);
    },
  });
}
