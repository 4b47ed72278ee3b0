import { all, Conflict, first, flag, step, type Row, type Step, type Steps, type Value } from "../step.ts";
import type { BlobLocation, Entry } from "../../core/entry.ts";
import { auditStep, type AuditRecord } from "./audit.ts";
import { BLOB_COLUMNS, blobOf, claimBlob, releaseBlobs, type NewBlob } from "./blobs.ts";
import { addNeeds, dropMark, dropNeeds, markOf, type NeededName } from "./needs.ts";

export interface EntryName {
  readonly cache: string;
  readonly keyspace: string;
  readonly scope: string;
  readonly key: string;
  readonly version: string;
}

const SELECT = `SELECT e.*, ${BLOB_COLUMNS} FROM entries e LEFT JOIN blobs b ON b.id = e.blob`;

/** All but the metadata, of which one entry may have a megabyte: rows that are read by the hundred go without it. */
const NAMES = ["id", "cache", "keyspace", "scope", "key", "version", "size", "digest", "blob", "trusted", "created", "accessed", "expires"];
export const BULK_COLUMNS = NAMES.join(", ");
const BULK = `SELECT ${NAMES.map((name) => `e.${name}`).join(", ")}, ${BLOB_COLUMNS} FROM entries e LEFT JOIN blobs b ON b.id = e.blob`;
/** What a statement gives back that changes entries: instead of the metadata its length, which counts as theirs. */
const CHANGED = `${BULK_COLUMNS}, mark, octet_length(metadata) AS about`;

export function entryOf(row: Row): Entry {
  return {
    id: row["id"] as number,
    cache: row["cache"] as string,
    keyspace: row["keyspace"] as string,
    scope: row["scope"] as string,
    key: row["key"] as string,
    version: row["version"] as string,
    size: row["size"] as number,
    digest: row["digest"] as string | null,
    blob: blobOf(row),
    metadata: (row["metadata"] as string | null | undefined) ?? null,
    trusted: row["trusted"] === 1,
    created: row["created"] as number,
    accessed: row["accessed"] as number,
    expires: row["expires"] as number | null,
  };
}

/** The step that moves a cache's usage; the last of a transaction, because all writers of a cache meet here. */
export function usageStep(cache: string, keyspace: string, trusted: boolean, entries: number, bytes: number, slot: number): Step {
  return step(
    "INSERT INTO usage (cache, keyspace, trusted, slot, entries, bytes) VALUES (?1, ?2, ?3, ?4, ?5, ?6) " +
      "ON CONFLICT (cache, keyspace, trusted, slot) DO UPDATE SET entries = usage.entries + excluded.entries, bytes = usage.bytes + excluded.bytes",
    cache, keyspace, flag(trusted), slot, entries, bytes,
  );
}

interface UsageChange {
  readonly cache: string;
  readonly keyspace: string;
  readonly trusted: boolean;
  entries: number;
  bytes: number;
}

/** What an entry takes of its cache's quota: its body, and its metadata, or a writer could fill the disk with entries of no size. */
type Counted = Pick<Entry, "cache" | "keyspace" | "trusted"> & { readonly bytes: number };

function bytesOf(row: Row): number {
  return (row["size"] as number) + ((row["about"] as number | null) ?? 0);
}

/** Sums up what entries coming (1) or going (-1) change, one row for each cache, keyspace and trust. */
function countUsage(entries: readonly Counted[], sign: 1 | -1, changes = new Map<string, UsageChange>()): Map<string, UsageChange> {
  for (const { cache, keyspace, trusted, bytes } of entries) {
    const row = `${cache} ${keyspace} ${trusted}`;
    let change = changes.get(row);
    if (!change) changes.set(row, (change = { cache, keyspace, trusted, entries: 0, bytes: 0 }));
    change.entries += sign;
    change.bytes += sign * bytes;
  }
  return changes;
}

function usageSteps(changes: Map<string, UsageChange>, slot: number): Step[] {
  const sorted = [...changes].toSorted(([a], [b]) => (a < b ? -1 : 1));
  return sorted.map(([, { cache, keyspace, trusted, entries, bytes }]) => usageStep(cache, keyspace, trusted, entries, bytes, slot));
}

export function* getEntry(n: EntryName): Steps<Entry | undefined> {
  const row = yield* first(
    `${SELECT} WHERE e.cache = ?1 AND e.keyspace = ?2 AND e.scope = ?3 AND e.version = ?4 AND e.key = ?5`,
    n.cache, n.keyspace, n.scope, n.version, n.key,
  );
  return row && entryOf(row);
}

