import { createReadStream } from "node:fs";
import { open, readFile } from "node:fs/promises";
import { promisify } from "node:util";
import { constants, zstdCompress } from "node:zlib";
import { formatHead, MAX_SMALL } from "../../../server/protocols/go/wire.ts";
import type { Remote } from "./remote.ts";
import type { Stored } from "./store.ts";

const compress = promisify(zstdCompress);
/** The compiler needs the processor more than the wire needs the last percent. */
const OPTIONS = { params: { [constants.ZSTD_c_compressionLevel]: 1 } };
/** Smaller outputs are sent as they are, bytes. */
const WORTH = 256;
/** Outputs up to this size are compressed in one piece; larger ones are sent as they are read. */
const WHOLE = 64 * 1024 * 1024;
/** A batch is sent when it has so many bytes or entries, or is so old (ms). */
const BATCH_BYTES = 1024 * 1024;
const BATCH_ENTRIES = 256;
const BATCH_MS = 50;

export interface UploadFigures {
  sent: number;
  bytes: number;
  failed: number;
  /** Left when the deadline came. */
  undelivered: number;
}

interface Item {
  readonly action: string;
  readonly stored: Stored;
}

/** Sends what was built while the build goes on; nothing ever waits for it but the end, and that not for long. */
export class Uploads {
  readonly figures: UploadFigures = { sent: 0, bytes: 0, failed: 0, undelivered: 0 };
  readonly #remote: Remote;
  readonly #parallel: number;
  readonly #smallest: number;
  readonly #waiting: Item[] = [];
  readonly #abort = new AbortController();
  #running = 0;
  #batch: Buffer[] = [];
  #batchBytes = 0;
  #batchEntries = 0;
  #timer: NodeJS.Timeout | undefined;
  #idle: PromiseWithResolvers<void> | undefined;
  #draining = false;

  /** @param smallest outputs below this size are not sent, bytes */
  constructor(remote: Remote, parallel: number, smallest: number) {
    this.#remote = remote;
    this.#parallel = parallel;
    this.#smallest = smallest;
  }

  add(action: string, stored: Stored): void {
    if (stored.size < this.#smallest) return;
    this.#waiting.push({ action, stored });
    this.#pump();
  }

  /** Resolves when everything was sent, or `ms` are over. */
  async drain(ms: number): Promise<void> {
    this.#draining = true;
    this.#pump();
    if (!this.#busy) return;
    this.#idle = Promise.withResolvers();
    const timer = setTimeout(() => this.#abandon(), ms);
    await this.#idle.promise;
    clearTimeout(timer);
  }

  #abandon(): void {
    this.figures.undelivered = this.#waiting.length + this.#batchEntries;
    this.#waiting.length = 0;
    this.#batch = [];
    this.#batchEntries = 0;
    this.#abort.abort();
    this.#idle?.resolve();
  }

  get #busy(): boolean {
    return this.#running > 0 || this.#waiting.length > 0 || this.#batchEntries > 0;
  }

  #pump(): void {
    while (this.#running < this.#parallel && this.#waiting.length > 0) this.#work(this.#prepare(this.#waiting.shift()!));
    if (this.#draining && this.#waiting.length === 0) this.#flush();
    if (!this.#busy) this.#idle?.resolve();
  }

  #work(work: Promise<void>): void {
    this.#running++;
    void work.finally(() => {
      this.#running--;
      this.#pump();
    });
  }

  async #prepare({ action, stored }: Item): Promise<void> {
    try {
      // Compressing for nobody only takes the compiler's time.
      if (!this.#remote.writable) return void this.figures.failed++;
      if (stored.size > WHOLE) return await this.#send(action, stored);
      const plain = await readFile(stored.path);
      const packed = plain.length < WORTH ? plain : await compress(plain, OPTIONS);
      const zstd = packed.length < plain.length;
      const body = zstd ? packed : plain;
      if (body.length > MAX_SMALL / 4) return await this.#sendWhole(action, stored, body, zstd);
      this.#join(formatHead({ action, output: stored.output, size: stored.size, stored: body.length, zstd, found: true, time: stored.time }), body);
    } catch {
      // Trimmed by another process in the meantime, or no server: it is built again next time.
      this.figures.failed++;
    }
  }

  #join(head: Buffer, body: Buffer): void {
    this.#batch.push(head, body);
    this.#batchBytes += head.length + body.length;
    this.#batchEntries++;
    if (this.#batchBytes >= BATCH_BYTES || this.#batchEntries >= BATCH_ENTRIES) this.#flush();
    else this.#timer ??= setTimeout(() => this.#flush(), BATCH_MS);
  }

  #flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#batchEntries === 0) return;
    const [records, entries] = [Buffer.concat(this.#batch), this.#batchEntries];
    this.#batch = [];
    this.#batchBytes = 0;
    this.#batchEntries = 0;
    this.#work(this.#count(this.#remote.putMany(records, this.#abort.signal), entries, records.length));
  }

  #sendWhole(action: string, stored: Stored, body: Buffer, zstd: boolean): Promise<void> {
    const chunks = async function* () {
      yield body;
    };
    return this.#count(this.#remote.put(action, { output: stored.output, size: stored.size, zstd }, body.length, chunks, this.#abort.signal), 1, body.length);
  }

  async #send(action: string, stored: Stored): Promise<void> {
    const handle = await open(stored.path);
    await handle.close();
    const chunks = () => createReadStream(stored.path, { highWaterMark: 1024 * 1024 }) as AsyncIterable<Buffer>;
    await this.#count(this.#remote.put(action, { output: stored.output, size: stored.size, zstd: false }, stored.size, chunks, this.#abort.signal), 1, stored.size);
  }

  async #count(sending: Promise<boolean>, entries: number, bytes: number): Promise<void> {
    if (await sending.catch(() => false)) {
      this.figures.sent += entries;
      this.figures.bytes += bytes;
    } else this.figures.failed += entries;
  }
}
