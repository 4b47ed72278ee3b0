import { all, first, flag, step, type Row, type Step, type Steps } from "../step.ts";
import type { BlobLocation } from "../../core/entry.ts";
import { BLOB_COLUMNS, blobOf, claimBlob, releaseBlobs, type NewBlob } from "./blobs.ts";
import { indexChunks, type FrameContent } from "./chunks.ts";
import { getEntry, gives, insertEntry, takePlace, usageStep, type EntryName, type NewEntry, type PutResult } from "./entries.ts";

/** Usage of parts that wait for their commit is kept under this name, so that it counts against the quota. */
export const PENDING = "uploads";

export interface Upload extends EntryName {
  readonly id: string;
  /** The same reservation as a number (GitHub's v1 protocol knows cache ids as integers). */
  readonly number: number;
  readonly actor: string;
  readonly trusted: boolean;
  readonly metadata: string | null;
  readonly created: number;
  readonly expires: number;
}

function uploadOf(row: Row): Upload {
  return { ...(row as unknown as Upload), trusted: row["trusted"] === 1 };
}

export type ReserveResult = { readonly status: "reserved"; readonly upload: Upload } | { readonly status: "exists" };

/**
 * Reserves a name. `exists` when an entry has it that may not be replaced, or another reservation that is still alive; one
 * that has expired is replaced (a crashed client must not block the key for ever).
 */
export function* reserveUpload(args: { upload: Upload; now: number; overwrite: boolean }, slot: number): Steps<ReserveResult> {
  const u = args.upload;
  const existing = yield* getEntry(u);
  if (existing && !gives(existing, args)) return { status: "exists" };
  const stale = yield* first(
    "SELECT id FROM uploads WHERE cache = ?1 AND keyspace = ?2 AND key = ?3 AND version = ?4 AND scope = ?5 AND expires <= ?6",
    u.cache, u.keyspace, u.key, u.version, u.scope, args.now,
  );
  if (stale) yield* abortUpload({ id: stale["id"] as string, now: args.now }, slot);
  const row = yield* first(
    "INSERT INTO uploads (id, number, cache, keyspace, scope, key, version, actor, trusted, metadata, created, expires) " +
      "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12) ON CONFLICT DO NOTHING RETURNING id",
    u.id, u.number, u.cache, u.keyspace, u.scope, u.key, u.version, u.actor, flag(u.trusted), u.metadata, u.created, u.expires,
  );
  return row ? { status: "reserved", upload: u } : { status: "exists" };
}

export function* getUpload(args: { id: string }): Steps<Upload | undefined> {
  const row = yield* first("SELECT * FROM uploads WHERE id = ?1", args.id);
  return row && uploadOf(row);
}

export function* uploadByNumber(args: { number: number }): Steps<Upload | undefined> {
  const row = yield* first("SELECT * FROM uploads WHERE number = ?1", args.number);
  return row && uploadOf(row);
}

/** The living reservation of a name, if there is one. */
export function* findUpload(n: EntryName): Steps<Upload | undefined> {
  const row = yield* first(
    "SELECT * FROM uploads WHERE cache = ?1 AND keyspace = ?2 AND key = ?3 AND version = ?4 AND scope = ?5",
    n.cache, n.keyspace, n.key, n.version, n.scope,
  );
  return row && uploadOf(row);
}

export interface UploadPart {
  readonly name: string;
  readonly position: number;
  readonly size: number;
}

export function* uploadParts(args: { id: string }): Steps<UploadPart[]> {
  const rows = yield* all("SELECT name, position, size FROM upload_parts WHERE upload = ?1 ORDER BY position, name", args.id);
  return rows as unknown as UploadPart[];
}

/** The parts of an upload and where their bytes are, by position. */
export function* uploadBlobs(args: { id: string }): Steps<{ name: string; blob: BlobLocation }[]> {
  const rows = yield* all(`SELECT p.name, ${BLOB_COLUMNS} FROM upload_parts p JOIN blobs b ON b.id = p.blob WHERE p.upload = ?1 ORDER BY p.position, p.name`, args.id);
  return rows.map((row) => ({ name: row["name"] as string, blob: blobOf(row)! }));
}

/**
 * Adds a part, or replaces the one with this name, and prolongs the reservation. `gone` when the upload has ended or has
 * expired; `full` when it has `maxParts` already.
 * @param args.content of a frame that was inflated and hashed: its chunks are offered from now on
 */
