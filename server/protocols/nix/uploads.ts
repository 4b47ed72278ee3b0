import type { FastifyInstance, FastifyRequest } from "fastify";
import { auditOf } from "../../core/bodies.ts";
import type { Keyspace } from "../../core/entry.ts";
import { errors } from "../../core/errors.ts";
import type { Grant } from "../../core/grant.ts";
import type { ProtocolContext } from "../protocol.ts";
import { decoded, whole } from "./decode.ts";
import { DEBUGINFO, LISTINGS, LOGS, NARINFOS, NARS, REALISATIONS } from "./keyspaces.ts";
import { parseNarName } from "./nar-url.ts";
import { MAX_NARINFO, parseNarInfo } from "./narinfo.ts";
import type { NixOptions } from "./options.ts";
import { idText, MAX_REALISATION, parseRealisation } from "./realisation.ts";
import { realisationIdOf, type Services } from "./services.ts";
import { parseBaseName } from "./store-path.ts";
import { valid } from "../valid.ts";
import { PATHS } from "./wire.ts";

type Named = FastifyRequest<{ Params: Record<string, string> }>;

/** What `nix copy` sends: a NAR, then its narinfo; and what keys for administration may take away. */
export function registerUploads(app: FastifyInstance, mount: string, context: ProtocolContext<NixOptions>, { nars, narInfos, realisations }: Services): void {
  const { auth, core, receive, options } = context;

  app.put(mount + PATHS.nar, labels("nar.put", NARS), async (request, reply) => {
    const grant = auth.writer(request);
    const fileHash = parseNarName((request as Named).params["file"]!);
    if (fileHash === undefined) throw errors.badRequest("a NAR is named by the SHA-256 of its file");
    const { size, stream } = receive.body(request);
    await nars.put(grant, fileHash, stream, { size, address: request.stow.address });
    request.stow.result = "stored";
    return reply.code(204).send();
  });

  app.put(mount + PATHS.narInfo, labels("narinfo.put", NARINFOS), async (request, reply) => {
    const grant = auth.writer(request);
    const text = await small(request, MAX_NARINFO);
    const info = valid(() => parseNarInfo(text, options.storeDir));
    if (parseBaseName(info.storePath)!.hash !== (request as Named).params["hash"]) throw errors.badRequest("StorePath is not the path of this URL");
    const result = await narInfos.put({ grant, info, address: request.stow.address });
    request.stow.result = result === "stored" ? "stored" : "exists";
    return reply.code(204).send();
  });

  for (const path of [PATHS.realisation, PATHS.trace]) {
    app.put(mount + path, labels("realisation.put", REALISATIONS), async (request, reply) => {
      const grant = auth.writer(request);
      const id = realisationIdOf(request);
      const text = await small(request, MAX_REALISATION);
      const result = await realisations.put(grant, valid(() => parseRealisation(text, id)), request.stow.address);
      request.stow.result = result === "stored" ? "stored" : "exists";
      return reply.code(204).send();
    });
    app.delete(mount + path, labels("delete", REALISATIONS), (request, reply) => remove(request, REALISATIONS, idText(realisationIdOf(request))).then(() => reply.code(204).send()));
  }

  // Clients ask for it before they push, and send it where it is missing: here it never is.
  app.put(mount + PATHS.info, labels("info.put", NARINFOS), async (request, reply) => {
    auth.writer(request);
    const storeDir = /^StoreDir: (.*)$/m.exec(await small(request, MAX_NARINFO))?.[1];
    if (storeDir !== options.storeDir) throw errors.badRequest(`the store of this cache is ${options.storeDir}`);
    return reply.code(204).send();
  });

  const removable: [path: string, keyspace: Keyspace, keyOf: (params: Record<string, string>) => string | undefined][] = [
    [PATHS.narInfo, NARINFOS, ({ hash }) => hash],
    [PATHS.nar, NARS, ({ file }) => parseNarName(file!)],
    [PATHS.listing, LISTINGS, ({ hash }) => hash],
    [PATHS.log, LOGS, ({ drv }) => drv],
    [PATHS.debuginfo, DEBUGINFO, ({ id }) => id],
  ];
  for (const [path, keyspace, keyOf] of removable) {
    app.delete(mount + path, labels("delete", keyspace), (request, reply) => {
      const key = keyOf((request as Named).params);
      if (key === undefined) throw errors.notFound();
      return remove(request, keyspace, key).then(() => reply.code(204).send());
    });
  }

  /** Writers can't take away what they wrote: main's jobs would take it from everybody. */
  async function remove(request: FastifyRequest, keyspace: Keyspace, key: string): Promise<void> {
    const grant: Grant = auth.writer(request);
    auth.admin(request);
    const scope = keyspace.contentAddressed ? "*" : grant.write!;
    const { entry } = await core.catalog.get({ ...grant, read: [scope] }, keyspace, key);
    if (!entry) throw errors.notFound();
    await core.catalog.removeIds([entry.id], auditOf(grant, "delete", keyspace.name, scope, key, entry.size, request.stow.address));
  }

  async function small(request: FastifyRequest, limit: number): Promise<string> {
    return (await whole(decoded(receive.body(request).stream, request.headers["content-encoding"], limit))).toString("utf8");
  }
}

function labels(op: string, keyspace: Keyspace) {
  return { config: { op, kind: "upload" as const, keyspace: keyspace.name } };
}
