import { errors } from "../../core/errors.ts";

/** Reads a body piece by piece as it arrives; nothing is joined but what is asked for. */
export class RecordReader {
  readonly #source: AsyncIterator<Buffer>;
  #rest: Buffer = EMPTY;

  constructor(body: AsyncIterable<Buffer>) {
    this.#source = body[Symbol.asyncIterator]();
  }

  /** Whether the body goes on. */
  async more(): Promise<boolean> {
    while (this.#rest.length === 0) {
      const next = await this.#source.next();
      if (next.done) return false;
      this.#rest = next.value;
    }
    return true;
  }

  /** The next bytes, in memory of their own. @throws badRequest when the body ends before */
  async take(size: number): Promise<Buffer> {
    const bytes = Buffer.allocUnsafeSlow(size);
    await this.fill(bytes);
    return bytes;
  }

  /** Fills a buffer with the next bytes. @throws badRequest when the body ends before */
  async fill(bytes: Buffer): Promise<void> {
    let at = 0;
    for await (const chunk of this.stream(bytes.length)) at += chunk.copy(bytes, at);
  }

  /** The next bytes as they arrive. @throws badRequest when the body ends before */
  async *stream(size: number): AsyncGenerator<Buffer> {
    for (let left = size; left > 0; ) {
      if (!(await this.more())) throw errors.badRequest("the body ends in the middle of a blob");
      const chunk = this.#rest.subarray(0, left);
      this.#rest = this.#rest.subarray(chunk.length);
      left -= chunk.length;
      yield chunk;
    }
  }

  /** Gives the body up. */
  async close(): Promise<void> {
    await this.#source.return?.();
  }
}

const EMPTY = Buffer.alloc(0);
