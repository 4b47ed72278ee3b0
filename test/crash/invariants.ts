import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import path from "node:path";
import { DatabaseSync } from "node:sqlite";
import postgres from "postgres";

type Row = Record<string, unknown>;
/** Runs one query on the index of a server that is down. */
export type Query = (sql: string) => Promise<Row[]>;

/** What must add up in the index, whatever happened. Each query finds rows that are wrong. */
const WRONG_ROWS: Record<string, string> = {
  "references that are not counted right": `
    SELECT b.id, b.refs, (SELECT count(*) FROM entries e WHERE e.blob = b.id) + (SELECT count(*) FROM entry_parts p WHERE p.blob = b.id) + (SELECT count(*) FROM upload_parts u WHERE u.blob = b.id) AS counted
    FROM blobs b WHERE b.refs <> (SELECT count(*) FROM entries e WHERE e.blob = b.id) + (SELECT count(*) FROM entry_parts p WHERE p.blob = b.id) + (SELECT count(*) FROM upload_parts u WHERE u.blob = b.id)`,
  "unreferenced blobs that nobody will collect": "SELECT id FROM blobs WHERE refs = 0 AND orphaned IS NULL",
  "referenced blobs marked for collection": "SELECT id FROM blobs WHERE refs > 0 AND orphaned IS NOT NULL",
  "entries whose blob has no row": "SELECT e.id FROM entries e LEFT JOIN blobs b ON b.id = e.blob WHERE e.blob IS NOT NULL AND b.id IS NULL",
  "parts whose blob has no row": "SELECT p.entry FROM entry_parts p LEFT JOIN blobs b ON b.id = p.blob WHERE b.id IS NULL",
  "parts without an entry": "SELECT p.entry FROM entry_parts p LEFT JOIN entries e ON e.id = p.entry WHERE e.id IS NULL",
  "parts without an upload": "SELECT p.upload FROM upload_parts p LEFT JOIN uploads u ON u.id = p.upload WHERE u.id IS NULL",
  "blobs in the database without bytes": "SELECT b.id FROM blobs b LEFT JOIN blob_bytes x ON x.blob = b.id WHERE b.store IS NULL AND b.size > 0 AND x.blob IS NULL",
  "bytes without a blob": "SELECT x.blob FROM blob_bytes x LEFT JOIN blobs b ON b.id = x.blob WHERE b.id IS NULL",
  "entries of another size than their parts": `
    SELECT e.id, e.size FROM entries e WHERE e.blob IS NULL AND e.size <> (SELECT coalesce(sum(b.size), 0) FROM entry_parts p JOIN blobs b ON b.id = p.blob WHERE p.entry = e.id)`,
  "usage that does not add up": `
    SELECT u.cache, u.keyspace, u.bytes, u.entries FROM (SELECT cache, keyspace, sum(bytes) AS bytes, sum(entries) AS entries FROM usage GROUP BY cache, keyspace) u
    WHERE u.keyspace <> 'uploads' AND (u.entries <> (SELECT count(*) FROM entries e WHERE e.cache = u.cache AND e.keyspace = u.keyspace)
      OR u.bytes <> (SELECT coalesce(sum(e.size + coalesce(octet_length(e.metadata), 0)), 0) FROM entries e WHERE e.cache = u.cache AND e.keyspace = u.keyspace))`,
  "usage of uploads that does not add up": `
    SELECT sum(u.bytes) AS bytes, sum(u.entries) AS entries FROM usage u WHERE u.keyspace = 'uploads'
    HAVING sum(u.bytes) <> (SELECT coalesce(sum(size), 0) FROM upload_parts) OR sum(u.entries) <> (SELECT count(*) FROM upload_parts)`,
};

/** What is wrong in the index; empty when all is well. */
export async function indexProblems(query: Query): Promise<string[]> {
  const problems: string[] = [];
  for (const [name, sql] of Object.entries(WRONG_ROWS)) {
    const rows = await query(sql);
    if (rows.length > 0) problems.push(`${rows.length} ${name}, like ${JSON.stringify(rows[0])}`);
  }
  return problems;
}

export function sqliteQuery(file: string): { query: Query; close: () => Promise<void> } {
  const database = new DatabaseSync(file, { readOnly: true });
  return { query: async (sql) => database.prepare(sql).all() as Row[], close: async () => database.close() };
}

export function postgresQuery(url: string): { query: Query; close: () => Promise<void> } {
  const sql = postgres(url, { max: 1, onnotice: () => {}, types: { int8: { to: 20, from: [20], parse: Number, serialize: String } } });
  return { query: async (text) => [...(await sql.unsafe(text))], close: () => sql.end() };
}

/** Files that no row names, rows whose file is missing or holds other bytes, left-overs of unfinished writes. */
export async function fileProblems(root: string, query: Query): Promise<string[]> {
  const problems: string[] = [];
  const files = new Set((await readdir(root, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile()).map((entry) => path.relative(root, path.join(entry.parentPath, entry.name))));
  for (const row of await query("SELECT name, size, digest FROM blobs WHERE store IS NOT NULL")) {
    const { name, size, digest } = row as { name: string; size: number; digest: string };
    if (!files.delete(name)) {
      problems.push(`no file for the row of ${name}`);
      continue;
    }
    const file = path.join(root, name);
    if ((await stat(file)).size !== size || (await digestOf(file)) !== digest) problems.push(`other bytes than its row says in ${name}`);
  }
  // Files with a dot in front are the storage's own.
  for (const file of files) if (!file.startsWith(".")) problems.push(`no row for the file ${file}`);
  return problems;
}

async function digestOf(file: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer);
  return hash.digest("hex");
}
