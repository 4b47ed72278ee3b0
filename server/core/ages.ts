import type { Database } from "../database/database.ts";

export interface Age {
  readonly cache: string;
  readonly keyspace: string;
  readonly entries: number;
  /** Mean age of the entries, ms. */
  readonly mean: number;
}

const STEP = 2_000;
const MAX_AGE_MS = 60_000;

/**
 * Mean ages of entries. All of them must be read for it: in short steps, because in SQLite one long read would hold up
 * every write (2 s for a million entries), and at most once a minute.
 */
export class Ages {
  readonly #database: Database;
  #latest: readonly Age[] = [];
  #reading: Promise<readonly Age[]> | undefined;
  /** When the last reading began, ms. */
  #at = 0;

  constructor(database: Database) {
    this.#database = database;
  }

  /** By cache and keyspace; at most a minute old. @throws what the database throws */
  read(): Promise<readonly Age[]> {
    return this.#reading ?? (Date.now() - this.#at > MAX_AGE_MS ? this.#start() : Promise.resolve(this.#latest));
  }

  /** Those read last, without waiting; they are read anew for the next time. */
  latest(): readonly Age[] {
    this.read().catch(() => {});
    return this.#latest;
  }

  #start(): Promise<readonly Age[]> {
    const began = Date.now();
    this.#reading = this.#sumUp(began)
      .then((ages) => {
        this.#at = began;
        return (this.#latest = ages);
      })
      .finally(() => (this.#reading = undefined));
    return this.#reading;
  }

  async #sumUp(now: number): Promise<Age[]> {
    const sums = new Map<string, { cache: string; keyspace: string; entries: number; age: number }>();
    for (let after = 0; ; ) {
      const rows = await this.#database.scan("agesPage", { after, now, limit: STEP });
      if (rows.length === 0) return [...sums.values()].map(({ age, ...rest }) => ({ ...rest, mean: Math.max(0, age / rest.entries) }));
      for (const { cache, keyspace, entries, age, last } of rows) {
        const name = `${cache}\n${keyspace}`;
        const sum = sums.get(name) ?? { cache, keyspace, entries: 0, age: 0 };
        sums.set(name, { cache, keyspace, entries: sum.entries + entries, age: sum.age + age });
        after = Math.max(after, last);
      }
    }
  }
}
