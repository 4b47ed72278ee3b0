import type { createGunzip, createZstdDecompress } from "node:zlib";

/** Takes compressed bytes and hands the plain ones on. Its calls must not overlap. */
export interface Inflater {
  /** Resolves when it wants more. @throws Undecodable */
  write(chunk: Buffer): Promise<void>;
  /** Resolves when the last plain byte was handed on. @throws Undecodable */
  end(): Promise<void>;
  destroy(): void;
}

/** The bytes are not what they seem. */
export class Undecodable extends Error {}
/** Takes plain bytes; what it throws ends the inflating, and is thrown by the next call. */
export type Plain = (chunk: Buffer) => void;

type Decoder = ReturnType<typeof createGunzip> | ReturnType<typeof createZstdDecompress>;

/** One of node:zlib's decoders, which inflate beside the request thread. */
export class StreamInflater implements Inflater {
  readonly decoder: Decoder;
  readonly #closed: Promise<void>;
  #failure: unknown;

  constructor(decoder: Decoder, onPlain: Plain) {
    this.decoder = decoder;
    this.#closed = new Promise((resolve) => decoder.once("close", () => resolve()));
    decoder.on("error", (error) => (this.#failure ??= new Undecodable(error.message)));
    decoder.on("data", (chunk: Buffer) => {
      try {
        onPlain(chunk);
      } catch (error) {
        this.#failure ??= error;
        decoder.destroy();
      }
    });
  }

  async write(chunk: Buffer): Promise<void> {
    if (this.#failure === undefined) await Promise.race([new Promise<void>((done) => this.decoder.write(chunk, () => done())), this.#closed]);
    if (this.#failure !== undefined) throw this.#failure;
  }

  async end(): Promise<void> {
    this.decoder.end();
    await this.#closed;
    if (this.#failure !== undefined) throw this.#failure;
  }

  destroy(): void {
    this.decoder.destroy();
  }
}
