import { hash } from "node:crypto";
import { errors } from "../../../core/errors.ts";
import type { Database } from "../../../database/database.ts";
import { parsePublicKey, type PublicKey } from "../keys.ts";
import type { Signing } from "../signing.ts";

/** Keys of one cache. */
const MAX_KEYS = 100;

/**
 * Public keys of clients who sign what they push themselves. Their secrets stay with them, and the cache tells all its readers to
 * believe them: so only administrators register one.
 */
export class RegisteredKeys {
  readonly #database: Database;
  readonly #signing: Signing;

  constructor(database: Database, signing: Signing) {
    this.#database = database;
    this.#signing = signing;
  }

  /** A name for a key that came without one; the same for the same key. */
  static nameOf(cache: string, bytes: Buffer): string {
    return `${cache}-client-${hash("sha256", bytes).slice(0, 8)}`;
  }

  async list(cache: string): Promise<PublicKey[]> {
    return (await this.#database.read("secretsUnder", { prefix: prefixOf(cache) })).map(parsePublicKey);
  }

  /** @throws exists (another key has this name), tooLarge */
  async add(cache: string, key: PublicKey): Promise<void> {
    const { signing, untrusted } = await this.#signing.keys(cache);
    // A name of the server's own keys must not come to mean another one.
    if ([...signing.map((own) => own.public), untrusted.public].some((own) => own.name === key.name && own.text !== key.text)) throw errors.exists();
    if ((await this.list(cache)).length >= MAX_KEYS) throw errors.tooLarge(`${MAX_KEYS} keys of one cache`);
    const stored = await this.#database.write("secret", { name: prefixOf(cache) + key.name, candidate: key.text, now: Date.now() });
    if (stored !== key.text) throw errors.exists();
  }

  /** @throws notFound */
  async remove(cache: string, key: PublicKey): Promise<void> {
    const known = (await this.list(cache)).some(({ text }) => text === key.text);
    if (!known || !(await this.#database.write("removeSecret", { name: prefixOf(cache) + key.name }))) throw errors.notFound();
  }

  /** A signature with the name of the key that made it. @param signature base64 @throws badRequest when no registered key has */
  async named(cache: string, text: string, signature: string): Promise<string> {
    const { signing } = await this.#signing.keys(cache);
    for (const key of [...(await this.list(cache)), ...signing.map((own) => own.public)]) {
      const named = `${key.name}:${signature}`;
      if (key.verifies(text, named)) return named;
    }
    throw errors.badRequest("no key that is registered here has made cSig; register it, or push without a key of your own");
  }
}

/** Names of caches hold no slash. */
function prefixOf(cache: string): string {
  return `nix-client-key:${cache}/`;
}
