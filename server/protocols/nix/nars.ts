import type { Lookup } from "../../core/catalog.ts";
import type { Core } from "../../core/core.ts";
import type { Entry, Keyspace } from "../../core/entry.ts";
import { errors } from "../../core/errors.ts";
import type { Grant } from "../../core/grant.ts";
import type { Upload } from "../../core/uploads.ts";
import type { MaybePromise } from "../../database/database.ts";
import { Places } from "../../http/limits.ts";
import { NARS } from "./keyspaces.ts";
import { NarInspector, type NarContent } from "./nar-content.ts";
import type { NarInfo } from "./narinfo.ts";

/** NARs unpacked at once; others wait. A tool that unpacks may take a quarter of a gigabyte. */
const UNPACKED = 4;
const UNPACK_PATIENCE = 120_000;

export interface PutNar {
  /** Bytes, where the sender says it. */
  readonly size?: number | undefined;
  readonly address?: string;
}

/** What came in parts is a NAR's file from now on, once it was read. */
export interface AdoptNar {
  /** Where parts are collected. */
  readonly from: Keyspace;
  readonly upload: Upload;
  readonly parts: string[] | null;
  readonly size?: number;
  /** Refuses a NAR that is not what its sender says it is. */
  readonly check: (content: NarContent) => void;
  readonly address?: string;
}

/** The NARs of all scopes of a cache, by the SHA-256 (hex) of their files, as they were sent. */
export class Nars {
  readonly #core: Core;
  readonly #places = new Places(UNPACKED, UNPACK_PATIENCE);
  /** Read again at once. */
  readonly #adopted = new Places(UNPACKED, UNPACK_PATIENCE);

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

  /** Makes an upload in parts a NAR of this cache, by the same rules. @throws as `put`, uploadGone, and what `check` throws */
  async adopt(grant: Grant, fileHash: string, { from, upload, parts, size, check, address = "" }: AdoptNar): Promise<Entry> {
    const inspector = new NarInspector(this.#core.caches.require(grant.cache).entrySize, this.#places);
    const metadata = () => {
      check(inspector.content);
      return JSON.stringify(inspector.content);
    };
    const leave = await this.#adopted.take();
    try {
      return await this.#core.uploads.commitVerified(grant, from, upload, NARS, fileHash, { parts, size, pass: (body) => inspector.pass(body), metadata, address });
    } finally {
      leave();
    }
  }
}

const known = new WeakMap<Entry, NarContent>();

/** What an entry of NARS holds. */
export function contentOf(nar: Entry): NarContent {
  let content = known.get(nar);
  if (!content) {
    content = described(nar, JSON.parse(nar.metadata ?? "{}") as NarContent);
    known.set(nar, content);
  }
  return content;
}

/** What an inspector has found in a NAR's file, a plain NAR by the file's own digest. */
export function described(nar: Entry, content: NarContent): NarContent {
  return content.compression === "none" ? { ...content, narHash: nar.key, narSize: nar.size } : content;
}

/** @throws badRequest unless a NAR is what a narinfo says of it, as far as anybody has verified it */
export function assertContent(content: NarContent, said: Pick<NarInfo, "compression" | "narHash" | "narSize">): void {
  if (content.compression !== undefined && content.compression !== said.compression) throw errors.badRequest(`the NAR's compression is ${content.compression}`);
  if (content.narHash !== undefined && (content.narHash !== said.narHash || content.narSize !== said.narSize)) throw errors.badRequest("the NAR does not have this NarHash and NarSize");
}
