import { createHash, randomBytes } from "node:crypto";
import { expect } from "vitest";
import type { Entry } from "../../core/entry.ts";
import type { Database } from "../database.ts";
import type { AuditRecord } from "../operations/audit.ts";
import type { NewBlob } from "../operations/blobs.ts";
import type { EntryName } from "../operations/entries.ts";
import type { NeededName } from "../operations/needs.ts";
import type { Upload, Verified } from "../operations/uploads.ts";

export interface Subject {
  readonly database: Database;
  /** The same database as other processes have it open; at least the one above. */
  readonly replicas: readonly Database[];
  /** Runs any SQL on a connection of its own: for looking behind the operations. */
  query(sql: string): Promise<Record<string, unknown>[]>;
  stop(): Promise<void>;
}

let serial = 0;

/** A cache no other test uses. */
export function newCache(): string {
  return `cache-${++serial}`;
}

export function named(cache: string, key = "key", more: Partial<EntryName> = {}): EntryName {
  return { cache, keyspace: "gha", scope: "local:main", version: "", key, ...more };
}

export function audit(action = "put"): AuditRecord {
  return { at: 1, actor: "key:test", action, cache: "c", keyspace: "gha", scope: "local:main", key: "key", size: 1, result: "ok", address: "127.0.0.1" };
}

const digestOf = (bytes: Buffer) => createHash("sha256").update(bytes).digest("hex");

/** A body whose bytes go into the database. */
export function inline(text: string): NewBlob {
  const bytes = Buffer.from(text);
  return { digest: digestOf(bytes), size: bytes.length, store: null, name: null, bytes };
}

/** A body whose bytes are in a storage, under a name of its own. */
export function stored(text: string, store = "disk"): NewBlob {
  const bytes = Buffer.from(text);
  return { digest: digestOf(bytes), size: bytes.length, store, name: `${digestOf(bytes)}.${randomBytes(4).toString("hex")}`, bytes: null };
}

export interface PutOptions {
  overwrite?: boolean;
  trusted?: boolean;
  expires?: number | null;
  now?: number;
  metadata?: string | null;
  needs?: readonly NeededName[];
  kept?: boolean;
}

export function put(database: Database, name: EntryName, blob: NewBlob, options: PutOptions = {}) {
  return database.write("putEntry", { ...name, metadata: null, trusted: true, expires: null, now: 1_000, overwrite: false, audit: audit(), ...options, blob });
}

export function newUpload(name: EntryName, more: Partial<Upload> = {}): Upload {
  return {
    ...name, id: randomBytes(16).toString("hex"), number: randomBytes(6).readUIntBE(0, 6), actor: "key:test", trusted: true, metadata: null, created: 1_000, expires: 2_000, ...more,
  };
}

/** Reserves a name. @throws when it can't be had */
export async function reserve(database: Database, name: EntryName, more: Partial<Upload> = {}, now = 1_000): Promise<Upload> {
  const result = await database.write("reserveUpload", { upload: newUpload(name, more), now, overwrite: false });
  if (result.status !== "reserved") throw new Error("the name can't be reserved");
  return result.upload;
}

export function part(database: Database, upload: { id: string }, name: string, position: number, blob: NewBlob, now = 1_000) {
  return database.write("addPart", { id: upload.id, name, position, blob, now, expires: now + 1_000, maxParts: 100 });
}

export function commit(database: Database, upload: { id: string }, more: { parts?: string[] | null; size?: number; maxSize?: number; overwrite?: boolean; now?: number; verified?: Verified } = {}) {
  const { parts = null, size = null, maxSize = 1e9, overwrite = false, now = 1_000, verified } = more;
  return database.write("commitUpload", { id: upload.id, parts, size, maxSize, expires: null, metadata: null, now, overwrite, audit: audit(), verified });
}

export async function read(database: Database, name: EntryName): Promise<Entry | undefined> {
  return database.read("getEntry", name);
}