export function* entryById(args: { id: number }): Steps<Entry | undefined> {
  const row = yield* first(`${SELECT} WHERE e.id = ?1`, args.id);
  return row && entryOf(row);
}

/** The least text that sorts after every text with this prefix, comparing bytes of UTF-8 (and so code points). */
function afterPrefix(prefix: string): string {
  const points = [...prefix].map((character) => character.codePointAt(0)!);
  while (points.at(-1) === 0x10ffff) points.pop();
  const last = points.pop();
  // Nothing sorts after the last code point of all; a key holds at most 512 of them.
  if (last === undefined) return "\u{10FFFF}".repeat(1024);
  return String.fromCodePoint(...points, last === 0xd7ff ? 0xe000 : last + 1);
}

/** The newest living entry of one scope whose key starts with the prefix. */
export function* findPrefix(n: EntryName & { now: number }): Steps<Entry | undefined> {
  const row = yield* first(
    `${SELECT} WHERE e.cache = ?1 AND e.keyspace = ?2 AND e.scope = ?3 AND e.version = ?4 AND e.key >= ?5 AND e.key < ?6 AND (e.expires IS NULL OR e.expires > ?7) ` +
      "ORDER BY e.created DESC, e.id DESC LIMIT 1",
    n.cache, n.keyspace, n.scope, n.version, n.key, afterPrefix(n.key), n.now,
  );
  return row && entryOf(row);
}

/** The parts of a body, in order. */
export function* entryParts(args: { entry: number }): Steps<BlobLocation[]> {
  const rows = yield* all(`SELECT ${BLOB_COLUMNS} FROM entry_parts p JOIN blobs b ON b.id = p.blob WHERE p.entry = ?1 ORDER BY p.seq`, args.entry);
  return rows.map((row) => blobOf(row)!);
}

export interface NewEntry extends EntryName {
  readonly metadata: string | null;
  readonly trusted: boolean;
  readonly expires: number | null;
  readonly now: number;
  /** Replace an entry with the same name; otherwise its being there is the result `exists`. */
  readonly overwrite: boolean;
  /** What must stay as long as this entry does. Undefined: nothing, and nobody needs this one. */
  readonly needs?: readonly NeededName[] | undefined;
  /** Never evicted; only its own time, or who names it, removes it. */
  readonly kept?: boolean | undefined;
  readonly audit: AuditRecord;
}

export type PutResult =
  | { readonly status: "created" | "replaced"; readonly entry: Entry; readonly unused: { store: string; name: string }[] }
  | { readonly status: "exists"; readonly entry: Entry; readonly unused: { store: string; name: string }[] };

/** Whether a writer may take an entry's place: its keyspace allows it, or its time is over and readers miss it already. */
export function gives(entry: Entry, args: { overwrite: boolean; now: number }): boolean {
  return args.overwrite || (entry.expires !== null && entry.expires <= args.now);
}

/** Makes an entry with a one-blob body visible. */
export function* putEntry(args: NewEntry & { blob: NewBlob }, slot: number): Steps<PutResult> {
  const file = args.blob.store === null ? [] : [{ store: args.blob.store, name: args.blob.name! }];
  // Locks are taken in the order entry, blobs, usage by all writers, so that they seldom lock each other out.
  const place = yield* takePlace(args);
  if (place.taken) return { status: "exists", entry: place.taken, unused: file };
  const { duplicate, ...blob } = yield* claimBlob(args.cache, args.blob);
  const put = yield* insertEntry(args, { size: blob.size, digest: blob.digest, blob }, [], place.dropped, slot);
  if (put.status !== "exists") return { ...put, unused: duplicate ? file : [] };
  yield* releaseBlobs([blob.id], args.now);
  return { ...put, unused: duplicate ? file : [] };
}

interface Body {
  readonly size: number;
  readonly digest: string | null;
  readonly blob: BlobLocation | null;
}

/** How many other writers of the same name a writer lets pass. */
const PATIENCE = 100;

/**
 * Deletes the rows of the entry in whose place another is to come, before anything else is locked: writers of one name wait
 * in line for it, instead of each for what the other holds. `taken`: its entry stays.
 */
