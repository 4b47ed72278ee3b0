import { all, first, step, type Steps } from "../step.ts";
import type { BlobLocation } from "../../core/entry.ts";
import { releaseBlobs } from "./blobs.ts";
import { BATCH, batches, findChunks, placeholders, type ChunkPlace } from "./chunks.ts";
import { entryOf, entryParts, insertEntry, takePlace, usageStep, type NewEntry, type PutResult } from "./entries.ts";
import { PENDING } from "./uploads.ts";

/** An upload that takes parts the cache holds already. */
interface Lease {
  readonly upload: string;
  readonly now: number;
  readonly expires: number;
  readonly maxParts: number;
}

type Leased<T> = { readonly status: "gone" | "full" } | ({ readonly status: "leased" } & T);

/** @param args.scopes what the upload's writer reads, beside the upload's own scope */
type Find = Lease & { readonly ids: readonly Uint8Array[]; readonly keyspace: string; readonly scopes: readonly string[] };

/** Finds chunks and makes the frames that hold them parts of the upload, so that none of them is collected before it ends. */
export function* leaseChunks(args: Find, slot: number): Steps<Leased<{ places: ChunkPlace[] }>> {
  const upload = yield* lock(args);
  if (!upload) return { status: "gone" };
  const found = yield* findChunks(upload.cache, args.ids);
  const open = yield* openFrames(args, upload, found);
  const places = found.filter(({ blob }) => open.has(blob));
  const frames = new Map(places.map((place) => [place.digest, { id: place.blob, digest: place.digest, size: place.size }]));
  const taken = yield* take(args, upload, [...frames.values()], slot);
  if (!taken) return { status: "full" };
  return { status: "leased", places: places.filter(({ digest }) => taken.has(digest)) };
}

/**
 * Frames that the writer may have. One goes out whole, with the neighbours of the chunk that was asked for; so all of its
 * bytes must be chunks that the writer has named, or it must be in an archive or an upload of a scope that the writer reads.
 */
function* openFrames(args: Find, upload: Locked, found: readonly ChunkPlace[]): Steps<Set<number>> {
  const named = new Map<number, number>();
  // A chunk that is named twice is still one chunk.
  for (const { blob, length } of new Map(found.map((place) => [Buffer.from(place.id).toString("latin1"), place])).values()) named.set(blob, (named.get(blob) ?? 0) + length);
  const open = new Set(found.filter(({ blob, raw }) => named.get(blob) === raw).map(({ blob }) => blob));
  const scopes = [upload.scope, ...args.scopes];
  for (const batch of batches([...named.keys()].filter((blob) => !open.has(blob)))) {
    const rows = yield* all(
      `SELECT b.id FROM blobs b WHERE b.id IN (${placeholders(5)}) AND (` +
        `EXISTS (SELECT 1 FROM entry_parts p JOIN entries e ON e.id = p.entry WHERE p.blob = b.id AND e.cache = ?1 AND e.keyspace = ?2 AND (e.expires IS NULL OR e.expires > ?3) ` +
        `AND e.scope IN (${placeholders(5 + BATCH, scopes.length)})) ` +
        "OR EXISTS (SELECT 1 FROM upload_parts p JOIN uploads u ON u.id = p.upload WHERE p.blob = b.id AND u.cache = ?1 AND u.keyspace = ?2 AND u.scope = ?4))",
      upload.cache, args.keyspace, args.now, upload.scope, ...batch, ...scopes,
    );
    for (const row of rows) open.add(row["id"] as number);
  }
  return open;
}

/**
 * Makes blobs parts of the upload which an archive holds that its writer may read, and tells which of `digests` are no parts
 * of it even so. Whoever knows no more than a digest gets nothing by it.
 */
export function* leaseParts(args: Lease & { digests: readonly string[]; keyspace: string; scopes: readonly string[] }, slot: number): Steps<Leased<{ missing: string[] }>> {
  const upload = yield* lock(args);
  if (!upload) return { status: "gone" };
  const held = yield* partNames(args.upload);
  const wanted = args.digests.filter((digest) => !held.has(digest));
  const found: Pick<BlobLocation, "id" | "digest" | "size">[] = [];
  for (const batch of args.scopes.length > 0 ? batches(wanted) : []) {
    found.push(...((yield* all(
      `SELECT b.id, b.digest, b.size FROM blobs b WHERE b.cache = ?1 AND b.digest IN (${placeholders(4)}) AND EXISTS (SELECT 1 FROM entry_parts p JOIN entries e ON e.id = p.entry ` +
        `WHERE p.blob = b.id AND e.cache = ?1 AND e.keyspace = ?2 AND (e.expires IS NULL OR e.expires > ?3) AND e.scope IN (${placeholders(4 + BATCH, args.scopes.length)}))`,
      upload.cache, args.keyspace, args.now, ...batch, ...args.scopes,
    )) as unknown as typeof found));
  }
  const taken = yield* take(args, upload, found, slot);
  if (!taken) return { status: "full" };
  return { status: "leased", missing: wanted.filter((digest) => !taken.has(digest)) };
}

