import type { FastifyInstance, FastifyRequest } from "fastify";
import type { Keyspace } from "../../core/entry.ts";
import { errors } from "../../core/errors.ts";
import type { ProtocolContext } from "../protocol.ts";
import { NARINFOS, NARS } from "./keyspaces.ts";
import { parseNarName } from "./nar-url.ts";
import { settingsOf, type NixOptions } from "./options.ts";
import { cacheControl } from "./own-source.ts";
import type { Services } from "./services.ts";
import { fromFirst, orMissing } from "./source.ts";
import { formatCacheInfo, PATHS } from "./wire.ts";

const TEXT = "text/plain; charset=utf-8";
/** Seconds for which a proxy may keep what seldom changes. */
const AGE = 300;

type Named = FastifyRequest<{ Params: Record<string, string> }>;

/** What Nix asks first of a cache: what it is, and what it knows of a path. */
export function registerLookups(app: FastifyInstance, mount: string, { auth, options }: ProtocolContext<NixOptions>, { sources }: Services): void {
  app.get(mount + PATHS.info, labels("info", "other", NARINFOS), (request, reply) => {
    const { cache } = auth.grant(request);
    return reply.header("cache-control", cacheControl(request, `max-age=${AGE}`)).type("text/x-nix-cache-info").send(formatCacheInfo(options.storeDir, settingsOf(options, cache).priority));
  });

  app.get(mount + PATHS.narInfo, labels("narinfo", "lookup", NARINFOS), (request, reply) => {
    const asker = { request, reply, grant: auth.grant(request) };
    return orMissing(fromFirst(sources, (source) => source.narInfo(asker, (request as Named).params["hash"]!)));
  });
}

/** What Nix reads. */
export function registerReads(app: FastifyInstance, mount: string, context: ProtocolContext<NixOptions>, services: Services): void {
  const { auth } = context;
  const { sources, signing } = services;

  registerLookups(app, mount, context, services);

  app.get(mount + PATHS.nar, labels("nar", "download", NARS), (request, reply) => {
    const asker = { request, reply, grant: auth.grant(request) };
    const fileHash = parseNarName((request as Named).params["file"]!);
    if (fileHash === undefined) throw errors.notFound();
    return orMissing(fromFirst(sources, (source) => source.nar(asker, fileHash)));
  });

  // For `trusted-public-keys`: what may be believed whoever reads it.
  app.get(mount + PATHS.publicKey, labels("pubkey", "other", NARINFOS), async (request, reply) => {
    const { signing: keys } = await signing.keys(auth.grant(request).cache);
    return reply.header("cache-control", cacheControl(request, `max-age=${AGE}`)).type(TEXT).send(keys.map((key) => `${key.public.text}\n`).join(""));
  });

  // A job whose pushes are untrusted has to believe itself; nobody trusted is told this key.
  app.get(mount + PATHS.untrustedKey, labels("pubkey", "other", NARINFOS), async (request, reply) => {
    const grant = auth.grant(request);
    if (grant.write === null || grant.trusted) throw errors.notFound();
    return reply.header("cache-control", "private, no-store").type(TEXT).send(`${(await signing.keys(grant.cache)).untrusted.public.text}\n`);
  });
}

function labels(op: string, kind: "lookup" | "download" | "other", keyspace: Keyspace) {
  return { config: { op, kind, keyspace: keyspace.name } };
}
