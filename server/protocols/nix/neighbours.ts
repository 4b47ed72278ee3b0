import type { Catalog } from "../../core/catalog.ts";
import type { Cache, Caches } from "../../core/caches.ts";
import type { Entry } from "../../core/entry.ts";
import type { Grant } from "../../core/grant.ts";
import { anonymous } from "../../identity/credential.ts";
import type { Document } from "./document.ts";
import { fingerprint, formatNarInfo, NARINFO_TYPE } from "./narinfo.ts";
import type { FoundNarInfo, NarInfos } from "./narinfos.ts";
import { settingsOf, type NixOptions } from "./options.ts";
import { narInfoHeaders, REALISATION_TYPE, sendText, type OwnSource } from "./own-source.ts";
import { formatRealisation, realisationFingerprint, type RealisationId } from "./realisation.ts";
import type { Realisations } from "./realisations.ts";
import type { Signing } from "./signing.ts";
import type { Asker, Found, Source } from "./source.ts";

/** Names all public caches in `sources`. */
const ALL = "*";

export interface NeighbourParts {
  readonly caches: Caches;
  readonly catalog: Catalog;
  readonly options: NixOptions;
  readonly narInfos: NarInfos;
  readonly realisations: Realisations;
  readonly signing: Signing;
  readonly own: OwnSource;
}

/**
 * What other caches of this server give to everybody. They are asked as somebody without a credential would ask them, so no
 * private cache and no scope but the default one is ever looked into; and for what they have themselves alone, so that caches
 * which name each other don't go round in circles. Of that, only what a trusted scope pushed there, or what this cache's own
 * trusted keys have signed, is passed on: it gets this cache's signature.
 */
export class NeighbourSource implements Source {
  readonly #parts: NeighbourParts;
  readonly #signed = new WeakMap<Entry, Map<string, string | undefined>>();

  constructor(parts: NeighbourParts) {
    this.#parts = parts;
  }

  narInfo(asker: Asker, storeHash: string): Promise<Found | undefined> | undefined {
    return this.#first(asker, async (grant) => {
      const found = await this.#parts.narInfos.find(grant, storeHash);
      const text = found && (await this.#once(asker, found.entry, () => this.#narInfoOf(asker.grant.cache, found)));
      if (text === undefined) return undefined;
      for (const entry of [found!.entry, found!.nar]) this.#parts.catalog.touch(entry, grant);
      return () => sendText(asker, text, { ...narInfoHeaders(asker.request), "content-type": NARINFO_TYPE });
    });
  }

  nar(asker: Asker, fileHash: string): Promise<Found | undefined> | undefined {
    // Who may write asks whether it can leave the upload out: it can't, for a path pushed here has its NAR here.
    if (asker.request.method === "HEAD" && asker.grant.write !== null) return undefined;
    return this.#first(asker, async (grant) => this.#parts.own.nar({ ...asker, grant }, fileHash));
  }

  realisation(asker: Asker, id: RealisationId): Promise<Found | undefined> | undefined {
    return this.#first(asker, async (grant) => {
      const { entry } = await this.#parts.realisations.get(grant, id);
      const text = entry && (await this.#once(asker, entry, () => this.#realisationOf(asker.grant.cache, entry, id)));
      return text === undefined ? undefined : () => sendText(asker, text, { ...narInfoHeaders(asker.request), "content-type": REALISATION_TYPE });
    });
  }

  document(asker: Asker, document: Document, key: string): Promise<Found | undefined> | undefined {
    return this.#first(asker, async (grant) => {
      const { entry } = await this.#parts.catalog.get(grant, document.keyspace, key);
      return entry?.trusted ? this.#parts.own.document({ ...asker, grant }, document, key) : undefined;
    });
  }

  /** What the first of them has. At once where there is none to ask. */
  #first({ grant: { cache } }: Asker, ask: (grant: Grant) => Promise<Found | undefined>): Promise<Found | undefined> | undefined {
    const { sources } = settingsOf(this.#parts.options, cache);
    if (sources.length === 0) return undefined;
    return this.#ask(this.#named(cache, sources), ask);
  }

  async #ask(caches: readonly Cache[], ask: (grant: Grant) => Promise<Found | undefined>): Promise<Found | undefined> {
    for (const cache of caches) {
      const grant = anonymous.grant(cache);
      const found = grant && (await ask(grant));
      if (found) return found;
    }
    return undefined;
  }

  #named(own: string, sources: readonly string[]): Cache[] {
    const { caches } = this.#parts;
    const named = sources.includes(ALL) ? caches.list() : sources.flatMap((name) => caches.get(name) ?? []);
    return named.filter(({ name }) => name !== own);
  }

  /** The text for one cache of an entry, made once for as long as the entry is known. */
  async #once({ grant: { cache } }: Asker, entry: Entry, make: () => Promise<string | undefined>): Promise<string | undefined> {
    let texts = this.#signed.get(entry);
    if (!texts) this.#signed.set(entry, (texts = new Map()));
    if (!texts.has(cache)) texts.set(cache, await make());
    return texts.get(cache);
  }

  async #narInfoOf(cache: string, { entry, record }: FoundNarInfo): Promise<string | undefined> {
    const { narInfos, options, signing } = this.#parts;
    const info = await narInfos.read(entry);
    const { signatures, vouched } = await signing.sign(cache, record.trusted, fingerprint(info, options.storeDir), info.signatures);
    return vouched.trusted || vouched.endorsed !== undefined ? formatNarInfo({ ...info, signatures }, options.storeDir) : undefined;
  }

  async #realisationOf(cache: string, entry: Entry, id: RealisationId): Promise<string | undefined> {
    const { realisations, signing } = this.#parts;
    const { realisation, vouched: before } = await realisations.read(entry, id);
    const { signatures, vouched } = await signing.sign(cache, before.trusted, realisationFingerprint(realisation), realisation.signatures);
    return vouched.trusted || vouched.endorsed !== undefined ? formatRealisation({ ...realisation, signatures }) : undefined;
  }
}
