import type { Scope } from "./scope.ts";

/** Where a blob's bytes are: in the database (`store` = null) or in a named storage. */
export interface BlobLocation {
  readonly id: number;
  /** SHA-256, lower-case hex. */
  readonly digest: string;
  readonly size: number;
  readonly store: string | null;
  /** The name the storage gave it; opaque to all others. */
  readonly name: string | null;
}

/** One visible entry of the catalog. Times are milliseconds since the epoch, sizes are bytes. */
export interface Entry {
  readonly id: number;
  readonly cache: string;
  readonly keyspace: string;
  readonly scope: Scope;
  readonly key: string;
  readonly version: string;
  readonly size: number;
  /** SHA-256 of the whole body; null for a body in several parts whose digest no protocol needed yet. */
  readonly digest: string | null;
  /** The blob of a one-part body; null when the body is a list of parts (see Database.parts). */
  readonly blob: BlobLocation | null;
  /** Protocol's own small data, as stored (JSON text), or null. */
  readonly metadata: string | null;
  readonly trusted: boolean;
  readonly created: number;
  readonly accessed: number;
  readonly expires: number | null;
}

/** How a keyspace behaves; declared by its protocol. */
export interface Keyspace {
  readonly name: string;
  /** Key is the SHA-256 of the body: verified on write, shared by all scopes of a cache. */
  readonly contentAddressed?: boolean;
  /** Longest key in UTF-8 bytes. */
  readonly maxKeyLength: number;
  /** Whether a writer may replace an entry of its own scope. Default: entries are immutable. */
  readonly overwrite?: boolean;
}
