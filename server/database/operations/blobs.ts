import { all, first, step, type Row, type Steps } from "../step.ts";
import type { BlobLocation } from "../../core/entry.ts";
import { dropChunks } from "./chunks.ts";

/** A blob as its writer hands it over: bytes for the database, or the name a storage gave it. */
export interface NewBlob {
  readonly digest: string;
  readonly size: number;
  readonly store: string | null;
  readonly name: string | null;
  readonly bytes: Uint8Array | null;
}

export const BLOB_COLUMNS = "b.id AS b_id, b.digest AS b_digest, b.size AS b_size, b.store AS b_store, b.name AS b_name";

export function blobOf(row: Row): BlobLocation | null {
  if (row["b_id"] === null || row["b_id"] === undefined) return null;
  return {
    id: row["b_id"] as number,
    digest: row["b_digest"] as string,
    size: row["b_size"] as number,
    store: row["b_store"] as string | null,
    name: row["b_name"] as string | null,
  };
}

/**
 * Takes one reference on the blob with these bytes. When the cache already holds them, the existing row is used and the
 * new file is not needed (`duplicate`: the caller removes it).
 */
export function* claimBlob(cache: string, blob: NewBlob): Steps<BlobLocation & { duplicate: boolean }> {
  const row = (yield* first(
    "INSERT INTO blobs (cache, digest, size, store, name, refs, orphaned) VALUES (?1, ?2, ?3, ?4, ?5, 1, NULL) " +
      "ON CONFLICT (cache, digest) DO UPDATE SET refs = blobs.refs + 1, orphaned = NULL RETURNING id, store, name",
    cache, blob.digest, blob.size, blob.store, blob.name,
  ))!;
  if (row["store"] === null && blob.bytes !== null) {
    yield step("INSERT INTO blob_bytes (blob, bytes) VALUES (?1, ?2) ON CONFLICT (blob) DO NOTHING", row["id"] as number, blob.bytes);
  }
  return {
    id: row["id"] as number,
    digest: blob.digest,
    size: blob.size,
    store: row["store"] as string | null,
    name: row["name"] as string | null,
    duplicate: blob.store !== null && (row["name"] !== blob.name || row["store"] !== blob.store),
  };
}

/** Gives references back; a blob without any is collected after the grace. */
export function* releaseBlobs(ids: readonly number[], now: number): Steps<void> {
  // Ascending order: two transactions that release the same blobs can't lock each other out.
  const steps = ids.toSorted((a, b) => a - b).map((id) => step("UPDATE blobs SET refs = refs - 1, orphaned = CASE WHEN refs <= 1 THEN CAST(?2 AS BIGINT) ELSE NULL END WHERE id = ?1", id, now));
  if (steps.length > 0) yield steps;
}

export function* blobBytes(args: { blob: number }): Steps<Uint8Array | undefined> {
  const row = yield* first("SELECT bytes FROM blob_bytes WHERE blob = ?1", args.blob);
  return row?.["bytes"] as Uint8Array | undefined;
}

/**
 * Deletes up to 500 rows of blobs unreferenced since `before` and returns where their files are: row first, file later,
 * so a crash in between leaves a file without a row (swept by repair), never a row without a file.
 */
export function* collectBlobs(args: { before: number }): Steps<{ rows: number; files: { store: string; name: string }[] }> {
  const rows = yield* all(
    "DELETE FROM blobs WHERE refs <= 0 AND id IN (SELECT id FROM blobs WHERE orphaned IS NOT NULL AND orphaned < ?1 ORDER BY orphaned LIMIT 500) AND orphaned IS NOT NULL RETURNING id, store, name",
    args.before,
  );
  const inline = rows.filter((row) => row["store"] === null).map((row) => step("DELETE FROM blob_bytes WHERE blob = ?1", row["id"] as number));
  if (inline.length > 0) yield inline;
  yield* dropChunks(rows.map((row) => row["id"] as number));
  return {
    rows: rows.length,
    files: rows.filter((row) => row["store"] !== null).map((row) => ({ store: row["store"] as string, name: row["name"] as string })),
  };
}

export interface BlobRow extends BlobLocation {
  readonly cache: string;
  readonly refs: number;
}

/** A page of blobs in id order, for repair and fsck; at most 500. */
export function* listBlobs(args: { after: number; limit: number }): Steps<BlobRow[]> {
  const rows = yield* all("SELECT id, cache, digest, size, store, name, refs FROM blobs WHERE id > ?1 ORDER BY id LIMIT ?2", args.after, Math.min(args.limit, 500));
  return rows as unknown as BlobRow[];
}

/** Which of these files (of one storage) a row knows. */
export function* knownFiles(args: { store: string; names: string[] }): Steps<string[]> {
  const known: string[] = [];
  for (const name of args.names) {
    if (yield* first("SELECT id FROM blobs WHERE store = ?1 AND name = ?2", args.store, name)) known.push(name);
  }
  return known;
}

/** Whether a storage should hold anything. */
export function* storeInUse(args: { store: string }): Steps<boolean> {
  return (yield* first("SELECT id FROM blobs WHERE store = ?1 LIMIT 1", args.store)) !== undefined;
}

/** Moves a blob's bytes to another place (compaction, a changed inline threshold). False when the row is gone or was moved already. */
export function* moveBlob(args: { blob: number; from: string | null; store: string | null; name: string | null; bytes: Uint8Array | null }): Steps<boolean> {
  const moved = yield* first(
    "UPDATE blobs SET store = ?2, name = ?3 WHERE id = ?1 AND ((store IS NULL AND CAST(?4 AS TEXT) IS NULL) OR store = ?4) RETURNING id",
    args.blob, args.store, args.name, args.from,
  );
  if (!moved) return false;
  if (args.bytes !== null) yield step("INSERT INTO blob_bytes (blob, bytes) VALUES (?1, ?2) ON CONFLICT (blob) DO NOTHING", args.blob, args.bytes);
  else yield step("DELETE FROM blob_bytes WHERE blob = ?1", args.blob);
  return true;
}
