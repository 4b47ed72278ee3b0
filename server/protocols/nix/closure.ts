import type { NeededName } from "../../database/operations/needs.ts";
import type { NarInfo } from "./narinfo.ts";
import { parseBaseName } from "./store-path.ts";

/** Paths of a closure that are looked at: a system of NixOS has a few thousand. */
const MAX_PATHS = 100_000;
/** Paths that are named when they are missing. */
const NAMED = 100;
/** Paths looked at before others get their turn. */
const STEP = 64;

/** A path that is here. */
export interface ClosurePath {
  readonly info: NarInfo;
  /** Bytes of its NAR's file; undefined while that is not here. */
  readonly size: number | undefined;
  /** What keeps it, where nothing that refers to it does. */
  readonly names: readonly NeededName[];
}

export interface Closure {
  /** Those that are here. */
  readonly paths: number;
  /** Of their NARs' files. */
  readonly bytes: number;
  /** Base names of paths that are not here, or whose NARs are not; not all of them when they are many. */
  readonly missing: readonly string[];
  readonly missingCount: number;
  /** What has to be kept by name. */
  readonly names: readonly NeededName[];
  /** There are more than were looked at. */
  readonly cut: boolean;
}

/** A path and all that it refers to, over and over. @param root base name @param find what is here of a path, by the hash in its name */
export async function closureOf(root: string, find: (hash: string) => Promise<ClosurePath | undefined>): Promise<Closure> {
  const seen = new Set([root]);
  const missing: string[] = [];
  const names: NeededName[] = [];
  let [paths, bytes, missingCount, cut] = [0, 0, 0, false];
  // A set that grows while it is walked is walked to its end.
  for (const path of seen) {
    const found = await find(parseBaseName(path)!.hash);
    if (found?.size === undefined) {
      missingCount++;
      if (missing.length < NAMED) missing.push(path);
    }
    if (!found) continue;
    paths++;
    bytes += found.size ?? 0;
    names.push(...found.names);
    for (const reference of found.info.references) {
      if (seen.size < MAX_PATHS || seen.has(reference)) seen.add(reference);
      else cut = true;
    }
    if (paths % STEP === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  return { paths, bytes, missing, missingCount, names, cut };
}
