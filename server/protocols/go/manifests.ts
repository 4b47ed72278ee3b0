import type { Core } from "../../core/core.ts";
import type { Keyspace } from "../../core/entry.ts";
import type { Grant } from "../../core/grant.ts";
import { ID_BYTES, MAX_IDS } from "./wire.ts";

/** Which actions the last builds under a label used, in the order of their first use. */
export const MANIFESTS: Keyspace = { name: "go-manifest", maxKeyLength: 1024, overwrite: true };

/** An action, and for how many builds in a row it was not used. */
export interface Listed {
  readonly action: string;
  readonly unused: number;
}

/** Builds in a row which don't use an action, until the manifest gives it up: not every build of a label asks for all. */
const PATIENCE = 2;
const ITEM_BYTES = ID_BYTES + 1;

/** What this build used, then what earlier ones did and this one did not. */
export function merged(used: readonly string[], earlier: readonly Listed[]): Listed[] {
  const seen = new Set(used);
  const rest = earlier.filter(({ action, unused }) => !seen.has(action) && unused < PATIENCE).map(({ action, unused }) => ({ action, unused: unused + 1 }));
  return [...Array.from(seen, (action) => ({ action, unused: 0 })), ...rest].slice(0, MAX_IDS);
}

export function formatManifest(listed: readonly Listed[]): Buffer {
  const bytes = Buffer.alloc(listed.length * ITEM_BYTES);
  for (const [i, { action, unused }] of listed.entries()) {
    bytes.write(action, i * ITEM_BYTES, "hex");
    bytes[(i + 1) * ITEM_BYTES - 1] = unused;
  }
  return bytes;
}

export function parseManifest(bytes: Buffer): Listed[] {
  return Array.from({ length: Math.floor(bytes.length / ITEM_BYTES) }, (_, i) => {
    const at = i * ITEM_BYTES;
    return { action: bytes.toString("hex", at, at + ID_BYTES), unused: bytes[at + ID_BYTES]! };
  });
}

/** Manifests by label: a build reads that of its own ref, else of its base or default branch, and writes its own ref's. */
export class Manifests {
  readonly #core: Core;

  constructor(core: Core) {
    this.#core = core;
  }

  /** Empty when there is none. @throws readFailure */
  async read(grant: Grant, label: string): Promise<Listed[]> {
    const { entry } = await this.#core.catalog.get(grant, MANIFESTS, label);
    if (!entry) return [];
    this.#core.catalog.touch(entry, grant);
    return parseManifest(await this.#core.bodies.bytes(entry));
  }

  async write(grant: Grant, label: string, listed: readonly Listed[], address: string): Promise<void> {
    await this.#core.bodies.put(grant, MANIFESTS, label, formatManifest(listed), { overwrite: true, address });
  }
}
