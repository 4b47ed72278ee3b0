import { readFileSync, renameSync, writeFileSync } from "node:fs";
import path from "node:path";
import { formatIds, MAX_IDS, parseIds } from "../../../server/protocols/go/wire.ts";

/**
 * Actions this machine has used lately, newest last: a bundle needs not hold them. One file instead of a look at every entry;
 * when it is wrong, an output is fetched by itself.
 */
export function readRecent(root: string): string[] {
  try {
    return parseIds(readFileSync(path.join(root, "recent")));
  } catch {
    return [];
  }
}

/** Adds to it; of two processes at once the last one's wins. */
export function writeRecent(root: string, used: ReadonlySet<string>): void {
  const all = [...readRecent(root).filter((action) => !used.has(action)), ...used].slice(-MAX_IDS);
  const temporary = path.join(root, "tmp", `recent-${process.pid}`);
  writeFileSync(temporary, formatIds(all));
  renameSync(temporary, path.join(root, "recent"));
}
