import { randomUUID } from "node:crypto";
import type { Database } from "../database/database.ts";
import type { Bodies } from "./bodies.ts";
import type { Compaction } from "./compaction.ts";
import type { Evictor } from "./eviction.ts";

const DAY_MS = 86_400_000;
/** How long statistics are kept. */
const STATS_DAYS = 90;

export interface MaintenanceOptions {
  /** Time between passes, ms. */
  readonly interval: number;
  /** How long bytes outlive their last reference: longer than a download, ms. */
  readonly grace: number;
  readonly auditRetention: number;
}

/** What one pass did. */
export interface PassReport {
  /** Entries removed to make room or because their time was over. */
  readonly evicted: number;
  readonly evictedBytes: number;
  /** Uploads given up because nobody went on with them. */
  readonly uploads: number;
  /** Blobs whose bytes were deleted because no entry needs them any more. */
  readonly collected: number;
}

/** The background loop: eviction, expiry of uploads, collection of bytes nobody refers to, retention of the audit log. */
export class Maintenance {
  readonly #database: Database;
  readonly #bodies: Bodies;
  readonly #evictor: Evictor;
  readonly #compaction: Compaction;
  #options: MaintenanceOptions;
  readonly #onError: (error: unknown) => void;
  readonly #holder = randomUUID();
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> | undefined;
  #started = false;
  #stopped = false;

  constructor(database: Database, bodies: Bodies, evictor: Evictor, compaction: Compaction, options: MaintenanceOptions, onError: (error: unknown) => void) {
    this.#database = database;
    this.#bodies = bodies;
    this.#evictor = evictor;
    this.#compaction = compaction;
    this.#options = options;
    this.#onError = onError;
  }

  start(): void {
    this.#started = true;
    this.#next();
  }

  /** Takes other options from now on, and makes a pass by them. */
  tune(options: MaintenanceOptions): void {
    this.#options = options;
    if (!this.#started || this.#stopped) return;
    clearTimeout(this.#timer);
    // The one under way may have seen what was before.
    const after = this.#running ?? Promise.resolve();
    void after.then(() => this.pass()).finally(() => this.#next());
  }

  #next(): void {
    clearTimeout(this.#timer);
    if (!this.#stopped) this.#timer = setTimeout(() => void this.pass().finally(() => this.#next()), this.#options.interval).unref();
  }

  /** One pass; never rejects. Of several replicas, one at a time works. */
  pass(): Promise<void> {
    this.#running ??= this.#pass()
      .catch(this.#onError)
      .finally(() => (this.#running = undefined));
    return this.#running;
  }

  async #pass(): Promise<void> {
    const now = Date.now();
    if (this.#database.shared) {
      const ttl = Math.max(this.#options.interval * 3, 30_000);
      if (!(await this.#database.write("acquireLease", { name: "maintenance", holder: this.#holder, now, ttl }))) return;
    }
    await this.run();
    await this.#compaction.pass();
  }

  /** A pass right now, whoever else works: done twice, it does no harm. @throws what the database or a storage throws */
  async run(): Promise<PassReport> {
    const now = Date.now();
    const before = { ...this.#evictor.removed };
    const uploads = await this.#expireUploads();
    await this.#evictor.pass();
    const collected = await this.collect();
    while ((await this.#database.write("pruneAudit", { before: now - this.#options.auditRetention })) > 0);
    await this.#database.write("pruneStats", { before: Math.floor(now / DAY_MS) - STATS_DAYS });
    await this.#database.write("pruneRevocations", { now });
    const { entries, bytes } = this.#evictor.removed;
    return { evicted: entries - before.entries, evictedBytes: bytes - before.bytes, uploads, collected };
  }

  /** Returns how many. */
  async #expireUploads(): Promise<number> {
    for (let count = 0; ; ) {
      const uploads = await this.#database.scan("expiredUploads", { now: Date.now() });
      if (uploads.length === 0) return count;
      count += uploads.length;
      for (const upload of uploads) await this.#database.write("abortUpload", { id: upload.id, now: Date.now() });
    }
  }

  /** Deletes bytes without a reference: first the rows, then the files. Returns how many blobs. */
  async collect(grace = this.#options.grace): Promise<number> {
    let count = 0;
    for (;;) {
      const { rows, files } = await this.#database.write("collectBlobs", { before: Date.now() - grace });
      if (rows === 0) return count;
      count += rows;
      await this.#bodies.removeFiles(files);
    }
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#running;
    if (this.#database.shared) await this.#database.write("releaseLease", { name: "maintenance", holder: this.#holder }).catch(() => {});
  }
}
