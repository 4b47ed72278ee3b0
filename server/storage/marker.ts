import { randomUUID } from "node:crypto";
import fs from "node:fs/promises";
import path from "node:path";
import { errors } from "../core/errors.ts";
import { syncDirectory } from "./filesystem/system.ts";

const FILE = ".stowhouse";

/** What the index knows of a storage. */
export interface StorageIndex {
  /** The id it has for the storage; it keeps the candidate when it has none. */
  id(candidate: string): Promise<string>;
  /** Whether any blob should be there. */
  inUse(): Promise<boolean>;
}

/**
 * Makes sure that a directory is the one the index knows: every storage directory holds a file with an id of its own. A disk
 * that is not mounted looks like an empty one, and every entry in it would be taken for lost.
 * @throws config when the directory is another one
 */
export async function assertOwnDirectory(storage: string, root: string, index: StorageIndex): Promise<void> {
  const file = path.join(root, FILE);
  const found = await fs.readFile(file, "utf8").then((text) => text.trim() || undefined, (error: NodeJS.ErrnoException) => (error.code === "ENOENT" ? undefined : Promise.reject(error)));
  const wanted = await index.id(found ?? randomUUID());
  if (found === wanted) return;
  // Also after a first start that ended between index and file, and beside another process at its first start.
  if (found === undefined && !(await index.inUse())) return write(file, wanted);
  throw errors.config(
    `storages.${storage}.path: ${root} is not the directory that the index knows (${found === undefined ? "it has no marker" : "its marker is another one"}). ` +
      `Mount the right one. If its blobs are really gone: echo ${wanted} > ${file}, and their entries become misses.`,
  );
}

async function write(file: string, id: string): Promise<void> {
  const unfinished = `${file}.${randomUUID()}`;
  await fs.writeFile(unfinished, `${id}\n`, { flush: true });
  await fs.rename(unfinished, file);
  await syncDirectory(path.dirname(file));
}
