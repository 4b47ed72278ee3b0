import { randomBytes } from "node:crypto";
import fs, { type FileHandle } from "node:fs/promises";
import path from "node:path";
import { errors } from "../../../core/errors.ts";

/** The disk that arriving bodies may take together, and where they lie. */
export class SpoolSpace {
  readonly directory: string;
  readonly #limit: number;
  #used = 0;

  /** @param limit bytes */
  constructor(directory: string, limit: number) {
    this.directory = directory;
    this.#limit = limit;
  }

  get used(): number {
    return this.#used;
  }

  /** @throws upstreamBusy when the others leave no room for it */
  take(bytes: number): void {
    if (this.#used + bytes > this.#limit) throw errors.upstreamBusy("", { retryAfter: 10 });
    this.#used += bytes;
  }

  giveBack(bytes: number): void {
    this.#used -= bytes;
  }
}

/**
 * A body on its way: written at its end, read anywhere before that at the same time. Its file has no name from the first
 * moment on, so nothing is left of it when the process dies.
 */
export class Spool {
  readonly #space: SpoolSpace;
  readonly #file: FileHandle;
  #taken: number;
  #length = 0;

  private constructor(space: SpoolSpace, file: FileHandle, taken: number) {
    this.#space = space;
    this.#file = file;
    this.#taken = taken;
  }

  /** @param expected bytes, 0 when nobody knows @throws upstreamBusy, and the system's errors */
  static async open(space: SpoolSpace, expected: number): Promise<Spool> {
    space.take(expected);
    try {
      await fs.mkdir(space.directory, { recursive: true, mode: 0o700 });
      const name = path.join(space.directory, `stowhouse-nar-${randomBytes(12).toString("hex")}`);
      const file = await fs.open(name, "wx+", 0o600);
      await fs.unlink(name);
      return new Spool(space, file, expected);
    } catch (error) {
      space.giveBack(expected);
      throw error;
    }
  }

  /** Bytes written. */
  get length(): number {
    return this.#length;
  }

  /** One after the other. @throws upstreamBusy, and the system's errors */
  async append(chunk: Buffer): Promise<void> {
    const more = this.#length + chunk.length - this.#taken;
    if (more > 0) {
      this.#space.take(more);
      this.#taken += more;
    }
    for (let at = 0; at < chunk.length; ) {
      const { bytesWritten } = await this.#file.write(chunk, at, chunk.length - at, this.#length + at);
      if (bytesWritten === 0) throw Object.assign(new Error("the filesystem took no bytes"), { code: "EIO" });
      at += bytesWritten;
    }
    this.#length += chunk.length;
  }

  /** Hands [start, end) of what is written to `push`, in `buffer`, which is the caller's again when it resolves. */
  async read(start: number, end: number, buffer: Buffer, push: (chunk: Buffer) => Promise<void> | undefined): Promise<void> {
    for (let at = start; at < end; ) {
      const wanted = Math.min(buffer.length, end - at);
      for (let filled = 0; filled < wanted; ) {
        const { bytesRead } = await this.#file.read(buffer, filled, wanted - filled, at + filled);
        if (bytesRead === 0) throw new Error("the spool is shorter than what was written to it");
        filled += bytesRead;
      }
      await push(buffer.subarray(0, wanted));
      at += wanted;
    }
  }

  /** Starts over. */
  async clear(): Promise<void> {
    this.#length = 0;
    await this.#file.truncate(0);
  }

  /** Once, when nobody reads any more. */
  async close(): Promise<void> {
    this.#space.giveBack(this.#taken);
    this.#taken = 0;
    await this.#file.close();
  }
}
