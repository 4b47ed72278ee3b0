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

/** What came last is read from RAM: who keeps up with the upstream costs no reads. Bytes. */
const RECENT_BYTES = 256 * 1024;
/** What came and is not written yet, at most, bytes. */
const UNWRITTEN_BYTES = 512 * 1024;

interface Piece {
  readonly at: number;
  readonly bytes: Buffer;
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
  #written = 0;
  /** The last bytes, without a gap up to the end; all that is not written yet is among them. */
  #recent: Piece[] = [];
  #writing: Promise<void> | undefined;
  #failure: unknown;

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

  /** Bytes that can be read. */
  get length(): number {
    return this.#length;
  }

  /** Takes the next bytes, which nobody may change any more. @throws upstreamBusy, and the system's errors of this or an earlier write */
  async append(bytes: Buffer): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    const more = this.#length + bytes.length - this.#taken;
    if (more > 0) {
      this.#space.take(more);
      this.#taken += more;
    }
    this.#recent.push({ at: this.#length, bytes });
    this.#length += bytes.length;
    this.#writing ??= this.#write().finally(() => (this.#writing = undefined));
    if (this.#length - this.#written > UNWRITTEN_BYTES) await this.flush();
  }

  /** Resolves when everything is written. @throws the system's errors */
  async flush(): Promise<void> {
    await this.#writing;
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** Never rejects; what fails, all later calls throw. */
  async #write(): Promise<void> {
    try {
      while (this.#written < this.#length && this.#failure === undefined) {
        const next = this.#recent.findIndex(({ at, bytes }) => at + bytes.length > this.#written);
        const batch = this.#recent.slice(next).map(({ at, bytes }) => (at < this.#written ? bytes.subarray(this.#written - at) : bytes));
        const { bytesWritten } = await this.#file.writev(batch, this.#written);
        if (bytesWritten === 0) throw Object.assign(new Error("the filesystem took no bytes"), { code: "EIO" });
        this.#written += bytesWritten;
        while (this.#recent.length > 1 && this.#recent[1]!.at <= Math.min(this.#written, this.#length - RECENT_BYTES)) this.#recent.shift();
      }
    } catch (error) {
      this.#failure = error;
    }
  }

  /**
   * Hands [start, end) of what came to `push`. A chunk is valid until its push has settled.
   * @param buffer for what has to be read again; the caller's again when it resolves
   */
  async read(start: number, end: number, buffer: Buffer, push: (chunk: Buffer) => Promise<void> | undefined): Promise<void> {
    for (let at = start; at < end; ) {
      const recent = this.#recent;
      const first = recent[0]?.at ?? this.#length;
      if (at >= first) {
        const piece = recent.findLast((one) => one.at <= at)!;
        const chunk = piece.bytes.subarray(at - piece.at, Math.min(piece.bytes.length, end - piece.at));
        await push(chunk);
        at += chunk.length;
        continue;
      }
      const wanted = Math.min(buffer.length, Math.min(end, first) - at);
      for (let filled = 0; filled < wanted; ) {
        const { bytesRead } = await this.#file.read(buffer, filled, wanted - filled, at + filled);
        if (bytesRead === 0) throw new Error("the spool is shorter than what was written to it");
        filled += bytesRead;
      }
      await push(buffer.subarray(0, wanted));
      at += wanted;
    }
  }

  /** Starts over. @throws the system's errors */
  async clear(): Promise<void> {
    await this.flush();
    this.#length = 0;
    this.#written = 0;
    this.#recent = [];
    await this.#file.truncate(0);
  }

  /** Once, when nobody reads any more. */
  async close(): Promise<void> {
    this.#failure ??= new Error("the spool is closed");
    await this.#writing;
    this.#recent = [];
    this.#space.giveBack(this.#taken);
    this.#taken = 0;
    await this.#file.close();
  }
}
