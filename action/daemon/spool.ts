import { mkdirSync, rmSync } from "node:fs";
import { open, rm } from "node:fs/promises";
import path from "node:path";

const READ_SIZE = 256 * 1024;

/** Bodies that wait on disk, never more than `limit` bytes of them. */
export class Spool {
  readonly #directory: string;
  #limit: number;
  #used = 0;
  #number = 0;

  /** Whatever an earlier worker left there is of no use any more. */
  constructor(directory: string, limit: number) {
    this.#directory = directory;
    this.#limit = limit;
    rmSync(directory, { recursive: true, force: true });
    mkdirSync(directory, { recursive: true, mode: 0o700 });
  }

  hasRoom(size: number): boolean {
    return this.#used + size <= this.#limit;
  }

  /** Writes a body of this size down. @throws Error when it has another size, or the disk is full: nothing is kept then */
  async take(chunks: Iterable<Buffer> | AsyncIterable<Buffer>, size: number): Promise<Spooled> {
    const file = path.join(this.#directory, String(++this.#number));
    this.#used += size;
    const drop = async () => {
      this.#used -= size;
      await rm(file, { force: true }).catch(() => {});
    };
    try {
      const handle = await open(file, "wx", 0o600);
      try {
        let written = 0;
        for await (const chunk of chunks) {
          written += chunk.length;
          if (written > size) break;
          for (let at = 0; at < chunk.length; ) at += (await handle.write(chunk, at)).bytesWritten;
        }
        if (written !== size) throw new Error(`${written} bytes of ${size} arrived`);
      } finally {
        await handle.close();
      }
    } catch (error) {
      await drop();
      // A full disk is not tried again: what comes goes straight to the server.
      if (["ENOSPC", "EDQUOT"].includes((error as NodeJS.ErrnoException).code ?? "")) this.#limit = 0;
      throw error;
    }
    return new Spooled(file, size, drop);
  }
}

/** One body on disk. */
export class Spooled {
  readonly size: number;
  readonly #file: string;
  readonly #drop: () => Promise<void>;

  constructor(file: string, size: number, drop: () => Promise<void>) {
    this.#file = file;
    this.size = size;
    this.#drop = drop;
  }

  /** Its bytes from `start` to before `end`. */
  async *read(start = 0, end = this.size): AsyncGenerator<Buffer> {
    const handle = await open(this.#file, "r");
    try {
      for (let at = start; at < end; ) {
        // Never used again by us: its reader may keep it.
        const { bytesRead, buffer } = await handle.read(Buffer.allocUnsafe(Math.min(READ_SIZE, end - at)), 0, undefined, at);
        if (bytesRead === 0) throw new Error("a spooled body is shorter than it was");
        at += bytesRead;
        yield buffer.subarray(0, bytesRead);
      }
    } finally {
      await handle.close();
    }
  }

  async drop(): Promise<void> {
    await this.#drop();
  }
}
