import type { FastifyInstance, FastifyRequest } from "fastify";
import { errors } from "../../core/errors.ts";
import type { Grant } from "../../core/grant.ts";
import type { ProtocolContext } from "../protocol.ts";
import { valid } from "../valid.ts";
import { parseJson } from "./json.ts";
import { parseNarInfo } from "./narinfo.ts";
import type { NixOptions } from "./options.ts";
import { parseCachixPin } from "./pin-wire.ts";
import { PINS } from "./pins.ts";
import type { Services } from "./services.ts";
import { parseBaseName } from "./store-path.ts";
import { MOUNTS, PATHS } from "./wire.ts";

const CACHIX = "/api/v1/cache/:cache(^[a-z0-9][a-z0-9-]{0,62})/pin";
const MAX_BODY = 256 * 1024;

type Named = FastifyRequest<{ Params: Record<string, string> }>;

/** Pins as Cachix's client makes them (nix.md §3.1), and as ncps has them: by the hash of a path alone. */
export function registerPins(app: FastifyInstance, { auth, core, options, receive }: ProtocolContext<NixOptions>, { pins, narInfos, upstream }: Services): void {
  app.post(CACHIX, labels("pin"), async (request) => {
    const grant = pinner(request);
    const bytes = await receive.buffer(request, MAX_BODY);
    const wanted = valid(() => parseCachixPin(parseJson(bytes), options.storeDir));
    const { pin, closure } = await pins.add(grant, wanted, request.stow.address);
    return { revision: pin.revision, paths: closure.paths, bytes: closure.bytes, missing: closure.missing };
  });

  for (const mount of MOUNTS) {
    app.post(mount + PATHS.pin, labels("pin"), async (request) => {
      const grant = pinner(request);
      const hash = (request as Named).params["hash"]!;
      const storePath = await pathOf(grant, hash);
      const { closure } = await pins.add(grant, { name: hash, storePath, artifacts: [], keep: undefined }, request.stow.address);
      return { paths: closure.paths, bytes: closure.bytes, missing: closure.missing };
    });

    app.delete(mount + PATHS.pin, labels("unpin"), async (request) => {
      const revisions = await pins.remove(pinner(request), (request as Named).params["hash"]!, undefined, request.stow.address);
      return { revisions };
    });

    app.get(mount + PATHS.pins, labels("pins"), async (request) => {
      const grant = auth.grant(request);
      const all = await pins.list(grant, grant.read);
      return [...new Set(all.map(({ storePath }) => parseBaseName(storePath)!.hash))];
    });
  }

  /** What is pinned is never evicted, so it is for those alone whose entries are not the first to go. @throws forbiddenWrite */
  function pinner(request: FastifyRequest): Grant & { readonly write: string } {
    const grant = auth.writer(request);
    if (!grant.trusted) throw errors.forbiddenWrite();
    return grant;
  }

  /** @throws notFound */
  async function pathOf(grant: Grant, hash: string): Promise<string> {
    const own = await narInfos.find(grant, hash);
    if (own) return (await narInfos.read(own.entry)).storePath;
    const kept = await upstream.proxies.get(grant.cache)?.kept(hash);
    if (!kept) throw errors.notFound();
    return parseNarInfo((await core.bodies.bytes(kept.entry)).toString("utf8"), options.storeDir).storePath;
  }
}

function labels(op: string) {
  return { config: { op, kind: "other" as const, keyspace: PINS.name } };
}
