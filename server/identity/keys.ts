import { randomInt } from "node:crypto";
import { errors } from "../core/errors.ts";
import type { Database, MaybePromise } from "../database/database.ts";
import type { KeyRecord } from "../database/operations/keys.ts";
import { generateKey, hashKey, isWellFormedKey } from "./key-format.ts";
import { keyRights, type KeyOptions, type KeyRights } from "./key-options.ts";

/** A key as administrators see it. */
export type KeyInfo = Omit<KeyRecord, "hash">;
/** The key itself is shown this once. */
export interface NewKey {
  readonly key: string;
  readonly info: KeyInfo;
}

/** Both keys of a rotation work for this long unless told otherwise, ms. */
const OVERLAP = 24 * 60 * 60 * 1000;
const FLUSH = 5_000;
/** Uses written in one transaction. */
const BATCH = 500;

/** The API keys: those in the database, and the fixed ones of the configuration, which are in RAM only. */
export class Keys {
  readonly #database: Database;
  #fixed: readonly KeyRecord[];
  readonly #changed: () => void;
  /** Last uses not written yet; at most one a key. */
  readonly #uses = new Map<string, number>();
  readonly #fixedUses = new Map<string, number>();
  readonly #timer: NodeJS.Timeout;

  /** @param changed called after every change that may end a credential, as soon as it is durable */
  constructor(database: Database, fixed: readonly KeyRecord[], changed: () => void) {
    this.#database = database;
    this.#fixed = fixed;
    this.#changed = changed;
    this.#timer = setInterval(() => void this.flush(), FLUSH).unref();
  }

  /** Takes other keys of the configuration; the uses of those that stay are kept. */
  fix(records: readonly KeyRecord[]): void {
    this.#fixed = records;
    for (const id of this.#fixedUses.keys()) if (!records.some((record) => record.id === id)) this.#fixedUses.delete(id);
    this.#changed();
  }

  /** @throws badRequest */
  async create(options: KeyOptions): Promise<NewKey> {
    const now = Date.now();
    return this.#insert(keyRights(options, now), now);
  }

  /** Keys in order of creation, those of the configuration first. At most 500 after the given id. */
  async list(page: { after?: string | undefined; limit?: number | undefined } = {}): Promise<KeyInfo[]> {
    const { after = "", limit = 500 } = page;
    const stored = await this.#database.read("listKeys", { after, limit });
    return (after === "" ? [...this.#fixed, ...stored] : stored).map((record) => this.#info(record));
  }

  /** Ends a key at once. @throws notFound, badRequest for a key of the configuration */
  async revoke(id: string): Promise<KeyInfo> {
    this.#refuseFixed(id);
    const record = await this.#database.write("revokeKey", { id, now: Date.now() });
    if (!record) throw errors.notFound();
    this.#changed();
    return this.#info(record);
  }

  /**
   * Makes a new key with the same rights and the same length of life; the old one ends after the overlap (ms).
   * @throws notFound, badRequest for a key that has ended or is of the configuration
   */
  async rotate(id: string, overlap: number = OVERLAP): Promise<NewKey> {
    this.#refuseFixed(id);
    const now = Date.now();
    if (!Number.isSafeInteger(overlap) || overlap < 0) throw errors.badRequest("the overlap is a number of milliseconds");
    const old = await this.#database.read("keyById", { id });
    if (!old) throw errors.notFound();
    if (!isAlive(old, now)) throw errors.badRequest("the key has ended; create a new one");
    const created = await this.#insert({ ...old, expires: old.expires === null ? null : now + old.expires - old.created }, now);
    await this.#database.write("expireKey", { id, expires: now + overlap });
    this.#changed();
    return created;
  }

  /** The record of a key's text, dead or alive. What can't be a key of ours costs no look-up. */
  find(key: string): MaybePromise<KeyRecord | undefined> {
    const hash = hashKey(key);
    const fixed = this.#fixed.find((record) => record.hash === hash);
    return fixed ?? (isWellFormedKey(key) ? this.#database.read("keyByHash", { hash }) : undefined);
  }

  byId(id: string): MaybePromise<KeyRecord | undefined> {
    return this.#fixed.find((record) => record.id === id) ?? this.#database.read("keyById", { id });
  }

  /** Notes that a key was used; written with others every few seconds. */
  used(id: string, at: number): void {
    // Ids of stored keys hold no hyphen.
    (id.startsWith("config-") ? this.#fixedUses : this.#uses).set(id, at);
  }

  /** Writes the last uses noted so far. Never rejects: what can't be written now is kept for the next time. */
  async flush(): Promise<void> {
    const noted = [...this.#uses].map(([id, at]) => ({ id, at }));
    try {
      for (let from = 0; from < noted.length; from += BATCH) {
        const uses = noted.slice(from, from + BATCH);
        await this.#database.write("touchKeys", { uses });
        for (const { id, at } of uses) if (this.#uses.get(id) === at) this.#uses.delete(id);
      }
    } catch {
      // A last use is for people to look at: not worth more than another try.
    }
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.flush();
  }

  async #insert(rights: KeyRights, now: number): Promise<NewKey> {
    const key = generateKey(rights.permission);
    const { name, permission, caches, scope, reads, trusted, expires, deploy } = rights;
    const info = { id: newKeyId(now), name, permission, caches, scope, reads, trusted, public: rights.public, created: now, expires, used: null, revoked: null, ...(deploy && { deploy }) };
    if (!(await this.#database.write("createKey", { ...info, hash: hashKey(key) }))) throw errors.writeFailure();
    this.#changed();
    return { key, info };
  }

  #info({ hash: _, ...record }: KeyRecord): KeyInfo {
    return { ...record, used: this.#uses.get(record.id) ?? this.#fixedUses.get(record.id) ?? record.used };
  }

  #refuseFixed(id: string): void {
    if (this.#fixed.some((record) => record.id === id)) throw errors.badRequest("this key is set in the configuration; change it there");
  }
}

export function isAlive(key: KeyRecord, now: number): boolean {
  return key.revoked === null && (key.expires === null || key.expires > now);
}

/** Ids sort by time of creation: 9 digits of base 36 for the millisecond, 6 random ones. */
function newKeyId(now: number): string {
  return now.toString(36).padStart(9, "0") + randomInt(36 ** 6).toString(36).padStart(6, "0");
}
