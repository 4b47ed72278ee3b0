import { readdirSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import path from "node:path";
import { tidyLines } from "./lines.ts";

/** A store is looked through at most so often, ms. */
const EVERY_MS = 3_600_000;
/** Temporary files of processes that are dead, ms. */
const ABANDONED_MS = 3_600_000;
/** After a store has grown too large it shrinks to this share. */
const LOW_WATER = 0.8;

interface Aged {
  readonly file: string;
  readonly size: number;
  readonly used: number;
}

/**
 * Keeps a disk store within its bounds: what was not used for too long goes, then what was not used for longest. Another
 * process's build may lose an output between its answer and go's use of it only if that was not used for an hour.
 */
export function trim(root: string, bounds: { maxSize: number; maxAge: number }, now = Date.now()): { removed: number; bytes: number } | undefined {
  const mark = path.join(root, "trimmed");
  if (now - (statSync(mark, { throwIfNoEntry: false })?.mtimeMs ?? 0) < EVERY_MS) return undefined;
  writeFileSync(mark, "");
  utimesSync(mark, now / 1000, now / 1000);
  const done = { removed: 0, bytes: 0 };
  const remove = ({ file, size }: Aged) => {
    rmSync(file, { force: true });
    done.removed++;
    done.bytes += size;
  };
  for (const file of list(path.join(root, "tmp"))) if (now - file.used > ABANDONED_MS) remove(file);
  const kept: Aged[] = [];
  for (const file of listDeep(path.join(root, "o"))) {
    if (now - file.used > bounds.maxAge) remove(file);
    else kept.push(file);
  }
  let total = kept.reduce((sum, { size }) => sum + size, 0);
  const low = total <= bounds.maxSize ? total : bounds.maxSize * LOW_WATER;
  const left = new Set(kept);
  for (const file of kept.toSorted((a, b) => a.used - b.used)) {
    if (total <= low || now - file.used < EVERY_MS) break;
    remove(file);
    left.delete(file);
    total -= file.size;
  }
  tidyLines(root, new Set(Array.from(left, ({ file }) => path.basename(file))));
  return done;
}

function listDeep(folder: string): Aged[] {
  return readdirSync(folder).flatMap((name) => list(path.join(folder, name)));
}

function list(folder: string): Aged[] {
  return readdirSync(folder).flatMap((name) => {
    const file = path.join(folder, name);
    const about = statSync(file, { throwIfNoEntry: false });
    return about ? [{ file, size: about.size, used: about.mtimeMs }] : [];
  });
}
