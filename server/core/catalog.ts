import type { Database, MaybePromise } from "../database/database.ts";
import type { AuditRecord } from "../database/operations/audit.ts";
import type { Entry, Keyspace } from "./entry.ts";
import { errors, readFailure, writeFailure } from "./errors.ts";
import type { Grant } from "./grant.ts";
import type { Journal } from "./journal.ts";
import { RecentEntries, slotName, type Slot } from "./recent.ts";
import { SHARED_SCOPE, type Scope } from "./scope.ts";

export interface Lookup {
  readonly entry: Entry | undefined;
  /** Stays `live` as long as this answer is true; see http/front.ts. */
  readonly slot: Slot;
}

/** Look-ups by id kept; the oldest goes first. */
const MAX_BY_ID = 20_000;

export interface Search {
  readonly key: string;
  /** Prefixes, in order of preference, tried after the exact key. */
  readonly prefixes: readonly string[];
  readonly version: string;
}

/** Batches of 500 entries that one blob may take with it. */
const MAX_ROUNDS = 1_000;

/** Keys are well-formed text without control characters, so both databases keep and compare them alike. */
export function assertKey(keyspace: Keyspace, key: string, version = ""): void {
  if (key === "") throw errors.keyTooLong("it is empty");
  if (Buffer.byteLength(key) > keyspace.maxKeyLength) throw errors.keyTooLong(`it is longer than ${keyspace.maxKeyLength} bytes`);
  if (Buffer.byteLength(version) > 512) throw errors.keyTooLong("its version is longer than 512 bytes");
  // eslint-disable-next-line no-control-regex
  if (/[\u0000-\u001f\u007f]/.test(key + version) || !key.isWellFormed() || !version.isWellFormed()) {
    throw errors.keyTooLong("it holds control characters or broken Unicode");
  }
  if (keyspace.contentAddressed && !/^[0-9a-f]{64}$/.test(key)) throw errors.keyTooLong("it is not a SHA-256 in lower-case hex");
}

/**
 * Which entries there are, and who sees them. Every look-up walks the grant's read scopes in order and takes the first
 * scope with a hit; nothing outside them is ever returned.
 */
export class Catalog {
  readonly #database: Database;
  readonly #recent: RecentEntries;
  readonly #journal: Journal;
  /** Look-ups by id, each true while its slot is live. */
  readonly #byId = new Map<number, Lookup>();

  constructor(database: Database, recent: RecentEntries, journal: Journal) {
    this.#database = database;
    this.#recent = recent;
    this.#journal = journal;
  }

  /** The entry with exactly this name. Answers at once when RAM or SQLite can. @throws readFailure */
  get(grant: Grant, keyspace: Keyspace, key: string, version = ""): MaybePromise<Lookup> {
    assertKey(keyspace, key, version);
    const slot = this.#recent.slot(slotName(grant.cache, keyspace.name, key, version));
    return this.#walk(grant, keyspace, key, version, slot, 0);
  }

  #walk(grant: Grant, keyspace: Keyspace, key: string, version: string, slot: Slot, from: number): MaybePromise<Lookup> {
    const scopes = scopesOf(grant, keyspace);
    for (let i = from; i < scopes.length; i++) {
      const scope = scopes[i]!;
      let entry = slot.scopes.get(scope);
      if (entry === undefined) {
        let read: MaybePromise<Entry | undefined>;
        try {
          read = this.#database.read("getEntry", { cache: grant.cache, keyspace: keyspace.name, scope, key, version });
        } catch (error) {
          throw readFailure(error);
        }
        if (read instanceof Promise) {
          return read.then(
            (found) => (alive(found) ? { entry: found, slot } : this.#walk(grant, keyspace, key, version, slot, i + 1)),
            (error: unknown) => Promise.reject(readFailure(error)),
          );
        }
        entry = read ?? null;
        if ((entry?.metadata?.length ?? 0) <= KEPT_METADATA) slot.scopes.set(scope, entry);
        else if (alive(entry)) return { entry, slot: UNKEPT };
      }
      if (alive(entry)) return { entry, slot };
    }
    return { entry: undefined, slot };
  }

  /**
   * GitHub's matching: the scope is the outer loop; inside a scope the exact key, then for each prefix in order the newest
   * entry whose key starts with it. @throws readFailure
   */
  async find(grant: Grant, keyspace: Keyspace, search: Search): Promise<Entry | undefined> {
    assertKey(keyspace, search.key, search.version);
    for (const prefix of search.prefixes) assertKey(keyspace, prefix);
    for (const scope of scopesOf(grant, keyspace)) {
      const exact = (await this.get({ ...grant, read: [scope] }, keyspace, search.key, search.version)).entry;
      if (exact) return exact;
      for (const prefix of search.prefixes) {
        try {
          const found = await this.#database.read("findPrefix", { cache: grant.cache, keyspace: keyspace.name, scope, key: prefix, version: search.version, now: Date.now() });
          if (alive(found)) return found;
        } catch (error) {
          throw readFailure(error);
        }
      }
    }
    return undefined;
  }

