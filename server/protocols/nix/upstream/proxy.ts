import type { Core } from "../../../core/core.ts";
import type { Entry } from "../../../core/entry.ts";
import type { NeededName } from "../../../database/operations/needs.ts";
import { errors, StowError } from "../../../core/errors.ts";
import type { Slot } from "../../../core/recent.ts";
import type { Document } from "../document.ts";
import { LISTINGS } from "../keyspaces.ts";
import { narUrl } from "../nar-url.ts";
import { fingerprint, formatNarInfo, parseNarInfo } from "../narinfo.ts";
import { contentOf, type Nars } from "../nars.ts";
import type { RealisationId } from "../realisation.ts";
import type { Signing } from "../signing.ts";
import { Documents, type ServedDocument } from "./documents.ts";
import { Downloads, type Reader, type Wanted } from "./downloads.ts";
import { UpstreamFailure } from "./failure.ts";
import type { Leisure } from "./leisure.ts";
import type { UpstreamMetrics } from "./metrics.ts";
import { Narinfos, type Found } from "./narinfos.ts";
import { opaqueName, ORIGINS, Pulled, PULLED, type Origin } from "./pulled.ts";
import type { Place } from "./receive.ts";
import type { ProxySettings } from "./settings.ts";
import type { SpoolSpace } from "./spool.ts";
import type { Transfer } from "./transfer.ts";
import type { Upstream } from "./upstream.ts";
import { wantedDocument, wantedRealisation } from "./wanted.ts";

export interface ProxyParts {
  readonly core: Core;
  readonly cache: string;
  readonly storeDir: string;
  readonly upstreams: readonly Upstream[];
  readonly settings: ProxySettings;
  readonly nars: Nars;
  readonly signing: Signing;
  readonly space: SpoolSpace;
  readonly leisure: Leisure;
  readonly metrics: UpstreamMetrics;
  readonly onError: (what: string, error: unknown) => void;
}

/** A narinfo of an upstream as we serve it; without an entry when the cache had no room for it. */
export interface ServedNarInfo {
  readonly text: string | undefined;
  readonly entry: Entry | undefined;
  readonly slot: Slot | undefined;
}

/** The upstreams of one cache, seen as one: paths and NARs that are kept when they have been asked for. */
export class Proxy {
  readonly #parts: ProxyParts;
  readonly #narinfos: Narinfos;
  readonly #downloads: Downloads;
  readonly #pulled: Pulled;
  readonly #documents: Documents;
  readonly #finding = new Map<string, Promise<ServedNarInfo | undefined>>();

  /** @throws config for a trusted key that is none */
  constructor(parts: ProxyParts) {
    this.#parts = parts;
    const { cache, storeDir, upstreams, settings, metrics, space, leisure, onError } = parts;
    this.#narinfos = new Narinfos({ cache, storeDir, upstreams, hedge: settings.hedge, missing: settings.missing, metrics });
    this.#downloads = new Downloads({ cache, space, leisure, abandoned: settings.abandoned, metrics, onError: (error) => onError("a NAR of an upstream was not kept", error) });
    this.#pulled = new Pulled(parts.core, cache, (error) => onError("a path of an upstream was not kept", error));
    this.#documents = new Documents({ core: parts.core, cache, upstreams, pulled: this.#pulled, hedge: settings.hedge, missing: settings.missing, metrics });
  }

  /** The realisation of an output, signed. Undefined: no upstream has it, for certain. @throws upstreamUnavailable, readFailure */
  realisation(id: RealisationId, trusted: boolean): Promise<ServedDocument | undefined> {
    return this.#documents.get(wantedRealisation(id, this.#parts.cache, this.#narinfos, this.#parts.signing), trusted);
  }

