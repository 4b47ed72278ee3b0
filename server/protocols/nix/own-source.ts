import { hash } from "node:crypto";
import type { OutgoingHttpHeaders } from "node:http";
import type { FastifyReply, FastifyRequest } from "fastify";
import type { Lookup } from "../../core/catalog.ts";
import { after, type MaybePromise } from "../../database/database.ts";
import type { ProtocolContext } from "../protocol.ts";
import { DOCUMENT_AGE, type Document } from "./document.ts";
import { NARINFO_TYPE } from "./narinfo.ts";
import type { FoundNarInfo, NarInfos } from "./narinfos.ts";
import type { Nars } from "./nars.ts";
import type { RealisationId } from "./realisation.ts";
import type { Realisations } from "./realisations.ts";
import type { Asker, Found, Source } from "./source.ts";

export const NAR_TYPE = "application/x-nix-nar";
export const REALISATION_TYPE = "application/json";
/** Seconds for which a narinfo may be kept by proxies: it may get another signature, or go. */
const NARINFO_AGE = 300;
const FOR_EVER = "max-age=31536000, immutable";

/** What the cache has itself. */
export class OwnSource implements Source {
  readonly #context: ProtocolContext<unknown>;
  readonly #narInfos: NarInfos;
  readonly #nars: Nars;
  readonly #realisations: Realisations;

  constructor(context: ProtocolContext<unknown>, parts: { narInfos: NarInfos; nars: Nars; realisations: Realisations }) {
    this.#context = context;
    this.#narInfos = parts.narInfos;
    this.#nars = parts.nars;
    this.#realisations = parts.realisations;
  }

  narInfo(asker: Asker, storeHash: string): MaybePromise<Found | undefined> {
    return after(this.#narInfos.find(asker.grant, storeHash), (found) => found && (() => this.#sendNarInfo(asker, found)));
  }

  nar(asker: Asker, fileHash: string): MaybePromise<Found | undefined> {
    return after(this.#nars.get(asker.grant, fileHash), (lookup) => (lookup.entry ? () => this.#sendNar(asker, lookup) : undefined));
  }

  realisation(asker: Asker, id: RealisationId): MaybePromise<Found | undefined> {
    return after(this.#realisations.get(asker.grant, id), (lookup) => (lookup.entry ? () => this.#sendRealisation(asker, id, lookup) : undefined));
  }

  document({ request, reply, grant }: Asker, { keyspace, type }: Document, key: string): MaybePromise<Found | undefined> {
    const { core, send } = this.#context;
    return after(core.catalog.get(grant, keyspace, key), (lookup) => lookup.entry && (() => send.lookup(request, reply, lookup, { type, headers: documentHeaders(request), grant })));
  }

  #sendRealisation(asker: Asker, id: RealisationId, lookup: Lookup): MaybePromise<FastifyReply> {
    const { request, reply, grant } = asker;
    const { core, send } = this.#context;
    const headers = { "cache-control": cacheControl(request, `max-age=${DOCUMENT_AGE}`) };
    return after(this.#realisations.renewed(lookup.entry!, id), (text) => {
      if (text === undefined) return send.lookup(request, reply, lookup, { type: REALISATION_TYPE, headers, grant });
      core.catalog.touch(lookup.entry!, grant);
      return sendText(asker, text, { ...headers, "content-type": REALISATION_TYPE });
    });
  }

  #sendNarInfo(asker: Asker, found: FoundNarInfo): MaybePromise<FastifyReply> {
    const { request, reply, grant } = asker;
    const { core, send } = this.#context;
    const { entry, nar, slot } = found;
    // A path that is asked for keeps its NAR: clients who know the path already ask for that alone.
    core.catalog.touch(nar, grant);
    const headers = narInfoHeaders(request);
    return after(this.#narInfos.renewed(found), (text) => {
      if (text === undefined) return send.entry(request, reply, entry, { type: NARINFO_TYPE, headers, grant, slot });
      core.catalog.touch(entry, grant);
      return sendText(asker, text, { ...headers, "content-type": NARINFO_TYPE });
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

export function narInfoHeaders(request: FastifyRequest): { "cache-control": string } {
  return { "cache-control": cacheControl(request, `max-age=${NARINFO_AGE}`) };
}

/** A browser must not take a log for a page. */
export function documentHeaders(request: FastifyRequest): { "cache-control": string; "x-content-type-options": string } {
  return { "cache-control": cacheControl(request, `max-age=${DOCUMENT_AGE}`), "x-content-type-options": "nosniff" };
}

/** Answers with what no entry holds as it is. */
export function sendText({ request, reply }: Asker, text: string | Buffer, headers: OutgoingHttpHeaders): FastifyReply {
  request.stow.result = "hit";
  return reply.headers({ ...headers, etag: `"${hash("sha256", text)}"`, "content-length": Buffer.byteLength(text) }).send(text);
}