  /** The entry a signed URL names (its signature has said that the holder may read it), with the slot of its name. @throws readFailure */
  byId(id: number): MaybePromise<Lookup> {
    const known = this.#byId.get(id);
    if (known?.slot.live && alive(known.entry)) return known;
    try {
      const read = this.#database.read("entryById", { id });
      return read instanceof Promise ? read.then((entry) => this.#named(entry), (error: unknown) => Promise.reject(readFailure(error))) : this.#named(read);
    } catch (error) {
      throw readFailure(error);
    }
  }

  #named(entry: Entry | undefined): Lookup {
    if (!alive(entry)) return { entry: undefined, slot: { live: false, scopes: new Map() } };
    const slot = this.#recent.slot(slotName(entry.cache, entry.keyspace, entry.key, entry.version));
    slot.scopes.set(entry.scope, entry);
    const lookup = { entry, slot };
    this.#byId.delete(entry.id);
    if (this.#byId.size >= MAX_BY_ID) this.#byId.delete(this.#byId.keys().next().value!);
    if (slot.live) this.#byId.set(entry.id, lookup);
    return lookup;
  }

  /**
   * Names in the grant's read scopes, newest first, at most 500 a page. Content-addressed entries are not listed: all scopes
   * share them, and whoever knows a digest can read what a scope of others has stored.
   */
  async list(grant: Grant, query: { keyspace?: string; prefix?: string; version?: string; from?: number; before?: number; limit: number }): Promise<Entry[]> {
    try {
      return await this.#database.scan("listEntries", { ...query, cache: grant.cache, scopes: grant.read, now: Date.now() });
    } catch (error) {
      throw readFailure(error);
    }
  }

  /** Removes the entry with this name from the grant's own scope. False when there is none. */
  async remove(grant: Grant, keyspace: Keyspace, key: string, version: string, audit: AuditRecord): Promise<boolean> {
    if (grant.write === null) throw errors.forbiddenWrite();
    const { entry } = await this.get({ ...grant, read: [grant.write] }, keyspace, key, version);
    // What all scopes share is removed by eviction or an administrator alone.
    if (!entry || entry.scope !== grant.write) return false;
    return (await this.removeIds([entry.id], audit)).length > 0;
  }

  /**
   * Removes entries by id (eviction, administration), in batches of at most 500.
   * @param unheld in this order, and only what nothing needs once those before it are gone
   */
  async removeIds(ids: number[], audit: AuditRecord, unheld = false): Promise<Entry[]> {
    const gone: Entry[] = [];
    try {
      for (let from = 0; from < ids.length; from += 500) {
        const batch = await this.#database.write("removeEntries", { ids: ids.slice(from, from + 500), now: Date.now(), audit, unheld });
        for (const entry of batch) this.forget(entry);
        gone.push(...batch);
      }
    } catch (error) {
      throw writeFailure(error);
    }
    if (gone.length > 0) this.#journal.auditLine({ ...audit, size: gone.reduce((sum, entry) => sum + entry.size, 0), key: gone.length === 1 ? gone[0]!.key : `${gone.length} entries` });
    return gone;
  }

  /**
   * Takes a blob whose bytes are gone or wrong out of the index, with every entry that needs it.
   * @returns what is left of it in storages, for the caller to delete @throws writeFailure
   */
  async loseBlob(blob: number, audit: AuditRecord): Promise<{ store: string; name: string }[]> {
    try {
      for (let round = 0; round < MAX_ROUNDS; round++) {
        const { entries, files, done } = await this.#database.write("loseBlob", { blob, now: Date.now(), audit });
        for (const entry of entries) this.forget(entry);
        if (entries.length > 0) this.#journal.auditLine({ ...audit, key: entries.length === 1 ? entries[0]!.key : `${entries.length} entries` });
        if (done) return files;
      }
    } catch (error) {
      throw writeFailure(error);
    }
    throw errors.writeFailure("", { cause: `blob ${blob} is still referred to` });
  }

  /** Drops what RAM knows of a name; after every write of it. */
  forget(entry: { cache: string; keyspace: string; key: string; version: string }): void {
    this.#recent.forget(slotName(entry.cache, entry.keyspace, entry.key, entry.version));
  }

  forgetAll(): void {
    this.#recent.clear();
  }

  /** Records a use, for eviction order and trust. */
  touch(entry: Entry, grant: Grant | undefined): void {
    this.#journal.touch(entry, grant, Date.now());
  }
}

function alive(entry: Entry | null | undefined): entry is Entry {
  return entry != null && (entry.expires === null || entry.expires > Date.now());
}

export function scopesOf(grant: Grant, keyspace: Keyspace): readonly Scope[] {
  if (!keyspace.contentAddressed) return grant.read;
  return grant.read.length > 0 ? SHARED : [];
}

/** The scope a grant's write lands in. @throws forbiddenWrite */
export function writeScope(grant: Grant, keyspace: Keyspace): Scope {
  if (grant.write === null) throw errors.forbiddenWrite();
  return keyspace.contentAddressed ? SHARED_SCOPE : grant.write;
}

const SHARED: readonly Scope[] = [SHARED_SCOPE];

/** Longer metadata is not kept in RAM, where names are counted and not bytes; characters. */
const KEPT_METADATA = 4_096;
const UNKEPT: Slot = { live: false, scopes: new Map() };
