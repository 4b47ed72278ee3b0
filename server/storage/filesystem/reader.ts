import fs from "node:fs";
import { TruncatedBlob, type BlobReader } from "../store.ts";
import type { Buffers } from "./buffers.ts";
import type { Handle, Handles } from "./handles.ts";

interface Filled {
  readonly buffer: Buffer;
  readonly length: number;
}

/** Reads one blob with positional reads on a shared handle; the next read overlaps the push of the bytes before. */
export class FileReader implements BlobReader {
  readonly size: number;
  readonly #handles: Handles;
  readonly #handle: Handle;
  readonly #buffers: Buffers;
  #reads = 0;
  #closed = false;

  /** Takes over the handle. */
  constructor(handles: Handles, handle: Handle, buffers: Buffers, size: number) {
    this.size = size;
    this.#handles = handles;
    this.#handle = handle;
    this.#buffers = buffers;
  }

  async read(start: number, end: number, push: (chunk: Buffer) => Promise<void> | undefined): Promise<void> {
    if (this.#closed) throw new Error("read after close");
    if (!(start >= 0 && start <= end && end <= this.size)) throw new RangeError(`no bytes ${start} to ${end} in a blob of ${this.size}`);
    this.#reads++;
    let next = start < end ? this.#fill(start, end) : undefined;
    try {
      for (let position = start; next; ) {
        const filled: Filled = await next;
        position += filled.length;
        next = position < end ? this.#fill(position, end) : undefined;
        try {
          await push(filled.buffer.subarray(0, filled.length));
        } finally {
          this.#buffers.takeBack(filled.buffer);
        }
      }
    } finally {
      // A read under way still writes into its buffer and uses the descriptor.
      if (next) await next.then((filled) => this.#buffers.takeBack(filled.buffer), () => {});
      this.#reads--;
      this.#settle();
    }
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#settle();
  }

  #settle(): void {
    if (this.#closed && this.#reads === 0) this.#handles.release(this.#handle);
  }

  #fill(start: number, end: number): Promise<Filled> {
    const buffer = this.#buffers.lend(end - start);
    const wanted = Math.min(buffer.length, end - start);
    const filled = new Promise<Filled>((resolve, reject) => {
      const read = (length: number): void => {
        fs.read(this.#handle.fd, buffer, length, wanted - length, start + length, (error, bytes) => {
          if (error || bytes === 0) {
            this.#buffers.takeBack(buffer);
            reject(error ?? new TruncatedBlob(this.#handle.name, start + length, this.size));
          } else if (length + bytes < wanted) read(length + bytes);
          else resolve({ buffer, length: wanted });
        });
      };
      read(0);
    });
    // It may fail while the chunk before is still being pushed, before anyone awaits it.
    filled.catch(() => {});
    return filled;
  }
}
