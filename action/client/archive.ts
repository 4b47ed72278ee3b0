import { homedir } from "node:os";
import { resolve } from "node:path";
import type { ArchiveOptions, Prepared } from "./archive/options.ts";
import { Remote, RemoteError, type Connection } from "./archive/remote.ts";
import { restore } from "./archive/restore.ts";
import { save } from "./archive/save.ts";

export type { ArchiveOptions, Progress } from "./archive/options.ts";
export type { Connection } from "./archive/remote.ts";

export interface SaveResult {
  /** `exists`: someone saved under this key before, or does so now. `denied`: the credential may not write. */
  readonly status: "saved" | "exists" | "denied" | "unavailable";
  readonly bytesSent: number;
  /** Of the files. */
  readonly bytesTotal: number;
  readonly files: number;
  /** Whether it is the archive that was saved or restored here last. */
  readonly unchanged: boolean;
  /** For people, where it did not go well. */
  readonly reason?: string;
}

export interface RestoreOptions extends ArchiveOptions {
  readonly restoreKeys: readonly string[];
  /** Only looks whether there is one. */
  readonly lookupOnly?: boolean;
}

export interface RestoreResult {
  readonly status: "hit" | "miss" | "unavailable";
  readonly matchedKey?: string;
  /** Whether it is the key itself, not one it or a restore key is the beginning of. */
  readonly exact?: boolean;
  /** Over the network. */
  readonly bytes: number;
  readonly files: number;
  readonly reason?: string;
}

/** Saves files and directories that exist. Never rejects: what goes wrong is in the result, and a build goes on. */
export async function saveArchive(connection: Connection, options: ArchiveOptions): Promise<SaveResult> {
  const prepared = prepare(options);
  const remote = new Remote(connection, prepared.signal);
  try {
    const saved = await save(remote, { ...prepared, paths: options.paths.map((path) => resolve(options.root, path)) });
    return { status: "saved", ...saved, bytesSent: remote.sent };
  } catch (error) {
    const status = error instanceof RemoteError ? error.status : 0;
    const refused = { 401: "denied", 403: "denied", 409: "exists" } as const;
    return { status: refused[status as keyof typeof refused] ?? "unavailable", bytesSent: remote.sent, bytesTotal: 0, files: 0, unchanged: false, reason: reasonOf(error, prepared.signal) };
  }
}

/**
 * Restores what was saved under the key or, if nothing was, under the newest key that it or a restore key is the beginning of.
 * Never rejects, and either all of it is there in the end or nothing has changed.
 */
export async function restoreArchive(connection: Connection, options: RestoreOptions): Promise<RestoreResult> {
  const prepared = prepare(options);
  const remote = new Remote(connection, prepared.signal);
  try {
    const found = await remote.find(options);
    if (!found) return { status: "miss", bytes: 0, files: 0 };
    const { files } = options.lookupOnly ? { files: 0 } : await restore(remote, found, prepared);
    return { status: "hit", matchedKey: found.key, exact: found.key === options.key, bytes: remote.received, files };
  } catch (error) {
    return { status: "unavailable", bytes: remote.received, files: 0, reason: reasonOf(error, prepared.signal) };
  }
}

/** @throws RangeError for a deadline that is none */
function prepare(options: ArchiveOptions): Prepared {
  const deadline = AbortSignal.timeout(options.deadlineMs);
  return {
    ...options,
    places: { workspace: resolve(options.root), home: resolve(options.home ?? homedir()) },
    signal: options.signal ? AbortSignal.any([options.signal, deadline]) : deadline,
  };
}

function reasonOf(error: unknown, signal: AbortSignal): string {
  return signal.aborted ? "it took longer than allowed, or was called off" : (error as Error).message;
}
