import { after, type Database, type MaybePromise } from "../../database/database.ts";
import { errors } from "../../core/errors.ts";
import { sharedSecret } from "../../identity/tokens.ts";
import { agentsKeyName } from "./deploy/setup.ts";
import { parsePublicKey, parseSecretKey, SecretKey, type PublicKey } from "./keys.ts";
import { settingsOf, type NixCacheSettings, type NixOptions } from "./options.ts";
import { WireError } from "../wire.ts";

/** The keys of one cache. */
export interface CacheKeys {
  /** All of them sign what is trusted, and the public list holds them: so a key is changed with an overlap. */
  readonly signing: readonly SecretKey[];
  /** Signs what pull requests and other untrusted scopes push. No list that trusted jobs see contains it. */
  readonly untrusted: SecretKey;
}

/** Who stands behind something that was pushed; written down with it, because later readers must not change it. */
export interface Vouched {
  /** A trusted scope pushed it. */
  readonly trusted: boolean;
  /** The public key of `trustedKeys` that had signed it. */
  readonly endorsed?: string | undefined;
  /** Public keys of ours that have signed it. */
  readonly by: readonly string[];
}

/** Signs in the name of caches: with a cache's key what a trusted scope pushed or a trusted key has signed, with another one the rest. */
export class Signing {
  readonly #database: Database;
  readonly #options: NixOptions;
  readonly #keys = new Map<string, MaybePromise<CacheKeys>>();
  readonly #imported = new Map<string, readonly SecretKey[]>();
  readonly #trusted = new Map<string, readonly PublicKey[]>();

  /** @throws config for a key that is none */
  constructor(database: Database, options: NixOptions) {
    this.#database = database;
    this.#options = options;
    for (const [cache, { signingKeys, trustedKeys }] of Object.entries(options.caches)) {
      this.#imported.set(cache, signingKeys.map((text) => configured(cache, "signingKeys", () => parseSecretKey(text))));
      this.#trusted.set(cache, trustedKeys.map((text) => configured(cache, "trustedKeys", () => parsePublicKey(text))));
    }
  }

  /** Made at their first use, the same for all replicas. At once when they are known. */
  keys(cache: string): MaybePromise<CacheKeys> {
    let keys = this.#keys.get(cache);
    if (!keys) {
      keys = this.#open(cache).then((opened) => {
        this.#keys.set(cache, opened);
        return opened;
      });
      keys.catch(() => this.#keys.delete(cache));
      this.#keys.set(cache, keys);
    }
    return keys;
  }

  /**
   * Signs what was pushed. Signatures under the names of our own keys stay only if they are ours; those of others stay as they are.
   * @param trusted whether a trusted scope pushed it @param text what signatures cover
   */
  async sign(cache: string, trusted: boolean, text: string, signatures: readonly string[]): Promise<{ signatures: string[]; vouched: Vouched }> {
    const keys = await this.keys(cache);
    const kept = signatures.filter((signature) => {
      const named = keys.signing.filter((key) => signature.startsWith(`${key.name}:`));
      const genuine = named.length === 0 || named.some((key) => key.public.verifies(text, signature));
      // What becomes trusted does not carry this one on; what stays untrusted gets it anew.
      return genuine && !signature.startsWith(`${keys.untrusted.name}:`);
    });
    const endorsed = (this.#trusted.get(cache) ?? []).find((key) => kept.some((signature) => key.verifies(text, signature)))?.text;
    const signers = this.#signers(cache, keys, { trusted, endorsed });
    const added = signers.map((key) => key.sign(text));
    return { signatures: [...new Set([...kept, ...added])], vouched: { trusted, endorsed, by: signers.map((key) => key.public.text) } };
  }

  /** The keys that should have signed something kept and have not: after a change of keys. At once when the keys are known. */
  missing(cache: string, vouched: Vouched): MaybePromise<readonly SecretKey[]> {
    return after(this.keys(cache), (keys) => this.#signers(cache, keys, vouched).filter((key) => !vouched.by.includes(key.public.text)));
  }

  #signers(cache: string, keys: CacheKeys, vouched: Pick<Vouched, "trusted" | "endorsed">): readonly SecretKey[] {
    const { sign } = settingsOf(this.#options, cache);
    // A key may have lost its trust since.
    const endorsed = this.#trusted.get(cache)?.some((key) => key.text === vouched.endorsed) ?? false;
    if (sign === "never" || (sign === "missing" && endorsed)) return [];
    return vouched.trusted || endorsed ? keys.signing : [keys.untrusted];
  }

  async #open(cache: string): Promise<CacheKeys> {
    const { keyName = cache, keyGenerations } = settingsOf(this.#options, cache);
    const imported = this.#imported.get(cache) ?? [];
    const generations = keyGenerations ?? (imported.length > 0 ? [] : [1]);
    const made = async (which: number | "untrusted" | "agents", name = `${keyName}-${which}`) => {
      const seed = await sharedSecret(this.#database, `nix:${cache}:${which}`);
      return new SecretKey(name, Buffer.from(seed, "base64url"));
    };
    const signing = [...imported, ...(await Promise.all(generations.map((generation) => made(generation))))];
    // Agents of Cachix Deploy know a key by a name that can't be chosen.
    const agents = agentsKeyName(this.#options, cache);
    if (agents !== undefined && !signing.some(({ name }) => name === agents)) signing.push(await made("agents", agents));
    return { signing, untrusted: await made("untrusted") };
  }
}

/**
 * Whether something that is pushed again takes the place of what its own scope has under that name. Nobody untrusted changes
 * what a trusted writer of the same scope wrote; the other way round it is as if there were nothing. @throws exists
 */
export function decide(before: Vouched, writer: { readonly trusted: boolean }, same: boolean, conflict: NixCacheSettings["conflict"]): "store" | "keep" {
  if (before.trusted !== writer.trusted) return before.trusted ? "keep" : "store";
  if (same || conflict === "replace") return "store";
  if (conflict === "refuse") throw errors.exists();
  return "keep";
}

function configured<T>(cache: string, field: string, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    if (!(error instanceof WireError)) throw error;
    throw errors.config(`protocols.nix.caches.${cache}.${field}: ${error.message}`);
  }
}
