import fs from "node:fs";
import path from "node:path";
import { close, fdatasync, open, removeFile, rename } from "../filesystem/system.ts";

/** Bytes a disk may be behind the client; a slower one gives the fill up, because the client is never held back for it. */
const MAX_BEHIND = 4 * 1024 * 1024;

/** One blob on its way into the cache: a temporary file that gets its name when it is whole and on the disk. */
export class Fill {
  /** Settles when all is over; whether the blob is in place. Never rejects. */
  readonly ended: Promise<boolean>;
  readonly #temporary: string;
  readonly #file: string;
  readonly #size: number;
  readonly #stream: fs.WriteStream;
  #taken = 0;
  #dropped = false;

  /** @param temporary in the same filesystem as `file`, the name of the whole blob */
  constructor(temporary: string, file: string, size: number) {
    this.#temporary = temporary;
    this.#file = file;
    this.#size = size;
    this.#stream = fs.createWriteStream(temporary, { flags: "wx", mode: 0o640 });
    this.#stream.on("error", () => this.drop());
    this.ended = new Promise<void>((resolve) => this.#stream.once("close", resolve)).then(() => this.#settle());
  }

  /** Takes a copy of the next bytes, at once. */
  take(chunk: Buffer): void {
    if (this.#dropped) return;
    if (this.#stream.writableLength > MAX_BEHIND) return this.drop();
    this.#taken += chunk.length;
    this.#stream.write(Buffer.from(chunk));
  }

  /** Writes the next bytes themselves, at the disk's pace. Rejects when the fill was dropped or the disk refuses. */
  write(chunk: Buffer): Promise<void> {
    this.#taken += chunk.length;
    return new Promise((resolve, reject) => {
      this.#stream.write(chunk, (error) => (error ? reject(error) : resolve()));
    });
  }

  /** All bytes were given. What is still to be done is done in the background; see `ended`. */
  finish(): void {
    if (this.#taken === this.#size) this.#stream.end();
    else this.drop();
  }

  /** Gives the fill up; harmless at any time. */
  drop(): void {
    this.#dropped = true;
    this.#stream.destroy();
  }

  async #settle(): Promise<boolean> {
    try {
      if (this.#dropped) throw new Error("dropped");
      await this.#publish();
      if (!this.#dropped) return true;
      // Removed while it got its name.
      await removeFile(this.#file);
    } catch {
      await removeFile(this.#temporary).catch(() => {});
    }
    return false;
  }

  async #publish(): Promise<void> {
    const fd = await open(this.#temporary, fs.constants.O_RDONLY);
    try {
      // Without it a power cut may leave a file of the right size with other bytes.
      await fdatasync(fd);
    } finally {
      await close(fd);
    }
    await fs.promises.mkdir(path.dirname(this.#file), { recursive: true });
    await rename(this.#temporary, this.#file);
  }
}
