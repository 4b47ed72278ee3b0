import path from "node:path";
import type { FastifyReply } from "fastify";
import { errors } from "../../../core/errors.ts";
import type { ProtocolContext } from "../../protocol.ts";
import type { Document } from "../document.ts";
import { LISTINGS, NARINFOS } from "../keyspaces.ts";
import { NARINFO_TYPE } from "../narinfo.ts";
import { both } from "../narinfos.ts";
import { cacheControl, documentHeaders, NAR_TYPE, narInfoHeaders, REALISATION_TYPE, sendText } from "../own-source.ts";
import type { Nars } from "../nars.ts";
import type { RealisationId } from "../realisation.ts";
import type { Realisations } from "../realisations.ts";
import type { Signing } from "../signing.ts";
import type { Asker, Found, Source } from "../source.ts";
import { Leisure } from "./leisure.ts";
import type { ServedDocument } from "./documents.ts";
import { UpstreamMetrics } from "./metrics.ts";
import { Proxy, type ServedNarInfo } from "./proxy.ts";
import type { Origin } from "./pulled.ts";
import { proxyProblem, upstreamProblem, type ProxySettings, type UpstreamSettings } from "./settings.ts";
import { SpoolSpace } from "./spool.ts";
import { Upstream } from "./upstream.ts";

const FOR_EVER = "max-age=31536000, immutable";

export interface UpstreamParts {
  readonly context: ProtocolContext<unknown>;
  readonly storeDir: string;
  readonly settings: ProxySettings;
  /** Upstreams by name, by cache. */
  readonly caches: Readonly<Record<string, Readonly<Record<string, UpstreamSettings>>>>;
  readonly nars: Nars;
  readonly realisations: Realisations;
  readonly signing: Signing;
  /** What the cache has itself. */
  readonly own: Source;
}

/** What other binary caches have. */
export class UpstreamSource implements Source {
  readonly #context: ProtocolContext<unknown>;
  readonly #own: Source;
  readonly #nars: Nars;
  readonly #realisations: Realisations;
  readonly proxies: ReadonlyMap<string, Proxy>;

  /** @throws config */
  constructor({ context, storeDir, settings, caches, nars, realisations, signing, own }: UpstreamParts) {
    this.#context = context;
    this.#own = own;
    this.#nars = nars;
    this.#realisations = realisations;
    const { core, log, registry, data } = context;
    assertRight(settings, caches);
    const space = new SpoolSpace(settings.spool ?? path.join(data, "nix-spool"), settings.spoolSize);
    const leisure = new Leisure();
    const metrics = new UpstreamMetrics(registry);
    const proxies = new Map<string, Proxy>();
    for (const [cache, declared] of Object.entries(caches)) {
      const upstreams = ordered(declared).map(([name, one]) => new Upstream(name, one, { failures: settings.failures, pause: settings.pause }));
      for (const { name } of upstreams) metrics.open(cache, name, false);
      const onError = (what: string, error: unknown) => log.warn(what, { cache, cause: String((error as Error).stack ?? error) });
      if (upstreams.length > 0) proxies.set(cache, new Proxy({ core, cache, storeDir, upstreams, settings, nars, signing, space, leisure, metrics, onError }));
    }
    this.proxies = proxies;
  }

