import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { errors } from "../../../core/errors.ts";
import type { Grant } from "../../../core/grant.ts";
import type { ProtocolContext } from "../../protocol.ts";
import { valid } from "../../valid.ts";
import { parseJson } from "../json.ts";
import { NARINFOS, NARS } from "../keyspaces.ts";
import { parseNarName } from "../nar-url.ts";
import type { NixOptions } from "../options.ts";
import { registerLookups } from "../routes.ts";
import type { Services } from "../services.ts";
import { registerPush } from "./push.ts";
import { RegisteredKeys } from "./registered-keys.ts";
import { API, MAX_HASHES, parseHashes, parseKey } from "./wire.ts";

/** Room for MAX_HASHES as JSON. */
const MAX_QUESTION = MAX_HASHES * 40;
const MAX_KEY = 4_096;
/** Paths looked up before others get their turn. */
const AT_ONCE = 128;
const JSON_TYPE = "application/json; charset=utf-8";

type Named = FastifyRequest<{ Params: Record<string, string> }>;

/** The Cachix API (README.md): all it grants is answered with exactly 200, a NAR's place with 302, or its client fails. */
export function registerCachix(app: FastifyInstance, context: ProtocolContext<NixOptions>, services: Services): void {
  const { auth, core, options, receive, urls } = context;
  const { narInfos, signing } = services;
  const keys = new RegisteredKeys(core.database, signing);
  registerLookups(app, API, context, services);
  registerPush(app, context, services, keys);

  app.get(API, labels("cachix.cache", "other"), async (request) => {
    const grant = auth.grant(request);
    const own = (await signing.keys(grant.cache)).signing.map((key) => key.public);
    return {
      name: grant.cache,
      uri: uriOf(request, grant.cache),
      isPublic: core.caches.require(grant.cache).anonymousRead,
      publicSigningKeys: [...own, ...(await keys.list(grant.cache))].map((key) => key.text),
      githubUsername: "",
      permission: permissionOf(grant),
      preferredCompressionMethod: "ZSTD",
    };
  });

  app.post(`${API}/narinfo`, labels("cachix.missing", "lookup"), async (request, reply) => {
    const grant = auth.grant(request);
    const bytes = await receive.buffer(request, MAX_QUESTION);
    const hashes = valid(() => parseHashes(parseJson(bytes)));
    return reply.type(JSON_TYPE).send(JSON.stringify(await missing(grant, hashes, reply)));
  });

  for (const [path, answer] of [["/nar/:file", redirect], ["/narurl/:file", tell]] as const) {
    app.get(API + path, labels("cachix.nar-url", "other", NARS.name), (request, reply) => {
      const { cache } = auth.grant(request);
      const { file } = (request as Named).params;
      if (parseNarName(file!) === undefined) throw errors.notFound();
      return answer(reply, `${urls.origin(request)}/c/${cache}/nix/nar/${file}`);
    });
  }

  app.post(`${API}/key`, labels("cachix.key", "other"), async (request) => {
    const { cache, key } = await named(request);
    await keys.add(cache, key);
    return {};
  });

  app.delete(`${API}/key`, labels("cachix.key", "other"), async (request) => {
    const { cache, key } = await named(request);
    await keys.remove(cache, key);
    return {};
  });

  /** Which paths the grant's scopes don't have; what upstreams have is not asked, thousands of times at once. */
  async function missing(grant: Grant, hashes: readonly string[], reply: FastifyReply): Promise<string[]> {
    const absent: string[] = [];
    for (let i = 0; i < hashes.length && !reply.raw.destroyed; i += AT_ONCE) {
      const some = hashes.slice(i, i + AT_ONCE);
      const found = await Promise.all(some.map(async (hash) => narInfos.find(grant, hash)));
      absent.push(...some.filter((_, at) => found[at] === undefined));
      // The client leaves these out of its push and relies on them: it is a use of them.
      for (const one of found) if (one) core.catalog.touch(one.entry, grant);
      await new Promise((resolve) => setImmediate(resolve));
    }
    return absent;
  }

  /** Whom all readers of a cache believe is for administrators to say. */
  async function named(request: FastifyRequest) {
    const { cache } = auth.grant(request);
    auth.admin(request);
    const bytes = await receive.buffer(request, MAX_KEY);
    return { cache, key: valid(() => parseKey(parseJson(bytes), (key) => RegisteredKeys.nameOf(cache, key))) };
  }

  /** What `cachix use` writes into nix.conf. Its netrc knows hosts alone: where there is a domain, each cache is one. */
  function uriOf(request: FastifyRequest, cache: string): string {
    const origin = urls.origin(request);
    if (!options.domain) return `${origin}/c/${cache}/nix`;
    const url = new URL(origin);
    url.hostname = `${cache}.${options.domain}`;
    return url.origin;
  }
}

function redirect(reply: FastifyReply, url: string): FastifyReply {
  return reply.header("cache-control", "no-store").redirect(url, 302);
}

function tell(reply: FastifyReply, url: string): FastifyReply {
  return reply.type(JSON_TYPE).send(JSON.stringify(url));
}

function permissionOf(grant: Grant): "Read" | "Write" | "Admin" {
  if (grant.admin) return "Admin";
  return grant.write === null ? "Read" : "Write";
}

function labels(op: string, kind: "lookup" | "other", keyspace: string = NARINFOS.name) {
  return { config: { op, kind, keyspace } };
}