/** The bytes of an entry whose blobs are in the database. */
export async function textOf(database: Database, entry: Entry): Promise<string> {
  const parts = entry.blob ? [entry.blob] : await database.read("entryParts", { entry: entry.id });
  let text = "";
  for (const blob of parts) text += Buffer.from((await database.read("blobBytes", { blob: blob.id }))!).toString();
  return text;
}

const REFERENCES = `
  (SELECT count(*) FROM entries e WHERE e.blob = b.id) + (SELECT count(*) FROM entry_parts p WHERE p.blob = b.id) + (SELECT count(*) FROM upload_parts u WHERE u.blob = b.id)`;

/** What must be true after any sequence of operations; checked in the tables themselves. */
export async function expectSound(subject: Subject): Promise<void> {
  const none = async (what: string, sql: string) => expect(await subject.query(sql), what).toEqual([]);
  await none("refs is the number of references", `SELECT b.id, b.refs, ${REFERENCES} AS n FROM blobs b WHERE b.refs <> ${REFERENCES}`);
  await none("exactly the unreferenced blobs are orphans", `SELECT b.id, b.refs, b.orphaned FROM blobs b WHERE (b.refs = 0) <> (b.orphaned IS NOT NULL)`);
  await none("no entry lacks its blob", "SELECT e.id FROM entries e WHERE e.blob IS NOT NULL AND NOT EXISTS (SELECT 1 FROM blobs b WHERE b.id = e.blob)");
  await none("no part of an entry lacks its blob or entry", "SELECT p.* FROM entry_parts p WHERE NOT EXISTS (SELECT 1 FROM blobs b WHERE b.id = p.blob) OR NOT EXISTS (SELECT 1 FROM entries e WHERE e.id = p.entry)");
  await none("no part of an upload lacks its blob or upload", "SELECT p.* FROM upload_parts p WHERE NOT EXISTS (SELECT 1 FROM blobs b WHERE b.id = p.blob) OR NOT EXISTS (SELECT 1 FROM uploads u WHERE u.id = p.upload)");
  await none("every blob of the database has its bytes", "SELECT b.id FROM blobs b WHERE b.store IS NULL AND NOT EXISTS (SELECT 1 FROM blob_bytes y WHERE y.blob = b.id)");
  await none("no bytes are left behind", "SELECT y.blob FROM blob_bytes y WHERE NOT EXISTS (SELECT 1 FROM blobs b WHERE b.id = y.blob AND b.store IS NULL)");
  await none("no need lacks its entry", "SELECT n.* FROM needs n WHERE NOT EXISTS (SELECT 1 FROM entries e WHERE e.id = n.entry)");
  await none("refs of a mark is the number of needs", "SELECT m.* FROM marks m WHERE m.refs <> (SELECT count(*) FROM needs n WHERE n.mark = m.mark)");
  await none("no need lacks its mark", "SELECT n.* FROM needs n WHERE NOT EXISTS (SELECT 1 FROM marks m WHERE m.mark = n.mark)");
  await none("exactly what is needed, or kept, is held", "SELECT e.id, e.held FROM entries e WHERE e.scope <> 'kept' AND (e.held = 1) <> EXISTS (SELECT 1 FROM marks m WHERE m.mark = e.mark AND m.refs > 0)");
  await none(
    "usage is the sum of all entries, their metadata counted",
    `SELECT cache, keyspace, trusted, sum(entries) AS entries, sum(bytes) AS bytes FROM (
       SELECT cache, keyspace, trusted, entries, bytes FROM usage
       UNION ALL SELECT cache, keyspace, trusted, -1, -(size + coalesce(octet_length(metadata), 0)) FROM entries
       UNION ALL SELECT u.cache, 'uploads', u.trusted, -1, -p.size FROM upload_parts p JOIN uploads u ON u.id = p.upload
     ) AS balance GROUP BY cache, keyspace, trusted HAVING sum(entries) <> 0 OR sum(bytes) <> 0`,
  );
}
