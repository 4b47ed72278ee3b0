import type { Lookup } from "../../core/catalog.ts";
import type { Core } from "../../core/core.ts";
import type { Entry } from "../../core/entry.ts";
import type { Grant } from "../../core/grant.ts";
import { after, type MaybePromise } from "../../database/database.ts";
import { REALISATIONS } from "./keyspaces.ts";
import type { SecretKey } from "./keys.ts";
import { settingsOf, type NixOptions } from "./options.ts";
import { formatRealisation, idText, parseRealisation, realisationFingerprint, type Realisation, type RealisationId } from "./realisation.ts";
import { decide, type Signing, type Vouched } from "./signing.ts";

/** What a grant's scopes know of outputs of floating derivations. Signed like paths: clients take none without a signature. */
export class Realisations {
  readonly #core: Core;
  readonly #options: NixOptions;
  readonly #signing: Signing;

  constructor(parts: { core: Core; options: NixOptions; signing: Signing }) {
    this.#core = parts.core;
    this.#options = parts.options;
    this.#signing = parts.signing;
  }

  get(grant: Grant, id: RealisationId): MaybePromise<Lookup> {
    return this.#core.catalog.get(grant, REALISATIONS, idText(id));
  }

  /** The stored text, signed by keys that came later as well; undefined when the stored one is good as it is. */
  renewed(entry: Entry, id: RealisationId): MaybePromise<string | undefined> {
    const missing = this.#signing.missing(entry.cache, recordOf(entry));
    return after(missing, (keys) => (keys.length === 0 ? undefined : this.#signed(entry, id, keys)));
  }

  /** @returns whether the own scope now says what was pushed, or kept what it said before @throws exists, and what Bodies.put throws */
  async put(grant: Grant & { readonly write: string }, pushed: Realisation, address: string): Promise<"stored" | "kept"> {
    const { entry: before } = await this.get({ ...grant, read: [grant.write] }, pushed.id);
    const earlier = before && (await this.read(before, pushed.id)).realisation;
    const text = realisationFingerprint(pushed);
    const same = earlier !== undefined && realisationFingerprint(earlier) === text;
    if (before && decide(recordOf(before), grant, same, settingsOf(this.#options, grant.cache).conflict) === "keep") return "kept";
    const { signatures, vouched } = await this.#signing.sign(grant.cache, grant.trusted, text, [...(same ? earlier.signatures : []), ...pushed.signatures]);
    const body = Buffer.from(formatRealisation({ ...pushed, signatures }));
    await this.#core.bodies.put(grant, REALISATIONS, idText(pushed.id), body, { metadata: JSON.stringify(vouched), overwrite: true, address });
    return "stored";
  }

  async read(entry: Entry, id: RealisationId): Promise<{ realisation: Realisation; vouched: Vouched }> {
    return { realisation: parseRealisation((await this.#core.bodies.bytes(entry)).toString("utf8"), id), vouched: recordOf(entry) };
  }

  async #signed(entry: Entry, id: RealisationId, keys: readonly SecretKey[]): Promise<string> {
    const { realisation } = await this.read(entry, id);
    const text = realisationFingerprint(realisation);
    return formatRealisation({ ...realisation, signatures: [...realisation.signatures, ...keys.map((key) => key.sign(text))] });
  }
}

function recordOf(entry: Entry): Vouched {
  return JSON.parse(entry.metadata!) as Vouched;
}
