import type { Keyspace } from "../../core/entry.ts";
import { errors } from "../../core/errors.ts";
import { DEBUGINFO, LISTINGS, LOGS } from "./keyspaces.ts";
import { parseBaseName } from "./store-path.ts";
import { PATHS } from "./wire.ts";

/** Seconds for which a proxy may keep one. */
export const DOCUMENT_AGE = 300;
const MAX_DEBUGINFO = 64 * 1024;

/** A kind of what belongs to a path. */
export interface Document {
  readonly path: string;
  readonly op: string;
  readonly keyspace: Keyspace;
  /** Its param. */
  readonly name: string;
  readonly type: string;
  /** Bytes, decoded. */
  readonly limit: number;
  readonly keyed?: (key: string) => boolean;
  /** @throws badRequest */
  readonly check?: (body: Buffer) => void;
}

/** What belongs to a path and is kept as it came: nothing of it is signed, and scopes keep it apart like narinfos. */
export const DOCUMENTS: readonly Document[] = [
  { path: PATHS.listing, op: "listing", keyspace: LISTINGS, name: "hash", type: "application/json", limit: 64 * 1024 * 1024 },
  { path: PATHS.log, op: "log", keyspace: LOGS, name: "drv", type: "text/plain; charset=utf-8", limit: 256 * 1024 * 1024, keyed: (key) => parseBaseName(key) !== undefined },
  { path: PATHS.debuginfo, op: "debuginfo", keyspace: DEBUGINFO, name: "id", type: "application/json", limit: MAX_DEBUGINFO, check: checkDebuginfo },
];

/** Debuggers follow its archive, so it must be one of this cache's NARs. */
function checkDebuginfo(body: Buffer): void {
  let value: unknown;
  try {
    value = JSON.parse(body.toString("utf8"));
  } catch {
    // Said below.
  }
  const { archive, member } = (value ?? {}) as { archive?: unknown; member?: unknown };
  if (typeof archive !== "string" || !/^\.\.\/nar\/[0-9a-zA-Z._-]{1,200}$/.test(archive) || typeof member !== "string") {
    throw errors.badRequest("debuginfo names an archive ../nar/… and a member in it");
  }
}
