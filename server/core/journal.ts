import type { Database } from "../database/database.ts";
import type { AuditRecord } from "../database/operations/audit.ts";
import type { Entry } from "./entry.ts";
import type { Grant } from "./grant.ts";

/** A number that statistics are made of; it counts from the last flush. */
export interface Counter {
  readonly cache: string;
  readonly keyspace: string;
  readonly name: string;
  value: number;
}

interface Touch {
  readonly id: number;
  at: number;
  trust: boolean;
}

/** Flushed in batches of this many rows, so that no transaction is long. */
const BATCH = 500;
/** What is kept when the database is away; beyond it the oldest uses are forgotten (they only order eviction). */
const MAX_PENDING = 100_000;

/**
 * What need not be durable at once, kept in RAM and written in one transaction every few seconds: access times, statistics
 * and those audit lines that belong to no write.
 */
export class Journal {
  readonly #database: Database;
  readonly #touches = new Map<number, Touch>();
  readonly #stats = new Map<string, Counter>();
  #audit: AuditRecord[] = [];
  readonly #timer: NodeJS.Timeout;
  readonly #log: (record: AuditRecord) => void;
  #flushing: Promise<void> | undefined;

  /** @param log gets every audit record, also those written in an entry's transaction */
  constructor(database: Database, interval: number, log: (record: AuditRecord) => void) {
    this.#database = database;
    this.#log = log;
    this.#timer = setInterval(() => void this.flush(), interval).unref();
  }

  /** Records that a grant used an entry. */
  touch(entry: Entry, grant: Grant | undefined, now: number): void {
    const trust = !entry.trusted && entry.scope === "*" && grant?.trusted === true && grant.write !== null;
    const known = this.#touches.get(entry.id);
    if (known) {
      known.at = now;
      known.trust ||= trust;
    } else this.#keep({ id: entry.id, at: now, trust });
  }

  #keep(touch: Touch): void {
    const newer = this.#touches.get(touch.id);
    if (newer) newer.trust ||= touch.trust;
    else {
      if (this.#touches.size >= MAX_PENDING) this.#touches.delete(this.#touches.keys().next().value!);
      this.#touches.set(touch.id, touch);
    }
  }

  /** The counter of this name, for good: whoever counts often keeps it. */
  counter(cache: string, keyspace: string, name: string): Counter {
    const key = `${cache}\n${keyspace}\n${name}`;
    let counter = this.#stats.get(key);
    if (!counter) this.#stats.set(key, (counter = { cache, keyspace, name, value: 0 }));
    return counter;
  }

  audit(record: AuditRecord): void {
    this.#log(record);
    if (this.#audit.length < MAX_PENDING) this.#audit.push(record);
  }

  /** An audit record whose row rides in another transaction: only its line is written here. */
  auditLine(record: AuditRecord): void {
    this.#log(record);
  }

  /** Writes everything down; keeps what could not be written for the next time. Never rejects. */
  flush(): Promise<void> {
    this.#flushing ??= this.#write().finally(() => (this.#flushing = undefined));
    return this.#flushing;
  }

  async #write(): Promise<void> {
    try {
      await this.#writeTouches();
      await this.#writeAudit();
      await this.#writeStats();
    } catch {
      // The database is away; its own metrics and readiness say so.
    }
  }

  /** Those of this moment: on a busy server there are always new ones, and who waits for a flush waits for these. */
  async #writeTouches(): Promise<void> {
    const all = [...this.#touches.values()];
    // What is used while it is written down is a new use, with its own trust.
    this.#touches.clear();
    for (let from = 0; from < all.length; from += BATCH) {
      await this.#database.write("touchEntries", { touches: all.slice(from, from + BATCH) }).catch((error: unknown) => {
        for (const touch of all.slice(from)) this.#keep(touch);
        throw error;
      });
    }
  }

  async #writeAudit(): Promise<void> {
    for (let left = this.#audit.length; left > 0; left -= BATCH) {
      const records = this.#audit.slice(0, Math.min(left, BATCH));
      await this.#database.write("appendAudit", { records });
      this.#audit = this.#audit.slice(records.length);
    }
  }

  async #writeStats(): Promise<void> {
    const rows = [...this.#stats.values()].filter((counter) => counter.value > 0).map((counter) => ({ ...counter }));
    if (rows.length === 0) return;
    await this.#database.write("addStats", { day: Math.floor(Date.now() / 86_400_000), rows });
    // Others may have counted on meanwhile.
    for (const row of rows) this.counter(row.cache, row.keyspace, row.name).value -= row.value;
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.flush();
    await this.flush();
  }
}
