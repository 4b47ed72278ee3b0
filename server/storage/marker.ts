import { randomUUID } from "node:crypto";
import fs from "node:fs/promises";
import path from "node:path";
import { errors } from "../core/errors.ts";

const FILE = ".stowhouse";

/**
 * Makes sure that a directory is the one the index knows: every storage directory holds a file with an id of its own. A disk
 * that is not mounted looks like an empty one, and every entry in it would be taken for lost.
 * @param known the id the index has for this storage; it keeps the candidate when it has none
 * @throws config when the directory is another one
 */
export async function assertOwnDirectory(storage: string, root: string, known: (candidate: string) => Promise<string>): Promise<void> {
  const file = path.join(root, FILE);
  const found = await fs.readFile(file, "utf8").then((text) => text.trim(), (error: NodeJS.ErrnoException) => (error.code === "ENOENT" ? undefined : Promise.reject(error)));
  const candidate = found ?? randomUUID();
  const wanted = await known(candidate);
  if (found !== undefined && found === wanted) return;
  if (found === undefined && wanted === candidate) return write(file, candidate);
  throw errors.config(
    `storages.${storage}.path: ${root} is not the directory that the index knows (${found === undefined ? "it has no marker" : "its marker is another one"}). ` +
      `Mount the right one. If its blobs are really gone: echo ${wanted} > ${file}, and their entries become misses.`,
  );
}

async function write(file: string, id: string): Promise<void> {
  const handle = await fs.open(file, "wx");
  try {
    await handle.writeFile(`${id}\n`);
    await handle.sync();
  } finally {
    await handle.close();
  }
}
