import type { Core } from "../../core/core.ts";
import type { Entry } from "../../core/entry.ts";
import { errors, StowError } from "../../core/errors.ts";
import type { Grant } from "../../core/grant.ts";
import type { Slot } from "../../core/recent.ts";
import { after, type MaybePromise } from "../../database/database.ts";
import { NARINFOS } from "./keyspaces.ts";
import { narUrl, parseNarUrl } from "./nar-url.ts";
import { needsOf } from "./needs.ts";
import { assertContent, contentOf, type Nars } from "./nars.ts";
import type { SecretKey } from "./keys.ts";
import { fingerprint, formatNarInfo, parseNarInfo, type NarInfo } from "./narinfo.ts";
import { settingsOf, type NixOptions } from "./options.ts";
import { decide, type Signing, type Vouched } from "./signing.ts";
import { addresses, parseBaseName } from "./store-path.ts";

/** Metadata of a narinfo's entry. */
export interface PathRecord extends Vouched {
  /** SHA-256 of the NAR's file, hex. */
  readonly nar: string;
  /** SHA-256 of the NAR itself, hex. */
  readonly narHash: string;
}

/** A narinfo whose NAR is there. */
export interface FoundNarInfo {
  readonly entry: Entry;
  readonly nar: Entry;
  readonly record: PathRecord;
  /** Live while both are there. */
  readonly slot: Slot;
}

export interface PutNarInfo {
  readonly grant: Grant & { readonly write: string };
  readonly info: NarInfo;
  readonly address?: string;
}

/** How often a writer begins anew because another one of the same path was faster. */
const MAX_TRIES = 4;

/** What a grant's scopes know of store paths. Never tells of a path whose NAR is gone. */
export class NarInfos {
  readonly #core: Core;
  readonly #options: NixOptions;
  readonly #nars: Nars;
  readonly #signing: Signing;

  constructor(parts: { core: Core; options: NixOptions; nars: Nars; signing: Signing }) {
    this.#core = parts.core;
    this.#options = parts.options;
    this.#nars = parts.nars;
    this.#signing = parts.signing;
  }