interface Locked {
  readonly cache: string;
  readonly scope: string;
  readonly trusted: boolean;
}

/** Prolongs the upload. The update is also the lock that orders this against commit and abort. */
function* lock(args: Lease): Steps<Locked | undefined> {
  const row = yield* first("UPDATE uploads SET expires = ?2 WHERE id = ?1 AND expires > ?3 RETURNING cache, scope, trusted", args.upload, args.expires, args.now);
  return row && { cache: row["cache"] as string, scope: row["scope"] as string, trusted: row["trusted"] === 1 };
}

function* partNames(upload: string): Steps<Set<string>> {
  return new Set((yield* all("SELECT name FROM upload_parts WHERE upload = ?1", upload)).map((row) => row["name"] as string));
}

/** Makes blobs parts named by their digests. Returns the names of those that are; undefined when they are too many. */
function* take(args: Lease, upload: { cache: string; trusted: boolean }, blobs: readonly Pick<BlobLocation, "id" | "digest" | "size">[], slot: number): Steps<Set<string> | undefined> {
  const held = yield* partNames(args.upload);
  const wanted = blobs.filter(({ digest }) => !held.has(digest));
  if (held.size + wanted.length > args.maxParts) return undefined;
  const claimed = new Set<number>();
  for (const batch of batches(wanted.map(({ id }) => id).toSorted((a, b) => a - b))) {
    // A blob that was collected meanwhile has no row any more.
    const rows = yield* all(`UPDATE blobs SET refs = refs + 1, orphaned = NULL WHERE id IN (${placeholders(1)}) RETURNING id`, ...batch);
    for (const row of rows) claimed.add(row["id"] as number);
  }
  const taken = wanted.filter(({ id }) => claimed.has(id));
  if (taken.length > 0) {
    yield taken.map(({ id, digest, size }) => step("INSERT INTO upload_parts (upload, name, position, blob, size) VALUES (?1, ?2, 0, ?3, ?4)", args.upload, digest, id, size));
    yield usageStep(upload.cache, PENDING, upload.trusted, taken.length, taken.reduce((sum, { size }) => sum + size, 0), slot);
  }
  for (const { digest } of taken) held.add(digest);
  return held;
}

/** What an archive's writer wants under a new name: the archive with this manifest, if it can read one. */
export interface Copy extends Omit<NewEntry, "metadata"> {
  /** SHA-256 of the manifest. */
  readonly digest: string;
  readonly scopes: readonly string[];
  readonly maxSize: number;
}

/** Makes an entry with the parts of one that has them already. */
export function* copyArchive(args: Copy, slot: number): Steps<PutResult | { readonly status: "unknown" } | { readonly status: "large" }> {
  if (args.scopes.length === 0) return { status: "unknown" };
  const found = yield* first(
    "SELECT e.* FROM blobs m JOIN entry_parts p ON p.blob = m.id AND p.seq = 0 JOIN entries e ON e.id = p.entry WHERE m.cache = ?1 AND m.digest = ?2 " +
      `AND e.cache = ?1 AND e.keyspace = ?3 AND (e.expires IS NULL OR e.expires > ?4) AND e.scope IN (${placeholders(5, args.scopes.length)}) ORDER BY e.id DESC LIMIT 1`,
    args.cache, args.digest, args.keyspace, args.now, ...args.scopes,
  );
  if (!found) return { status: "unknown" };
  const original = entryOf(found);
  if (original.size > args.maxSize) return { status: "large" };
  // Before the place is taken: the original may be what stands there.
  const parts = yield* entryParts({ entry: original.id });
  const place = yield* takePlace(args);
  if (place.taken) return { status: "exists", entry: place.taken, unused: [] };
  // Ascending order, as in everything that locks several rows.
  yield parts.toSorted((a, b) => a.id - b.id).map((part) => step("UPDATE blobs SET refs = refs + 1, orphaned = NULL WHERE id = ?1", part.id));
  const put = yield* insertEntry(
    { ...args, metadata: original.metadata, audit: { ...args.audit, size: original.size } },
    { size: original.size, digest: original.digest, blob: null },
    parts, place.dropped, slot,
  );
  if (put.status === "exists") yield* releaseBlobs(parts.map((part) => part.id), args.now);
  return { ...put, unused: [] };
}
