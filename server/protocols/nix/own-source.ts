import { hash } from "node:crypto";
import type { FastifyReply, FastifyRequest } from "fastify";
import type { Lookup } from "../../core/catalog.ts";
import { after, type MaybePromise } from "../../database/database.ts";
import type { ProtocolContext } from "../protocol.ts";
import { NARINFO_TYPE } from "./narinfo.ts";
import type { FoundNarInfo, NarInfos } from "./narinfos.ts";
import type { Nars } from "./nars.ts";
import type { Asker, Found, Source } from "./source.ts";

export const NAR_TYPE = "application/x-nix-nar";
/** Seconds for which a narinfo may be kept by proxies: it may get another signature, or go. */
const NARINFO_AGE = 300;
const FOR_EVER = "max-age=31536000, immutable";

/** What the cache has itself. */
export class OwnSource implements Source {
  readonly #context: ProtocolContext<unknown>;
  readonly #narInfos: NarInfos;
  readonly #nars: Nars;

  constructor(context: ProtocolContext<unknown>, narInfos: NarInfos, nars: Nars) {
    this.#context = context;
    this.#narInfos = narInfos;
    this.#nars = nars;
  }

  narInfo(asker: Asker, storeHash: string): MaybePromise<Found | undefined> {
    return after(this.#narInfos.find(asker.grant, storeHash), (found) => found && (() => this.#sendNarInfo(asker, found)));
  }

  nar(asker: Asker, fileHash: string): MaybePromise<Found | undefined> {
    return after(this.#nars.get(asker.grant, fileHash), (lookup) => (lookup.entry ? () => this.#sendNar(asker, lookup) : undefined));
  }

  #sendNarInfo({ request, reply, grant }: Asker, found: FoundNarInfo): MaybePromise<FastifyReply> {
    const { core, send } = this.#context;
    const { entry, nar, slot } = found;
    // A path that is asked for keeps its NAR: clients who know the path already ask for that alone.
    core.catalog.touch(nar, grant);
    const headers = { "cache-control": cacheControl(request, `max-age=${NARINFO_AGE}`) };
    return after(this.#narInfos.renewed(found), (text) => {
      if (text === undefined) return send.entry(request, reply, entry, { type: NARINFO_TYPE, headers, grant, slot });
      core.catalog.touch(entry, grant);
      request.stow.result = "hit";
      return reply.headers({ ...headers, etag: `"${hash("sha256", text)}"`, "content-length": Buffer.byteLength(text) }).type(NARINFO_TYPE).send(text);
    });
  }

  async #sendNar({ request, reply, grant }: Asker, lookup: Lookup): Promise<FastifyReply> {
    const { core, send } = this.#context;
    // Who asks whether it is there leaves the upload out if so: only the bytes themselves can tell.
    if (request.method === "HEAD") await (await core.bodies.open(lookup.entry!)).close();
    const headers = { "cache-control": cacheControl(request, FOR_EVER) };
    return send.lookup(request, reply, lookup, { type: NAR_TYPE, headers, grant, redirect: true });
  }
}

/** Proxies may keep for others only what anybody may read. */
export function cacheControl(request: FastifyRequest, age: string): string {
  return `${request.stow.credential?.kind === "anonymous" ? "public" : "private"}, ${age}`;
}