  /** The first of the grant's scopes that knows the path and has its NAR. At once when RAM knows. @throws readFailure */
  find(grant: Grant, storeHash: string): MaybePromise<FoundNarInfo | undefined> {
    const lookup = this.#core.catalog.get(grant, NARINFOS, storeHash);
    return after(lookup, ({ entry, slot }) => {
      if (!entry) return undefined;
      const record = recordOf(entry);
      return after(this.#nars.get(grant, record.nar), (nar) => {
        if (nar.entry) return { entry, nar: nar.entry, record, slot: both(slot, nar.slot) };
        // Later scopes may know the path with a NAR that is still there.
        const next = grant.read.indexOf(entry.scope) + 1;
        return next < grant.read.length ? this.find({ ...grant, read: grant.read.slice(next) }, storeHash) : undefined;
      });
    });
  }

  /** The stored text, signed by keys that came later as well; undefined when the stored one is good as it is. */
  renewed(found: FoundNarInfo): MaybePromise<string | undefined> {
    const { entry, record } = found;
    return after(this.#signing.missing(entry.cache, record), (keys) => (keys.length === 0 ? undefined : this.#signed(entry, keys)));
  }

  async #signed(entry: Entry, keys: readonly SecretKey[]): Promise<string> {
    const { storeDir } = this.#options;
    const info = await this.read(entry);
    const text = fingerprint(info, storeDir);
    return formatNarInfo({ ...info, signatures: [...info.signatures, ...keys.map((key) => key.sign(text))] }, storeDir);
  }

  async read(entry: Entry): Promise<NarInfo> {
    return parseNarInfo((await this.#core.bodies.bytes(entry)).toString("utf8"), this.#options.storeDir);
  }

  /**
   * Makes a path known in the grant's own scope, once its NAR is here and is what the narinfo says.
   * @returns whether the own scope now says what was pushed, or kept what it said before
   * @throws badRequest (it does not fit its NAR), exists (the conflict policy), and what Bodies.put throws
   */
  async put({ grant, info: pushed, address = "" }: PutNarInfo): Promise<"stored" | "kept"> {
    const { storeDir } = this.#options;
    const { conflict } = settingsOf(this.#options, grant.cache);
    const { hash } = parseBaseName(pushed.storePath)!;
    const { info, nar } = await this.#checked(grant, pushed);
    for (let tries = 1; ; tries++) {
      const before = await this.find({ ...grant, read: [grant.write] }, hash);
      const same = before?.record.narHash === info.narHash;
      if (before && decide(before.record, grant, same, conflict) === "keep") return "kept";
      // Who signs a path again sends it with the new signature alone.
      const earlier = before && same ? (await this.read(before.entry)).signatures : [];
      const { signatures, vouched } = await this.#signing.sign(grant.cache, grant.trusted, fingerprint(info, storeDir), [...earlier, ...info.signatures]);
      const record: PathRecord = { nar, narHash: info.narHash, ...vouched };
      const text = formatNarInfo({ ...info, signatures }, storeDir);
      const needs = await needsOf(this.#core.catalog, grant, info, nar);
      try {
        const stale = before === undefined && (await this.#core.catalog.get({ ...grant, read: [grant.write] }, NARINFOS, hash)).entry !== undefined;
        await this.#core.bodies.put(grant, NARINFOS, hash, Buffer.from(text), { metadata: JSON.stringify(record), overwrite: before !== undefined || stale, needs, address });
        return "stored";
      } catch (error) {
        if (!(error instanceof StowError) || error.refusal !== "exists" || tries === MAX_TRIES) throw error;
      }
    }
  }

  /** The narinfo as it will be served, and its NAR's file hash. @throws badRequest */
  async #checked(grant: Grant, pushed: NarInfo): Promise<{ info: NarInfo; nar: string }> {
    const nar = parseNarUrl(pushed.url);
    if (nar === undefined) throw errors.badRequest("URL must be nar/<FileHash>.nar with the ending of its compression");
    if (pushed.fileHash !== undefined && pushed.fileHash !== nar) throw errors.badRequest("URL and FileHash don't name the same file");
    const { entry } = await this.#nars.get(grant, nar);
    if (!entry) throw errors.badRequest("its NAR is not here; send that first");
    if (pushed.fileSize !== undefined && pushed.fileSize !== entry.size) throw errors.badRequest(`the NAR's file has ${entry.size} bytes, not ${pushed.fileSize}`);
    assertContent(contentOf(entry), pushed);
    if (pushed.ca !== undefined && addresses(pushed.ca, { ...pushed, storeDir: this.#options.storeDir }) === false) throw errors.badRequest("CA is not the address of this path");
    await this.#requireReferences(grant, pushed);
    // What a trusted scope refers to is trusted, whoever sent it first.
    this.#core.catalog.touch(entry, grant);
    return { info: { ...pushed, url: narUrl(nar, pushed.compression), fileHash: nar, fileSize: entry.size }, nar };
  }

  async #requireReferences(grant: Grant, { storePath, references }: NarInfo): Promise<void> {
    if (!settingsOf(this.#options, grant.cache).requireReferences) return;
    for (const reference of references) {
      if (reference !== storePath && !(await this.find(grant, parseBaseName(reference)!.hash))) throw errors.badRequest(`it refers to ${reference}, which is not here`);
    }
  }
}

const known = new WeakMap<Entry, PathRecord>();

function recordOf(entry: Entry): PathRecord {
  let record = known.get(entry);
  if (!record) known.set(entry, (record = JSON.parse(entry.metadata!) as PathRecord));
  return record;
}

/** Live while both are. */
export function both(one: Slot, other: Slot): Slot {
  return {
    scopes: one.scopes,
    get live() {
      return one.live && other.live;
    },
  };
}
