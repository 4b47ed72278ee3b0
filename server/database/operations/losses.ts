import { all, first, step, type Steps } from "../step.ts";
import type { Entry } from "../../core/entry.ts";
import type { AuditRecord } from "./audit.ts";
import { releaseBlobs } from "./blobs.ts";
import { dropChunks } from "./chunks.ts";
import { entriesOfBlob, removeEntries, usageStep } from "./entries.ts";
import { PENDING } from "./uploads.ts";

export interface LostBlob {
  /** Entries removed with it. */
  readonly entries: Entry[];
  /** What is left of it in a storage; the caller deletes it. */
  readonly files: { store: string; name: string }[];
  /** False while something still refers to it: the caller repeats. */
  readonly done: boolean;
}

/**
 * Takes a blob whose bytes are gone or wrong out of everything that needs it, and its row too: as long as the row stood, new
 * writes of the same bytes would be taken for duplicates and thrown away. At most 500 entries a call.
 */
export function* loseBlob(args: { blob: number; now: number; audit: AuditRecord }, slot: number): Steps<LostBlob> {
  const ids = yield* entriesOfBlob({ blob: args.blob });
  const entries = ids.length > 0 ? yield* removeEntries({ ...args, ids }, slot) : [];
  const parts = yield* all("DELETE FROM upload_parts WHERE blob = ?1 RETURNING upload, size", args.blob);
  yield* releaseBlobs(parts.map(() => args.blob), args.now);
  for (const part of parts) {
    const upload = yield* first("SELECT cache, trusted FROM uploads WHERE id = ?1", part["upload"] as string);
    if (upload) yield usageStep(upload["cache"] as string, PENDING, upload["trusted"] === 1, -1, -(part["size"] as number), slot);
  }
  const row = yield* first("DELETE FROM blobs WHERE id = ?1 AND refs <= 0 RETURNING store, name", args.blob);
  if (row) {
    yield step("DELETE FROM blob_bytes WHERE blob = ?1", args.blob);
    yield* dropChunks([args.blob]);
    return { entries, files: row["store"] === null ? [] : [{ store: row["store"] as string, name: row["name"] as string }], done: true };
  }
  return { entries, files: [], done: (yield* first("SELECT id FROM blobs WHERE id = ?1", args.blob)) === undefined };
}

/** Bytes in each storage that no entry needs any more and that wait for their grace to end. */
export function* orphanedBytes(): Steps<{ store: string; bytes: number }[]> {
  const rows = yield* all("SELECT store, CAST(sum(size) AS BIGINT) AS bytes FROM blobs WHERE orphaned IS NOT NULL AND store IS NOT NULL GROUP BY store");
  return rows as unknown as { store: string; bytes: number }[];
}
