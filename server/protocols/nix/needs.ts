import type { Catalog } from "../../core/catalog.ts";
import { errors } from "../../core/errors.ts";
import type { Grant } from "../../core/grant.ts";
import { SHARED_SCOPE } from "../../core/scope.ts";
import type { NeededName } from "../../database/operations/needs.ts";
import { NARINFOS, NARS } from "./keyspaces.ts";
import type { NarInfo } from "./narinfo.ts";
import { parseBaseName } from "./store-path.ts";

/** Paths that one path may refer to: a thousand is a lot. */
const MAX_REFERENCES = 5_000;

/** A NAR, as others need it. @param fileHash hex */
export function narName(fileHash: string): NeededName {
  return { keyspace: NARS.name, scope: SHARED_SCOPE, key: fileHash };
}

/**
 * What must stay as long as a narinfo does: its NAR, and each path it refers to, in the scope where its writer sees it, or
 * wherever the writer would see it if it still comes.
 * @param nar SHA-256 of the NAR's file, hex @throws badRequest, readFailure
 */
export async function needsOf(catalog: Catalog, grant: Grant & { readonly write: string }, { storePath, references }: NarInfo, nar: string): Promise<NeededName[]> {
  if (references.length > MAX_REFERENCES) throw errors.badRequest(`it refers to more than ${MAX_REFERENCES} paths`);
  const names = [narName(nar)];
  for (const reference of references) {
    if (reference === storePath) continue;
    const key = parseBaseName(reference)!.hash;
    const { entry } = await catalog.get(grant, NARINFOS, key);
    for (const scope of entry ? [entry.scope] : new Set([grant.write, ...grant.read])) names.push({ keyspace: NARINFOS.name, scope, key });
  }
  return names;
}
