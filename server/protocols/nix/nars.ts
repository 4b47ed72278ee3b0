import type { Lookup } from "../../core/catalog.ts";
import type { Core } from "../../core/core.ts";
import type { Entry } from "../../core/entry.ts";
import type { Grant } from "../../core/grant.ts";
import type { MaybePromise } from "../../database/database.ts";
import { Places } from "../../http/limits.ts";
import { NARS } from "./keyspaces.ts";
import { NarInspector, type NarContent } from "./nar-content.ts";

/** NARs unpacked at once; others wait. A tool that unpacks may take a quarter of a gigabyte. */
const UNPACKED = 4;
const UNPACK_PATIENCE = 120_000;

export interface PutNar {
  /** Bytes, where the sender says it. */
  readonly size?: number | undefined;
  readonly address?: string;
}

/** The NARs of all scopes of a cache, by the SHA-256 (hex) of their files, as they were sent. */
export class Nars {
  readonly #core: Core;
  readonly #places = new Places(UNPACKED, UNPACK_PATIENCE);

  constructor(core: Core) {
    this.#core = core;
  }

  get(grant: Grant, fileHash: string): MaybePromise<Lookup> {
    return this.#core.catalog.get(grant, NARS, fileHash);
  }

  /**
   * Stores a file, unpacking it on its way to know the NAR's own hash. Sending it is the only way to it from another cache.
   * @throws digestMismatch (not the file of this hash, or nothing that unpacks), tooLarge, and what Bodies.put throws
   */
  async put(grant: Grant, fileHash: string, body: AsyncIterable<Buffer>, { size, address = "" }: PutNar = {}): Promise<Entry> {
    const inspector = new NarInspector(this.#core.caches.require(grant.cache).entrySize, this.#places);
    const metadata = () => JSON.stringify(inspector.content);
    return (await this.#core.bodies.put(grant, NARS, fileHash, inspector.pass(body), { size, metadata, needs: [], address })).entry;
  }
}

const known = new WeakMap<Entry, NarContent>();

/** What an entry of NARS holds. */
export function contentOf(nar: Entry): NarContent {
  let content = known.get(nar);
  if (!content) {
    content = JSON.parse(nar.metadata ?? "{}") as NarContent;
    if (content.compression === "none") content = { ...content, narHash: nar.key, narSize: nar.size };
    known.set(nar, content);
  }
  return content;
}
