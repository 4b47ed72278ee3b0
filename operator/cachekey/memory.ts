import type { Written } from "../status.ts";

/** What is remembered of a CacheKey between two looks at it. Losing it costs requests, never correctness. Times in ms. */
export interface Memory {
  readonly uid: string | undefined;
  readonly written: Written;
  /** When the server was last seen to have the key, and no stray one. */
  checked: number;
  /** Looks in a row for which the server was away. */
  silent: number;
  /** Caches that the server lacked when it was asked last. */
  missing: readonly string[];
  /** Keys that were lost in short order, and when the last was replaced. */
  lost: number;
  replaced: number;
}

export function newMemory(uid: string | undefined): Memory {
  return { uid, written: {}, checked: -Infinity, silent: 0, missing: [], lost: 0, replaced: -Infinity };
}