export function* addPart(
  args: { id: string; name: string; position: number; blob: NewBlob; now: number; expires: number; maxParts: number; content?: FrameContent | undefined },
  slot: number,
): Steps<{ status: "stored" | "gone" | "full"; unused: { store: string; name: string }[] }> {
  const file = args.blob.store === null ? [] : [{ store: args.blob.store, name: args.blob.name! }];
  // The update is also the lock that orders this against commit and abort.
  const row = yield* first("UPDATE uploads SET expires = ?2 WHERE id = ?1 AND expires > ?3 RETURNING *", args.id, args.expires, args.now);
  if (!row) return { status: "gone", unused: file };
  const upload = uploadOf(row);
  const count = yield* first("SELECT count(*) AS n FROM upload_parts WHERE upload = ?1", args.id);
  const old = yield* first("DELETE FROM upload_parts WHERE upload = ?1 AND name = ?2 RETURNING blob, size", args.id, args.name);
  if (!old && (count!["n"] as number) >= args.maxParts) return { status: "full", unused: file };
  const blob = yield* claimBlob(upload.cache, args.blob);
  yield step(
    "INSERT INTO upload_parts (upload, name, position, blob, size) VALUES (?1, ?2, ?3, ?4, ?5)",
    args.id, args.name, args.position, blob.id, args.blob.size,
  );
  if (old) yield* releaseBlobs([old["blob"] as number], args.now);
  if (args.content) yield* indexChunks(upload.cache, blob.id, args.content);
  yield usageStep(upload.cache, PENDING, upload.trusted, old ? 0 : 1, args.blob.size - ((old?.["size"] as number) ?? 0), slot);
  return { status: "stored", unused: blob.duplicate ? file : [] };
}

/** Prolongs a living reservation. */
export function* renewUpload(args: { id: string; now: number; expires: number }): Steps<void> {
  yield step("UPDATE uploads SET expires = ?2 WHERE id = ?1 AND expires > ?3 AND expires < ?2", args.id, args.expires, args.now);
}

export type ArrangeResult = { readonly status: "arranged" | "gone" } | { readonly status: "missing"; readonly part: string };

/**
 * Renames and orders the parts of an upload: each place takes the first part of `from` that is there and calls it `to`, at
 * its index as position; parts that no place takes are given back. All or nothing.
 */
export function* arrangeParts(
  args: { id: string; places: readonly { from: readonly string[]; to: string }[]; now: number; expires: number },
  slot: number,
): Steps<ArrangeResult> {
  // The update is also the lock that orders this against new parts, commit and abort.
  const row = yield* first("UPDATE uploads SET expires = ?2 WHERE id = ?1 AND expires > ?3 RETURNING *", args.id, args.expires, args.now);
  if (!row) return { status: "gone" };
  const left = new Map((yield* all("SELECT name, blob, size FROM upload_parts WHERE upload = ?1", args.id)).map((part) => [part["name"] as string, part]));
  const placed: Step[] = [];
  for (const [position, { from, to }] of args.places.entries()) {
    const part = left.get(from.find((one) => left.has(one)) ?? "");
    if (part === undefined) return { status: "missing", part: to };
    left.delete(part["name"] as string);
    placed.push(step("INSERT INTO upload_parts (upload, name, position, blob, size) VALUES (?1, ?2, ?3, ?4, ?5)", args.id, to, position, part["blob"]!, part["size"]!));
  }
  // Written anew: parts may swap names, so no order of renames would do.
  yield [step("DELETE FROM upload_parts WHERE upload = ?1", args.id), ...placed];
  const unused = [...left.values()];
  if (unused.length === 0) return { status: "arranged" };
  yield* releaseBlobs(unused.map((part) => part["blob"] as number), args.now);
  const { cache, trusted } = uploadOf(row);
  yield usageStep(cache, PENDING, trusted, -unused.length, -unused.reduce((sum, part) => sum + (part["size"] as number), 0), slot);
  return { status: "arranged" };
}

export type CommitResult =
  | PutResult
  | { readonly status: "gone" }
  | { readonly status: "missing"; readonly part: string }
  | { readonly status: "size"; readonly size: number }
  | { readonly status: "large"; readonly size: number };

/** The name that a body whose digest was verified gets, and the blobs that were read to know it. */
export interface Verified {
  readonly keyspace: string;
  readonly scope: string;
  readonly digest: string;
  readonly blobs: readonly number[];
}