  async narInfo(asker: Asker, storeHash: string): Promise<Found | undefined> {
    const { grant } = asker;
    const proxy = this.proxies.get(grant.cache);
    const served = await proxy?.narInfo(storeHash, grant.trusted);
    return served && (() => this.#sendNarInfo(asker, storeHash, served));
  }

  async nar(asker: Asker, name: string): Promise<Found | undefined> {
    const { grant, request } = asker;
    const proxy = this.proxies.get(grant.cache);
    const origin = await proxy?.origin(name);
    if (!proxy || !origin) return undefined;
    // It may have been kept since it was looked for, or be known under the hash that its upstream did not say.
    if (origin.digest !== undefined && (await this.#nars.get(grant, origin.digest)).entry) return this.#own.nar(asker, origin.digest);
    if (request.method !== "HEAD") return () => this.#sendNar(asker, proxy, name, origin);
    const head = await proxy.head(origin);
    return head && (() => this.#sendHead(asker, origin, head.size));
  }

  async realisation(asker: Asker, id: RealisationId): Promise<Found | undefined> {
    const { grant } = asker;
    const served = await this.proxies.get(grant.cache)?.realisation(id, grant.trusted);
    if (!served) return undefined;
    const renewed = served.entry && (await this.#realisations.renewed(served.entry, id));
    return () => this.#sendDocument(asker, renewed === undefined ? served : { ...served, body: Buffer.from(renewed) }, { ...narInfoHeaders(asker.request), "content-type": REALISATION_TYPE });
  }

  async document(asker: Asker, document: Document, key: string): Promise<Found | undefined> {
    const { grant, request } = asker;
    const proxy = this.proxies.get(grant.cache);
    // What was pushed here is not what an upstream has made of it.
    if (!proxy || (document.keyspace === LISTINGS && (await this.#own.narInfo(asker, key)))) return undefined;
    const served = await proxy.document(document, key, grant.trusted);
    return served && (() => this.#sendDocument(asker, served, { ...documentHeaders(request), "content-type": document.type }));
  }

  async close(): Promise<void> {
    for (const proxy of this.proxies.values()) await proxy.close();
  }

  async #sendNarInfo(asker: Asker, storeHash: string, { text, entry, slot: kept }: ServedNarInfo): Promise<FastifyReply> {
    const { request, reply, grant } = asker;
    const { core, send } = this.#context;
    const headers = narInfoHeaders(request);
    if (text === undefined && entry && kept) {
      // What is pushed to the cache itself comes before it, from then on.
      const { slot: own } = await core.catalog.get(grant, NARINFOS, storeHash);
      return send.entry(request, reply, entry, { type: NARINFO_TYPE, headers, grant, slot: both(kept, own) });
    }
    if (entry) core.catalog.touch(entry, grant);
    return sendText(asker, text!, { ...headers, "content-type": NARINFO_TYPE });
  }

  async #sendDocument(asker: Asker, { body, entry }: ServedDocument, { "content-type": type, ...headers }: Record<string, string> & { "content-type": string }): Promise<FastifyReply> {
    const { request, reply, grant } = asker;
    const { core, send } = this.#context;
    if (body === undefined) return send.entry(request, reply, entry!, { type, headers, grant });
    if (entry) core.catalog.touch(entry, grant);
    return sendText(asker, body, { ...headers, "content-type": type });
  }

  async #sendNar({ request, reply, grant }: Asker, proxy: Proxy, name: string, origin: Origin): Promise<FastifyReply> {
    const { send } = this.#context;
    const reader = await proxy.read(name, origin, grant.trusted);
    // A client that leaves while nothing arrives would hold it for nothing.
    reply.raw.once("close", () => reader.leave());
    const read = (start: number, end: number, push: (chunk: Buffer) => Promise<void>) => reader.read(start, end, push).finally(() => reader.leave());
    const headers = { "cache-control": cacheControl(request, FOR_EVER) };
    try {
      if (reader.size === undefined) return await send.produced(request, reply, { ...headers, "content-type": NAR_TYPE }, (push) => read(0, Number.POSITIVE_INFINITY, push));
      return await send.body(request, reply, { size: reader.size, etag: etagOf(origin) }, read, { type: NAR_TYPE, headers });
    } catch (error) {
      reader.leave();
      throw error;
    }
  }

  async #sendHead({ request, reply }: Asker, origin: Origin, size: number | undefined): Promise<FastifyReply> {
    const headers = { "cache-control": cacheControl(request, FOR_EVER) };
    if (size !== undefined) return this.#context.send.body(request, reply, { size, etag: etagOf(origin) }, () => Promise.reject(errors.internal()), { type: NAR_TYPE, headers });
    request.stow.result = "hit";
    return reply.headers(headers).type(NAR_TYPE).send();
  }
}

function etagOf(origin: Origin): string | undefined {
  return origin.digest === undefined ? undefined : `"${origin.digest}"`;
}

/** @throws config */
function assertRight(settings: ProxySettings, caches: UpstreamParts["caches"]): void {
  const upstreams = Object.entries(caches).flatMap(([cache, declared]) => Object.entries(declared).map(([name, one]) => upstreamProblem(`protocols.nix.caches.${cache}.upstreams.${name}`, one)));
  const problem = [proxyProblem(settings), ...upstreams].find((found) => found !== undefined);
  if (problem !== undefined) throw errors.config(problem);
}

/** By priority, then by name. */
function ordered(upstreams: Readonly<Record<string, UpstreamSettings>>): [string, UpstreamSettings][] {
  return Object.entries(upstreams).toSorted(([a, one], [b, other]) => one.priority - other.priority || (a < b ? -1 : 1));
}
