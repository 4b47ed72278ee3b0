import type { Places } from "./paths.ts";

/** What both directions are told. */
export interface ArchiveOptions {
  readonly key: string;
  readonly version: string;
  /** Files and directories; when restoring also patterns, below whose literal beginnings the archive must stay. */
  readonly paths: readonly string[];
  /** The workspace: relative paths start here. */
  readonly root: string;
  /** Default: the user's. */
  readonly home?: string;
  /** Where the index of what was seen last is kept. */
  readonly stateDir: string;
  /** Transfers at once. */
  readonly concurrency?: number;
  readonly onProgress?: ((progress: Progress) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
  /** After so long it is given up, ms. */
  readonly deadlineMs: number;
}

/** How far it is; bytes and ms. */
export interface Progress {
  /** Of the files: dealt with so far, and in all. */
  readonly bytes: number;
  readonly total: number;
  /** Over the network so far. */
  readonly transferred: number;
  readonly elapsed: number;
}

export interface Prepared extends ArchiveOptions {
  readonly places: Places;
  readonly signal: AbortSignal;
}

/** Runs tasks over a list, some at once; the first failure ends them all. */
export async function pool<T>(items: Iterable<T>, concurrency: number, task: (item: T) => Promise<void>): Promise<void> {
  const iterator = items[Symbol.iterator]();
  let failed = false;
  const runner = async () => {
    while (!failed) {
      const { value, done } = iterator.next();
      if (done) return;
      try {
        await task(value);
      } catch (error) {
        failed = true;
        throw error;
      }
    }
  };
  // All must have stopped before what they work with is taken away.
  const results = await Promise.allSettled(Array.from({ length: concurrency }, runner));
  for (const result of results) if (result.status === "rejected") throw result.reason;
}