export function* takePlace(args: EntryName & { overwrite: boolean; now: number }): Steps<{ taken?: Entry; dropped?: Dropped }> {
  for (let passed = 0; passed < PATIENCE; passed++) {
    const existing = yield* getEntry(args);
    if (!existing) return {};
    if (!gives(existing, args)) return { taken: existing };
    const dropped = yield* dropRows(existing.id);
    // Otherwise another connection has replaced it since we looked.
    if (dropped) return { dropped };
  }
  throw new Conflict("too many writers of one name at once");
}

/**
 * Inserts the row, its parts, usage and audit line. `exists`: another writer came first, and what it wrote stays.
 * @param dropped the rows of the entry whose place this one takes
 */
export function* insertEntry(
  args: NewEntry,
  body: Body,
  parts: readonly BlobLocation[],
  dropped: Dropped | undefined,
  slot: number,
): Steps<{ status: "created" | "replaced" | "exists"; entry: Entry }> {
  // What is needed stays so when it is replaced.
  const needs = args.needs ?? (dropped?.marked ? [] : undefined);
  const mark = needs === undefined ? null : markOf(args.cache, args);
  const row = yield* first(
    "INSERT INTO entries (cache, keyspace, scope, key, version, size, digest, blob, metadata, trusted, created, accessed, expires, mark, held) " +
      "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?11, ?12, ?13, ?14) ON CONFLICT (cache, keyspace, key, version, scope) DO NOTHING RETURNING id",
    args.cache, args.keyspace, args.scope, args.key, args.version, body.size, body.digest, body.blob?.id ?? null, args.metadata,
    flag(args.trusted), args.now, args.expires, mark, flag(args.kept ?? false),
  );
  if (!row) {
    // Another connection has made an entry of this name since we found none.
    const existing = yield* getEntry(args);
    if (!existing || gives(existing, args)) throw new Conflict("the name was written by another at the same time");
    return { status: "exists", entry: existing };
  }
  const id = row["id"] as number;
  if (parts.length > 0) yield parts.map((part, seq) => step("INSERT INTO entry_parts (entry, seq, blob) VALUES (?1, ?2, ?3)", id, seq, part.id));
  if (mark !== null) yield* addNeeds(id, mark, args.cache, needs!);
  if (dropped) yield* releaseBlobs(dropped.blobs, args.now);
  const counted = countUsage(dropped ? [dropped] : [], -1);
  const bytes = body.size + Buffer.byteLength(args.metadata ?? "");
  yield [auditStep(args.audit), ...usageSteps(countUsage([{ ...args, bytes }], 1, counted), slot)];
  const { cache, keyspace, scope, key, version, metadata, trusted, expires, now } = args;
  const entry = { id, cache, keyspace, scope, key, version, metadata, trusted, expires, created: now, accessed: now, ...body };
  return { status: dropped ? "replaced" : "created", entry };
}

/** An entry whose rows are gone, and the blobs that have still to be given back. */
export interface Dropped extends Counted {
  readonly entry: Entry;
  readonly blobs: readonly number[];
  /** It needed others, or others it. */
  readonly marked: boolean;
}

/** Deletes an entry's rows; `settle` does the rest. Undefined when it was gone already. @param unheld leave it if something needs it */
export function* dropRows(id: number, unheld = false): Steps<Dropped | undefined> {
  const row = yield* first(`DELETE FROM entries WHERE id = ?1${unheld ? " AND held = 0" : ""} RETURNING ${CHANGED}`, id);
  if (!row) return undefined;
  if (row["mark"] !== null) {
    yield* dropNeeds(id);
    yield dropMark(row["mark"] as number);
  }
  const entry = entryOf(row);
  const parts = yield* all("DELETE FROM entry_parts WHERE entry = ?1 RETURNING blob", id);
  const blobs = parts.map((part) => part["blob"] as number);
  if (row["blob"] !== null) blobs.push(row["blob"] as number);
  return { cache: entry.cache, keyspace: entry.keyspace, trusted: entry.trusted, bytes: bytesOf(row), entry, blobs, marked: row["mark"] !== null };
}

/** Gives the blobs of dropped entries back and takes them out of the usage. */
function* settle(dropped: readonly Dropped[], now: number, slot: number): Steps<void> {
  if (dropped.length === 0) return;
  yield* releaseBlobs(dropped.flatMap((one) => one.blobs), now);
  yield usageSteps(countUsage(dropped, -1), slot);
}

/**
 * Deletes entries by id, at most 500, with one audit line for the batch. Returns those that were there, without their metadata.
 * @param args.unheld in the order given, and only what nothing needs once those before it are gone
 */
