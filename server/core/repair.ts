import { createHash } from "node:crypto";
import type { Database } from "../database/database.ts";
import type { BlobRow } from "../database/operations/blobs.ts";
import { MissingBlob, type BlobStore } from "../storage/store.ts";
import type { Catalog } from "./catalog.ts";
import { errors } from "./errors.ts";

const PAGE = 500;
/** So many bodies in a row that can't be read mean that the storage is away: another time, then. */
const MAX_UNREADABLE = 20;

export interface RepairReport {
  /** Rows looked at. */
  blobs: number;
  /** Rows whose bytes are gone: their entries were removed. */
  missing: number;
  /** Rows whose bytes don't hash to their digest (only with `verify`): their entries were removed. */
  corrupt: number;
  /** Files without a row: removed once they were older than the grace. */
  orphans: number;
  /** Left-overs of unfinished writes. */
  swept: number;
  /** Rows whose bytes could not be read just now (an I/O error, a storage that is away): nothing was done to them. */
  unreadable: number;
}

export interface RepairParts {
  readonly database: Database;
  readonly catalog: Catalog;
  readonly stores: ReadonlyMap<string, BlobStore>;
  /** A file without a row is an upload under way until it is older than this, ms. */
  readonly grace: number;
}

export interface RepairOptions {
  /** Read every body and compare its hash. */
  readonly verify?: boolean;
  /** Only count. */
  readonly dryRun?: boolean;
  readonly signal?: AbortSignal;
  /** Gets the figures so far with each blob. */
  readonly onProgress?: (soFar: RepairReport) => void;
}

/** Makes index and storages agree; runs in the background after a start and as `fsck`. */
export async function repair(parts: RepairParts, options: RepairOptions = {}): Promise<RepairReport> {
  const report: RepairReport = { blobs: 0, missing: 0, corrupt: 0, orphans: 0, swept: 0, unreadable: 0 };
  for (const store of parts.stores.values()) {
    if (!options.dryRun) report.swept += await store.sweep(sweepAge(parts, store));
  }
  await checkRows(parts, options, report);
  for (const [name, store] of parts.stores) await checkFiles(parts, name, store, options, report);
  return report;
}

async function checkRows(parts: RepairParts, options: RepairOptions, report: RepairReport): Promise<void> {
  let unreadable = 0;
  for (let after = 0; ; ) {
    const rows = await parts.database.scan("listBlobs", { after, limit: PAGE });
    if (rows.length === 0) return;
    for (const row of rows) {
      options.signal?.throwIfAborted();
      report.blobs++;
      options.onProgress?.({ ...report });
      const state = await inspect(parts, row, options.verify ?? false);
      unreadable = state === "unreadable" ? unreadable + 1 : 0;
      if (unreadable === MAX_UNREADABLE) throw errors.readFailure();
      if (state === "ok") continue;
      report[state]++;
      if (state !== "unreadable" && !options.dryRun) await dropBlob(parts, row, state);
    }
    after = rows.at(-1)!.id;
  }
}

async function inspect(parts: RepairParts, row: BlobRow, verify: boolean): Promise<"ok" | "missing" | "corrupt" | "unreadable"> {
  if (row.store === null) {
    if (!verify) return "ok";
    const bytes = await parts.database.scan("blobBytes", { blob: row.id });
    if (!bytes) return "missing";
    return createHash("sha256").update(bytes).digest("hex") === row.digest ? "ok" : "corrupt";
  }
  const store = parts.stores.get(row.store);
  // A storage that was taken out of the configuration may come back.
  if (!store) return "ok";
  try {
    const reader = await store.open(row.name!, row.size);
    try {
      if (!verify) return "ok";
      const hash = createHash("sha256");
      await reader.read(0, row.size, (chunk) => void hash.update(chunk));
      return hash.digest("hex") === row.digest ? "ok" : "corrupt";
    } finally {
      await reader.close();
    }
  } catch (error) {
    return error instanceof MissingBlob ? "missing" : "unreadable";
  }
}

/** Takes a blob and its entries out of the index, and what is left of its bytes out of the storage. */
async function dropBlob(parts: RepairParts, row: BlobRow, state: string): Promise<void> {
  const audit = { at: Date.now(), actor: "server", action: "repair", cache: row.cache, keyspace: "", scope: "", key: "", size: row.size, result: `body ${state}`, address: "" };
  for (const file of await parts.catalog.loseBlob(row.id, audit)) await parts.stores.get(file.store)?.remove(file.name);
}

async function checkFiles(parts: RepairParts, name: string, store: BlobStore, options: RepairOptions, report: RepairReport): Promise<void> {
  const oldest = Date.now() - parts.grace;
  let page: string[] = [];
  const check = async () => {
    const known = new Set(await parts.database.scan("knownFiles", { store: name, names: page }));
    for (const file of page) {
      if (known.has(file)) continue;
      report.orphans++;
      if (!options.dryRun) await store.remove(file);
    }
    page = [];
  };
  for await (const blob of store.list()) {
    options.signal?.throwIfAborted();
    if (blob.modified > oldest) continue;
    page.push(blob.name);
    if (page.length === PAGE) await check();
  }
  await check();
}

/** In a directory that is one process's alone, whatever this process is not writing was left behind by a dead one. */
function sweepAge({ database, grace }: RepairParts, store: BlobStore): number {
  return store.kind === "filesystem" && !database.shared ? 0 : grace;
}
