import type { Database } from "../database/database.ts";
import type { AuditRecord } from "../database/operations/audit.ts";
import type { BlobStore } from "../storage/store.ts";
import { Ages } from "./ages.ts";
import { Archives } from "./archives.ts";
import { Bodies, type Placement } from "./bodies.ts";
import { Caches, type Cache } from "./caches.ts";
import { Catalog } from "./catalog.ts";
import type { Entry } from "./entry.ts";
import { Compaction } from "./compaction.ts";
import { Evictor, type WaterMarks } from "./eviction.ts";
import type { EvictionReason } from "./eviction-plan.ts";
import { Journal } from "./journal.ts";
import { Maintenance, type MaintenanceOptions } from "./maintenance.ts";
import { Quota } from "./quota.ts";
import { RecentEntries } from "./recent.ts";
import { repair, type RepairOptions, type RepairReport } from "./repair.ts";
import { Uploads, type UploadLimits } from "./uploads.ts";

export interface CoreOptions {
  readonly database: Database;
  readonly stores: ReadonlyMap<string, BlobStore>;
  /** The same ones without caches in front, whose copies would hide from repair what is lost. */
  readonly origins: ReadonlyMap<string, BlobStore>;
  readonly placement: Placement;
  readonly caches: readonly Cache[];
  /** Bodies up to this size live in the database, bytes. */
  readonly inlineLimit: number;
  /** RAM for small bodies, bytes. */
  readonly bodyMemory: number;
  /** Names kept in RAM. */
  readonly entryMemory: number;
  readonly uploads: UploadLimits;
  readonly tuning: Tuning;
  readonly onAudit: (record: AuditRecord) => void;
  readonly onEvict: (entry: Entry, reason: EvictionReason) => void;
  readonly onError: (error: unknown) => void;
}

/** What may change while the server runs. */
export interface Tuning {
  readonly maintenance: MaintenanceOptions;
  readonly water: WaterMarks;
  /** Part of a storage that eviction keeps free (0 to 1). */
  readonly minFree: number;
}

/** Everything a protocol works with. No HTTP here, no SDK, no driver. */
export interface Core {
  readonly database: Database;
  readonly caches: Caches;
  readonly catalog: Catalog;
  readonly bodies: Bodies;
  readonly uploads: Uploads;
  readonly archives: Archives;
  readonly quota: Quota;
  readonly journal: Journal;
  readonly ages: Ages;
  readonly evictor: Evictor;
  readonly maintenance: Maintenance;
  readonly compaction: Compaction;
  readonly stores: ReadonlyMap<string, BlobStore>;
  /** Takes other settings from now on, and makes a pass of maintenance by them and by what the caches say now. */
  tune(tuning: Tuning): void;
  repair(options?: RepairOptions): Promise<RepairReport>;
  close(): Promise<void>;
}

export function createCore(options: CoreOptions): Core {
  const { database, stores } = options;
  let { tuning } = options;
  const caches = new Caches();
  for (const cache of options.caches) caches.set(cache);
  const journal = new Journal(database, 3_000, options.onAudit);
  const catalog = new Catalog(database, new RecentEntries(database.shared ? 0 : options.entryMemory), journal);
  const quota = new Quota(database);
  const bodies = new Bodies({ database, catalog, caches, placement: options.placement, quota, journal, inlineLimit: options.inlineLimit, ramBytes: options.bodyMemory });
  const uploads = new Uploads({ database, catalog, caches, bodies, quota, journal, limits: options.uploads });
  const archives = new Archives({ database, catalog, caches, quota, journal, limits: options.uploads });
  const pressure = async (dryRun: boolean) => {
    if ((await diskPressure(stores, tuning.minFree)).size === 0) return new Map<string, number>();
    // What the last pass evicted still waits for its grace; on a full disk that wait is short.
    if (!dryRun) await maintenance.collect(PRESSED_GRACE_MS);
    const pressed = await diskPressure(stores, tuning.minFree);
    // What still waits is as good as free: nothing more has to go for it.
    for (const { store, bytes } of await database.scan("orphanedBytes", {})) if (pressed.has(store)) pressed.set(store, pressed.get(store)! - bytes);
    return pressed;
  };
  const evictor = new Evictor({ database, catalog, caches, quota, journal, water: () => tuning.water, onEvict: options.onEvict, diskPressure: pressure });
  const compaction = new Compaction({ database, bodies, caches, catalog, redirects: (name) => caches.require(name).storages.some((store) => stores.get(store)?.presign !== undefined) });
  const maintenance: Maintenance = new Maintenance(database, bodies, evictor, compaction, tuning.maintenance, options.onError);
  return {
    database, caches, catalog, bodies, uploads, archives, quota, journal, ages: new Ages(database), evictor, maintenance, compaction, stores,
    tune: (next) => {
      tuning = next;
      maintenance.tune(next.maintenance);
    },
    repair: (how) => repair({ database, catalog, stores: options.origins, grace: tuning.maintenance.grace }, how),
    close: async () => {
      await maintenance.stop();
      await journal.close();
      for (const store of stores.values()) await store.close();
      await database.close();
    },
  };
}

const PRESSED_GRACE_MS = 5_000;
/** No more than this is ever kept free: a large disk shared with others is not ours to empty. */
const MAX_FREE = 2 * 1024 ** 3;

/** Bytes that each storage lacks to have `minFree` of its space free; only those that lack any. */
async function diskPressure(stores: ReadonlyMap<string, BlobStore>, minFree: number): Promise<Map<string, number>> {
  const pressed = new Map<string, number>();
  for (const [name, store] of stores) {
    const capacity = await store.capacity().catch(() => undefined);
    const lacking = capacity ? Math.min(capacity.total * minFree, MAX_FREE) - capacity.free : 0;
    if (lacking > 0) pressed.set(name, lacking);
  }
  return pressed;
}