export function* removeEntries(args: { ids: number[]; now: number; audit: AuditRecord; unheld?: boolean }, slot: number): Steps<Entry[]> {
  const dropped: Dropped[] = [];
  const ids = args.ids.slice(0, 500);
  // Ascending order, as in everything that locks several rows.
  for (const id of args.unheld ? ids : ids.toSorted((a, b) => a - b)) {
    const one = yield* dropRows(id, args.unheld);
    if (one) dropped.push(one);
  }
  const gone = dropped.map((one) => one.entry);
  if (gone.length === 0) return gone;
  yield* settle(dropped, args.now, slot);
  const one = gone.length === 1 ? gone[0]! : undefined;
  yield auditStep({
    ...args.audit,
    size: gone.reduce((sum, entry) => sum + entry.size, 0),
    ...(one ? { keyspace: one.keyspace, scope: one.scope, key: one.key } : { key: `${gone.length} entries` }),
  });
  return gone;
}

/** Records uses: access times, and that a trusted scope has read a content-addressed entry (which makes it trusted). */
export function* touchEntries(args: { touches: { id: number; at: number; trust: boolean }[] }, slot: number): Steps<void> {
  // Ascending order: two replicas that have seen the same entries used can't lock each other out.
  const touches = args.touches.toSorted((a, b) => a.id - b.id);
  if (touches.length > 0) yield touches.map((t) => step("UPDATE entries SET accessed = ?2 WHERE id = ?1 AND accessed < ?2", t.id, t.at));
  const lifted: Counted[] = [];
  for (const t of touches) {
    const row = t.trust ? yield* first(`UPDATE entries SET trusted = 1 WHERE id = ?1 AND trusted = 0 RETURNING ${CHANGED}`, t.id) : undefined;
    if (row) lifted.push({ ...entryOf(row), bytes: bytesOf(row) });
  }
  const away = countUsage(lifted.map((entry) => ({ ...entry, trusted: false })), -1);
  if (lifted.length > 0) yield usageSteps(countUsage(lifted, 1, away), slot);
}

/** Remembers the digest of a whole body in parts, once a protocol had to compute it. */
export function* setDigest(args: { id: number; digest: string }): Steps<void> {
  yield step("UPDATE entries SET digest = ?2 WHERE id = ?1 AND digest IS NULL", args.id, args.digest);
}

export interface EntryQuery {
  cache: string;
  keyspace?: string;
  /** Only these scopes; an empty list finds nothing. */
  scopes?: readonly string[];
  prefix?: string;
  version?: string;
  /** Only entries with this id or a larger one. */
  from?: number;
  /** Only entries with a smaller id (from the previous page). */
  before?: number;
  /** Only entries that are alive at this time. */
  now?: number;
  limit: number;
}

/** Newest first, at most 500 a page, without their metadata. */
export function* listEntries(q: EntryQuery): Steps<Entry[]> {
  if (q.scopes?.length === 0) return [];
  const values: Value[] = [q.cache, q.before ?? Number.MAX_SAFE_INTEGER];
  const where = ["e.cache = ?1", "e.id < ?2"];
  const bind = (value: Value) => `?${values.push(value)}`;
  if (q.from !== undefined) where.push(`e.id >= ${bind(q.from)}`);
  if (q.keyspace !== undefined) where.push(`e.keyspace = ${bind(q.keyspace)}`);
  if (q.version !== undefined) where.push(`e.version = ${bind(q.version)}`);
  if (q.prefix) where.push(`e.key >= ${bind(q.prefix)} AND e.key < ${bind(afterPrefix(q.prefix))}`);
  if (q.now !== undefined) where.push(`(e.expires IS NULL OR e.expires > ${bind(q.now)})`);
  if (q.scopes) where.push(`e.scope IN (${q.scopes.map(bind).join(", ")})`);
  const rows = yield* all(`${BULK} WHERE ${where.join(" AND ")} ORDER BY e.id DESC LIMIT ${bind(Math.min(q.limit, 500))}`, ...values);
  return rows.map(entryOf);
}

/** Entries whose time is over, oldest first, at most 500, without their metadata. @param args.after the last one of the page before */
export function* expiredEntries(args: { now: number; after?: Entry | undefined }): Steps<Entry[]> {
  const { expires = -1, id = -1 } = args.after ?? {};
  const rows = yield* all(`${BULK} WHERE e.expires IS NOT NULL AND e.expires <= ?1 AND (e.expires, e.id) > (?2, ?3) ORDER BY e.expires, e.id LIMIT 500`, args.now, expires, id);
  return rows.map(entryOf);
}

