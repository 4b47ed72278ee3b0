import { createHash } from "node:crypto";
import { errors } from "../../core/errors.ts";
import type { Places } from "../../http/limits.ts";
import { Undecodable, type Inflater } from "../inflate.ts";
import { inflater, NoTool, type Inflatable } from "./inflate.ts";

/** What is in a NAR's file, as far as we could find out; the same for the same bytes, whoever sent them. */
export interface NarContent {
  /** As a narinfo calls it; absent when the bytes are of none that we know. */
  readonly compression?: "none" | Inflatable;
  /** Of the NAR itself: SHA-256 in hex, and bytes. Absent: nobody has verified them. */
  readonly narHash?: string;
  readonly narSize?: number;
}

const MAGIC: readonly (readonly ["none" | Inflatable, Buffer])[] = [
  ["none", Buffer.from("\r\0\0\0\0\0\0\0nix-archive-1", "latin1")],
  ["zstd", Buffer.from("28b52ffd", "hex")],
  ["xz", Buffer.from("fd377a585a00", "hex")],
  ["bzip2", Buffer.from("BZh", "latin1")],
  ["gzip", Buffer.from("1f8b08", "hex")],
];
/** Bytes that tell any of them. */
const HEAD = 21;

/** The compression of a NAR's file by its first bytes: what a file's name says is a client's word. */
export function sniff(head: Buffer): "none" | Inflatable | undefined {
  return MAGIC.find(([, magic]) => head.subarray(0, magic.length).equals(magic))?.[0];
}

/** Looks into a NAR's file while it passes. */
export class NarInspector {
  readonly #limit: number;
  readonly #places: Places;
  readonly #sha256 = createHash("sha256");
  #size = 0;
  #content: NarContent = {};

  /**
   * @param limit largest NAR, unpacked, bytes: what packs well must not keep us busy for ever
   * @param places how many are unpacked at once
   */
  constructor(limit: number, places: Places) {
    this.#limit = limit;
    this.#places = places;
  }

  /** What was found, once the source has been read to its end. Plain NARs are left to be described by their own digest. */
  get content(): NarContent {
    return this.#content;
  }

  /** Hands the bytes on as they are. @throws digestMismatch (they can't be unpacked), tooLarge, tooManyUploads */
  async *pass(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    let head: Buffer | undefined = Buffer.alloc(0);
    let inflate: Inflater | undefined;
    let leave: (() => void) | undefined;
    try {
      for await (const chunk of source) {
        if (head) {
          head = Buffer.concat([head, chunk]);
          if (head.length >= HEAD) {
            ({ inflate, leave } = await this.#open(head));
            inflate = await this.#feed(inflate, head);
            head = undefined;
          }
        } else inflate = await this.#feed(inflate, chunk);
        yield chunk;
      }
      // Any compressed NAR is longer than this.
      if (head && sniff(head) !== undefined) throw errors.digestMismatch("the NAR breaks off");
      if (await this.#finish(inflate)) this.#content = { ...this.#content, narHash: this.#sha256.digest("hex"), narSize: this.#size };
    } finally {
      inflate?.destroy();
      leave?.();
    }
  }

  async #open(head: Buffer): Promise<{ inflate?: Inflater; leave?: () => void }> {
    const compression = sniff(head);
    this.#content = compression === undefined ? {} : { compression };
    if (compression === undefined || compression === "none") return {};
    const leave = await this.#places.take();
    return { inflate: inflater(compression, (plain) => this.#take(plain)), leave };
  }

  #take(plain: Buffer): void {
    this.#size += plain.length;
    if (this.#size > this.#limit) throw errors.tooLarge(`${this.#limit} bytes when unpacked`);
    this.#sha256.update(plain);
  }

  /** The same inflater, or none from now on where the system has no tool. */
  async #feed(inflate: Inflater | undefined, chunk: Buffer): Promise<Inflater | undefined> {
    try {
      await inflate?.write(chunk);
      return inflate;
    } catch (error) {
      return unverifiable(error);
    }
  }

  async #finish(inflate: Inflater | undefined): Promise<boolean> {
    try {
      await inflate?.end();
    } catch (error) {
      return unverifiable(error) !== undefined;
    }
    return inflate !== undefined;
  }
}

function unverifiable(error: unknown): undefined {
  if (error instanceof NoTool) return undefined;
  throw error instanceof Undecodable ? errors.digestMismatch(`the NAR can't be unpacked: ${error.message}`) : error;
}