/**
 * Turns an upload into an entry by listing its parts, without moving a byte. Parts that are not listed are dropped.
 * `gone` when it has ended or expired; `size` and `large` when its parts are not what was announced, or more than allowed.
 * @param args.parts names in order; null takes all by position
 * @param args.verified names the entry by its digest; a part that is no longer the blob that was read is `missing`
 */
export function* commitUpload(
  args: {
    id: string; parts: string[] | null; size: number | null; maxSize: number; expires: number | null; metadata: string | null; now: number; overwrite: boolean;
    audit: NewEntry["audit"]; verified?: Verified | undefined;
  },
  slot: number,
): Steps<CommitResult> {
  // The update changes nothing: it is the lock that orders this against parts, abort and other commits.
  const locked = yield* first("UPDATE uploads SET expires = expires WHERE id = ?1 AND expires > ?2 RETURNING *", args.id, args.now);
  if (!locked) return { status: "gone" };
  const upload = uploadOf(locked);
  const byName = new Map((yield* uploadBlobs(args)).map(({ name, blob }) => [name, blob]));
  const body: BlobLocation[] = [];
  for (const name of args.parts ?? byName.keys()) {
    const blob = byName.get(name);
    if (!blob || (args.verified && blob.id !== args.verified.blobs[body.length])) return { status: "missing", part: name };
    body.push(blob);
  }
  if (args.verified && body.length !== args.verified.blobs.length) return { status: "missing", part: "" };
  const size = body.reduce((sum, part) => sum + part.size, 0);
  if (args.size !== null && args.size !== size) return { status: "size", size };
  if (size > args.maxSize) return { status: "large", size };

  const { verified } = args;
  const name = verified ? { ...upload, keyspace: verified.keyspace, scope: verified.scope, key: verified.digest } : upload;
  const place = yield* takePlace({ ...name, overwrite: args.overwrite, now: args.now });
  if (place.taken) {
    yield* abortUpload({ id: args.id, now: args.now }, slot);
    return { status: "exists", entry: place.taken, unused: [] };
  }
  // The entry takes its own references before the upload gives up all of its own.
  const claims = body.toSorted((a, b) => a.id - b.id).map((part) => step("UPDATE blobs SET refs = refs + 1, orphaned = NULL WHERE id = ?1", part.id));
  if (claims.length > 0) yield claims;
  const single = body.length === 1 ? body[0]! : null;
  const put = yield* insertEntry(
    { ...name, metadata: args.metadata ?? upload.metadata, expires: args.expires, now: args.now, overwrite: args.overwrite, needs: verified && [], audit: { ...args.audit, size } },
    { size, digest: verified?.digest ?? single?.digest ?? null, blob: single },
    single ? [] : body,
    place.dropped,
    slot,
  );
  if (put.status === "exists") yield* releaseBlobs(body.map((part) => part.id), args.now);
  yield* abortUpload({ id: args.id, now: args.now }, slot);
  return { ...put, unused: [] };
}

/** Ends an upload and gives its parts back. False when it had ended already. */
export function* abortUpload(args: { id: string; now: number }, slot: number): Steps<boolean> {
  const row = yield* first("DELETE FROM uploads WHERE id = ?1 RETURNING cache, trusted", args.id);
  if (!row) return false;
  const parts = yield* all("DELETE FROM upload_parts WHERE upload = ?1 RETURNING blob, size", args.id);
  yield* releaseBlobs(parts.map((part) => part["blob"] as number), args.now);
  const bytes = parts.reduce((sum, part) => sum + (part["size"] as number), 0);
  if (parts.length > 0) yield usageStep(row["cache"] as string, PENDING, row["trusted"] === 1, -parts.length, -bytes, slot);
  return true;
}

/** Uploads nobody goes on with, at most 100. */
export function* expiredUploads(args: { now: number }): Steps<Upload[]> {
  return (yield* all("SELECT * FROM uploads WHERE expires <= ?1 ORDER BY expires LIMIT 100", args.now)).map(uploadOf);
}

/** How many uploads an actor has open in a cache. */
export function* openUploads(args: { actor: string; now: number }): Steps<number> {
  const row = yield* first("SELECT count(*) AS n FROM uploads WHERE actor = ?1 AND expires > ?2", args.actor, args.now);
  return row!["n"] as number;
}