  /** A path's listing, or a derivation's log. Undefined: no upstream has it, for certain. @throws upstreamUnavailable, readFailure */
  async document(document: Document, key: string, trusted: boolean): Promise<ServedDocument | undefined> {
    const wanted = wantedDocument(document, key, this.#narinfos);
    if (!wanted) return undefined;
    // Nobody signs listings: they are taken of paths alone that somebody has signed.
    if (wanted.keyspace === LISTINGS && !(await this.narInfo(key, trusted))) return undefined;
    return this.#documents.get(wanted, trusted);
  }

  get upstreams(): readonly Upstream[] {
    return this.#parts.upstreams;
  }

  get arriving(): number {
    return this.#downloads.arriving;
  }

  /**
   * What is kept of a path, without asking anybody: its narinfo, the name of its NAR, and what of it an entry may need.
   * @throws readFailure
   */
  async kept(path: string): Promise<{ entry: Entry; nar: string; names: NeededName[] } | undefined> {
    const kept = await this.#pulled.path(path);
    if (!kept) return undefined;
    const { entry, record } = kept;
    const names = [{ keyspace: PULLED.name, scope: entry.scope, key: path }, { keyspace: ORIGINS.name, scope: entry.scope, key: record.nar }];
    return { entry, nar: record.nar, names };
  }

  /**
   * The narinfo of a path, kept from an earlier question where there was one. Undefined: no upstream has it, for certain.
   * @param trusted whether a trusted scope asks @throws upstreamUnavailable, readFailure
   */
  async narInfo(path: string, trusted: boolean): Promise<ServedNarInfo | undefined> {
    const kept = await this.#pulled.path(path);
    // What an upstream said that isn't one any more is believed no longer.
    if (kept && this.#named(kept.record.upstream)) return { text: await this.#renewed(kept.entry, kept.record), entry: kept.entry, slot: kept.slot };
    let finding = this.#finding.get(path);
    if (!finding) {
      finding = this.#find(path, trusted).finally(() => this.#finding.delete(path));
      this.#finding.set(path, finding);
    }
    return finding;
  }

  /** Where a NAR comes from that we have published under this name; undefined for one we haven't. @throws readFailure */
  async origin(name: string): Promise<Origin | undefined> {
    const origin = await this.#pulled.origin(name);
    return origin && this.#named(origin.upstream) ? origin : undefined;
  }

  /** Reads a NAR that arrives, or begins to fetch it. The reader must leave. @throws as Downloads.join */
  async read(name: string, origin: Origin, trusted: boolean): Promise<Reader> {
    const { core, cache } = this.#parts;
    const wanted = (): Wanted => ({
      expected: { digest: origin.digest, size: origin.size, limit: core.caches.require(cache).entrySize },
      places: (signal) => this.#places(origin, signal),
      keep: (transfer) => this.#keep(name, origin, transfer, trusted),
    });
    try {
      return await this.#downloads.join(name, wanted);
    } catch (error) {
      // So that nobody is sent after a NAR that is nowhere any more.
      if (error instanceof StowError && error.refusal === "notFound") await this.#pulled.forget(name, origin.path);
      throw error;
    }
  }

  /** Whether a NAR could be read now, and how long it is. Undefined: no upstream has it, for certain. @throws upstreamUnavailable */
  async head(origin: Origin): Promise<{ size: number | undefined } | undefined> {
    const signal = new AbortController().signal;
    let failure: unknown;
    for await (const place of this.#places(origin, signal)) {
      try {
        if (place instanceof UpstreamFailure) throw place;
        const asked = await place.upstream.ask(place.upstream.resolve(place.url), { method: "HEAD", signal });
        if (!asked) continue;
        asked.attempt.succeeded();
        asked.answer.discard();
        const length = asked.answer.headers["content-length"];
        return { size: origin.size ?? (length === undefined ? undefined : Number(length)) };
      } catch (error) {
        if (!(error instanceof UpstreamFailure)) throw error;
        failure ??= error;
      }
    }
    if (failure !== undefined) throw errors.upstreamUnavailable("whether the NAR is there", { cause: failure, retryAfter: 5 });
    return undefined;
  }

  async close(): Promise<void> {
    await this.#downloads.close();
    for (const upstream of this.upstreams) upstream.close();
  }

  #named(name: string): Upstream | undefined {
    return this.#parts.upstreams.find((upstream) => upstream.name === name);
  }

  async #find(path: string, trusted: boolean): Promise<ServedNarInfo | undefined> {
    const found = await this.#narinfos.find(path);
    if (!found) return undefined;
    const { upstream, info } = found;
    const name = info.fileHash ?? opaqueName(upstream.name, path, info.narHash);
    const origin: Origin = { upstream: upstream.name, url: info.url, path, narHash: info.narHash, digest: info.fileHash, size: info.fileSize };
    const [published] = await Promise.all([this.#publish(found, path, name, trusted), this.#pulled.keepOrigin(name, origin, trusted)]);
    return published;
  }

  /** Writes a narinfo down as we serve it. An upstream's trusted key has signed it, so the cache's own may. */
  async #publish({ upstream, info }: Found, path: string, name: string, trusted: boolean): Promise<ServedNarInfo> {
    const { cache, storeDir, signing } = this.#parts;
    const { signatures, vouched } = await signing.sign(cache, true, fingerprint(info, storeDir), info.signatures);
    const text = formatNarInfo({ ...info, url: narUrl(name, info.compression), signatures }, storeDir);
    const record = { nar: name, narHash: info.narHash, upstream: upstream.name, ...vouched };
    const entry = await this.#pulled.keepPath(path, text, record, trusted);
    return { text, entry, slot: undefined };
  }

  /** The text with signatures of keys that came later; undefined when the stored one is good. */
  async #renewed(entry: Entry, record: Parameters<Signing["missing"]>[1]): Promise<string | undefined> {
    const { core, cache, storeDir, signing } = this.#parts;
    const keys = await signing.missing(cache, record);
    if (keys.length === 0) return undefined;
    const info = parseNarInfo((await core.bodies.bytes(entry)).toString(), storeDir);
    const text = fingerprint(info, storeDir);
    return formatNarInfo({ ...info, signatures: [...info.signatures, ...keys.map((key) => key.sign(text))] }, storeDir);
  }

