import type { Scope } from "./scope.ts";

/**
 * What a verified credential may do in one cache. Grants are made by identity/ alone and frozen; nothing a client says
 * changes one.
 */
export interface Grant {
  readonly cache: string;
  /** Scopes that are read, in this order: the first with a hit wins. */
  readonly read: readonly Scope[];
  /** The one scope that is written, or null for a read-only grant. */
  readonly write: Scope | null;
  /** Whether what it writes counts as trusted when room has to be made (design §4). */
  readonly trusted: boolean;
  readonly admin: boolean;
  /** Who it is, for audit, limits and URLs signed on its behalf: `key:<id>`, `session:<jti>`, `anonymous`. */
  readonly actor: string;
}