/** A place in the order of eviction. */
export interface EvictionCursor {
  readonly accessed: number;
  readonly id: number;
}

/** An entry that may be evicted. */
export interface Candidate extends Entry {
  /** Whether it needs others, which may go after it. */
  readonly needing: boolean;
}

const NEEDING = "CASE WHEN e.mark IS NOT NULL AND EXISTS (SELECT 1 FROM needs n WHERE n.entry = e.id) THEN 1 ELSE 0 END AS needing";
const CANDIDATES = BULK.replace(" FROM entries", `, ${NEEDING} FROM entries`);

function candidateOf(row: Row): Candidate {
  return { ...entryOf(row), needing: row["needing"] === 1 };
}

/**
 * The least recently used entries of one class of a cache, not used since `before`, at most 500, without their metadata.
 * @param args.after the last one of the page before @param args.held those that others need, instead of those that nobody does
 */
export function* evictionCandidates(args: { cache: string; trusted: boolean; before: number; limit: number; after?: EvictionCursor | undefined; held?: boolean }): Steps<Candidate[]> {
  const { accessed, id } = args.after ?? { accessed: -1, id: -1 };
  const rows = yield* all(
    `${CANDIDATES} WHERE e.cache = ?1 AND e.trusted = ?2 AND e.held = ?7 AND e.accessed < ?3 AND (e.accessed, e.id) > (?4, ?5) ORDER BY e.accessed, e.id LIMIT ?6`,
    args.cache, flag(args.trusted), args.before, accessed, id, Math.min(args.limit, 500), flag(args.held ?? false),
  );
  return rows.map(candidateOf);
}

/** What an entry needs, as far as it is there, and how many need that. */
export function* neededEntries(args: { entry: number }): Steps<(Candidate & { readonly refs: number })[]> {
  const rows = yield* all(
    `${CANDIDATES.replace(" FROM entries", ", m.refs FROM entries")} JOIN needs w ON w.mark = e.mark JOIN marks m ON m.mark = w.mark WHERE w.entry = ?1 ORDER BY e.id`,
    args.entry,
  );
  return rows.map((row) => ({ ...candidateOf(row), refs: row["refs"] as number }));
}

/** Entries whose body needs this blob, at most 500. */
export function* entriesOfBlob(args: { blob: number }): Steps<number[]> {
  const rows = yield* all("SELECT id FROM entries WHERE blob = ?1 UNION SELECT entry AS id FROM entry_parts WHERE blob = ?1 LIMIT 500", args.blob);
  return rows.map((row) => row["id"] as number);
}

/** Entries of a cache whose body is a list of parts, but those of one keyspace, oldest first, at most 100, without their metadata. */
export function* partedEntries(args: { cache: string; except?: string; minSize: number; before: number; limit: number }): Steps<Entry[]> {
  const rows = yield* all(
    `${BULK} WHERE e.cache = ?1 AND e.blob IS NULL AND e.size >= ?2 AND e.created < ?3 AND e.keyspace <> ?5 ORDER BY e.created LIMIT ?4`,
    args.cache, args.minSize, args.before, Math.min(args.limit, 100), args.except ?? "",
  );
  return rows.map(entryOf);
}

/** Points an entry in parts at one blob with the same bytes, and gives the parts back. */
export function* joinParts(args: { id: number; blob: NewBlob; now: number }): Steps<{ joined: boolean; unused: { store: string; name: string }[] }> {
  const file = args.blob.store === null ? [] : [{ store: args.blob.store, name: args.blob.name! }];
  // The update is also the lock against a removal of the entry.
  const row = yield* first("UPDATE entries SET digest = ?2 WHERE id = ?1 AND blob IS NULL RETURNING cache", args.id, args.blob.digest);
  if (!row) return { joined: false, unused: file };
  const blob = yield* claimBlob(row["cache"] as string, args.blob);
  yield step("UPDATE entries SET blob = ?2 WHERE id = ?1", args.id, blob.id);
  const parts = yield* all("DELETE FROM entry_parts WHERE entry = ?1 RETURNING blob", args.id);
  yield* releaseBlobs(parts.map((part) => part["blob"] as number), args.now);
  return { joined: true, unused: blob.duplicate ? file : [] };
}