  /** First where it was found, then where the very same file is said to be now. */
  async *#places(origin: Origin, signal: AbortSignal): AsyncGenerator<Place | UpstreamFailure> {
    const first = this.#named(origin.upstream);
    if (first) yield { upstream: first, url: origin.url };
    const others = this.upstreams.filter((upstream) => upstream !== first);
    for (const upstream of [...others, ...(first ? [first] : [])]) {
      try {
        const info = await this.#narinfos.ask(upstream, origin.path, signal);
        if (info?.fileHash === undefined || info.fileHash !== origin.digest || (upstream === first && info.url === origin.url)) continue;
        yield { upstream, url: info.url };
      } catch (error) {
        if (!(error instanceof UpstreamFailure)) throw error;
        // The first one has said about the NAR itself what it can.
        if (upstream !== first) yield error;
      }
    }
  }

  async #keep(name: string, origin: Origin, transfer: Transfer, trusted: boolean): Promise<void> {
    const { nars, onError } = this.#parts;
    const digest = transfer.digest!;
    const entry = await nars.put(this.#pulled.writer(trusted), digest, transfer.chunks(), { size: transfer.received });
    const { narHash } = contentOf(entry);
    if (narHash !== undefined && narHash !== origin.narHash) {
      onError("an upstream's narinfo does not belong to its NAR", new Error(`${origin.upstream} ${origin.path}`));
      return this.#pulled.forget(name, origin.path);
    }
    if (origin.digest === undefined) await this.#complete(name, { ...origin, digest, size: transfer.received }, trusted);
  }

  /** Fills in what an upstream left out of a narinfo, now that its file is known. */
  async #complete(name: string, origin: Origin & { digest: string; size: number }, trusted: boolean): Promise<void> {
    const { core, storeDir } = this.#parts;
    await Promise.all([this.#pulled.keepOrigin(name, origin, trusted), this.#pulled.keepOrigin(origin.digest, origin, trusted)]);
    const kept = await this.#pulled.path(origin.path);
    if (kept?.record.nar !== name) return;
    const info = parseNarInfo((await core.bodies.bytes(kept.entry)).toString(), storeDir);
    const whole = { ...info, url: narUrl(origin.digest, info.compression), fileHash: origin.digest, fileSize: origin.size };
    await this.#pulled.keepPath(origin.path, formatNarInfo(whole, storeDir), { ...kept.record, nar: origin.digest }, trusted);
  }
}
