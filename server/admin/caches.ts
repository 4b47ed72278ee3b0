import type { TSchema } from "typebox";
import type { Cache } from "../core/caches.ts";
import type { Core } from "../core/core.ts";
import { errors } from "../core/errors.ts";
import { isCacheName } from "../core/scope.ts";
import type { CacheRow } from "../database/operations/admin.ts";
import type { Log } from "../http/log.ts";
import { purge } from "./purge.ts";

/** How caches are declared; app.ts knows the configuration. */
export interface CacheDeclarations {
  /** Names that the configuration has: not to be changed here. */
  readonly configured: ReadonlySet<string>;
  /** The schema of a cache's settings, in words. */
  readonly schema: TSchema;
  /** Settings in bytes and milliseconds, every default filled in. @throws badRequest */
  resolve(settings: unknown): Omit<Cache, "name">;
}

const RELOAD_MS = 10_000;
/** A deleted cache's name is free again when every replica has heard of it and nothing writes to it any more. */
const REST_MS = 3 * RELOAD_MS;
const MAX_CACHES = 1_000;

/**
 * The caches made through the admin API. They are rows of the index, so they outlive a restart, and other replicas learn of
 * them within ten seconds. A deleted one stays as a mark until its entries are gone: a crash in between resumes there.
 */
export class ManagedCaches {
  #declarations: CacheDeclarations;
  readonly #core: Core;
  readonly #log: Log;
  /** Settings as this process has taken them over, as JSON. */
  readonly #known = new Map<string, string>();
  readonly #stop = new AbortController();
  readonly #timer: NodeJS.Timeout;
  #working: Promise<void> | undefined;

  constructor(core: Core, declarations: CacheDeclarations, log: Log) {
    this.#declarations = declarations;
    this.#core = core;
    this.#log = log;
    this.#timer = setInterval(() => void this.work(), RELOAD_MS).unref();
  }

  get declarations(): CacheDeclarations {
    return this.#declarations;
  }

  /** Takes over that the configuration has changed: which names it has, and what settings mean by it. */
  redeclare(declarations: CacheDeclarations): void {
    this.#declarations = declarations;
    for (const name of this.#known.keys()) {
      if (declarations.configured.has(name)) this.#known.delete(name);
      else this.#known.set(name, "");
    }
    void this.work();
  }

  /** The caches of the index, those that are being removed too. */
  async rows(): Promise<CacheRow[]> {
    const rows = await this.#core.database.read("listCaches", {});
    return rows.filter((row) => !this.declarations.configured.has(row.name));
  }

  /** Takes over what the index says. Settings that no longer fit the configuration leave their cache out: its entries stay. */
  async reload(): Promise<CacheRow[]> {
    const rows = await this.rows();
    const alive = rows.filter((row) => row.settings !== null);
    for (const row of alive) this.#take(row);
    const names = new Set(alive.map((row) => row.name));
    for (const name of this.#known.keys()) if (!names.has(name)) this.#drop(name);
    return rows;
  }

  /** Makes a cache or changes its settings, durably. Returns whether it is new. @throws badRequest, busy */
  async put(name: string, settings: unknown): Promise<boolean> {
    this.#refuseConfigured(name);
    if (!isCacheName(name)) throw errors.badRequest("a cache's name is lower-case letters, digits and hyphens, at most 63");
    this.declarations.resolve(settings);
    const rows = await this.rows();
    const row = rows.find((one) => one.name === name);
    if (row?.settings === null) throw errors.busy("The cache of this name was deleted and its entries are being removed.");
    if (!row && rows.length >= MAX_CACHES) throw errors.badRequest(`a server has at most ${MAX_CACHES} caches made this way`);
    const now = Date.now();
    await this.#core.database.write("putCache", { name, settings, now });
    this.#take({ name, settings, created: now, updated: now });
    return row === undefined;
  }

  /** Ends a cache at once; its entries go in the background. @throws noCache, badRequest for one of the configuration */
  async delete(name: string): Promise<void> {
    this.#refuseConfigured(name);
    const row = (await this.rows()).find((one) => one.name === name);
    if (!row || row.settings === null) throw errors.noCache();
    await this.#core.database.write("putCache", { name, settings: null, now: Date.now() });
    this.#drop(name);
    void this.work();
  }

  /** Learns what others changed and goes on removing what was deleted; one at a time. Never rejects. */
  work(): Promise<void> {
    this.#working ??= this.#work()
      .catch((error: unknown) => void (this.#stop.signal.aborted || this.#log.warn("caches could not be read again; it is tried again", { cause: String(error) })))
      .finally(() => (this.#working = undefined));
    return this.#working;
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    this.#stop.abort();
    await this.#working;
  }

  async #work(): Promise<void> {
    for (const row of await this.reload()) {
      if (row.settings !== null) continue;
      const empty = await purge(this.#core, row.name, this.#stop.signal);
      if (empty && Date.now() - row.updated > REST_MS) await this.#core.database.write("removeCache", { name: row.name });
    }
  }

  #take(row: CacheRow): void {
    const settings = JSON.stringify(row.settings);
    // Every change of a cache voids what RAM knows of grants, so an unchanged one is left alone.
    if (this.#known.get(row.name) === settings) return;
    this.#known.set(row.name, settings);
    try {
      this.#core.caches.set({ ...this.declarations.resolve(row.settings), name: row.name });
    } catch (error) {
      this.#core.caches.delete(row.name);
      this.#log.error("a cache made through the admin API does not fit the configuration; its entries are kept", { cache: row.name, problem: (error as Error).message });
    }
  }

  #drop(name: string): void {
    this.#known.delete(name);
    this.#core.caches.delete(name);
  }

  #refuseConfigured(name: string): void {
    if (this.declarations.configured.has(name)) throw errors.badRequest("this cache is set in the configuration; change it there");
  }
}

/** Takes over the caches made through the admin API; to be awaited before the server listens. @throws what the database throws */
export async function loadCaches(core: Core, declarations: CacheDeclarations, log: Log): Promise<ManagedCaches> {
  const caches = new ManagedCaches(core, declarations, log);
  try {
    await caches.reload();
    void caches.work();
  } catch (error) {
    await caches.close();
    throw error;
  }
  return caches;
}
