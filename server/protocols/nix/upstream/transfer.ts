import { createHash, type Hash } from "node:crypto";
import { errors, StowError } from "../../../core/errors.ts";
import { UpstreamFailure } from "./failure.ts";
import { Spool, type SpoolSpace } from "./spool.ts";

/** The end of every reader's range, which nobody gets before the whole was verified, bytes. */
export const HELD_BACK = 64 * 1024;

/** A reader's buffer, bytes. */
const READ_BYTES = 128 * 1024;

/** A chunk on its way to a storage, bytes. */
const CHUNK_BYTES = 256 * 1024;

/** What a NAR has to be; undefined where the upstream did not say. */
export interface Expected {
  /** SHA-256 of the file, hex. */
  readonly digest: string | undefined;
  /** Bytes of the file. */
  readonly size: number | undefined;
  /** Bytes it may have at most. */
  readonly limit: number;
}

/** The bytes that came are not those that were announced. */
export class Spoiled extends Error {
  constructor(message: string) {
    super(message);
    this.name = "Spoiled";
  }
}

/**
 * A body that arrives for any number of readers, each of whom reads what is there and waits for the rest. No reader gets the
 * last bytes of its range before the whole body was verified: what is wrong breaks off, and never looks complete.
 */
export class Transfer {
  readonly #spool: Spool;
  readonly #expected: Expected;
  #size: number | undefined;
  #hash: Hash = createHash("sha256");
  #digest: string | undefined;
  #failure: StowError | undefined;
  #users = 1;
  #served = false;
  #waiting: (() => void)[] = [];
  /** Called when the last reader leaves before the end. */
  onAbandoned: () => void = () => {};
  onJoined: () => void = () => {};
  onVerified: () => void = () => {};
  #readers = 0;

  private constructor(spool: Spool, expected: Expected) {
    this.#spool = spool;
    this.#expected = expected;
    this.#size = expected.size;
  }

  /** @throws tooLarge, upstreamBusy, and the system's errors */
  static async open(space: SpoolSpace, expected: Expected): Promise<Transfer> {
    if ((expected.size ?? 0) > expected.limit) throw errors.tooLarge(`${expected.limit} bytes`);
    return new Transfer(await Spool.open(space, expected.size ?? 0), expected);
  }

  /** Whether everybody has left it: nothing of it can be read any more. */
  get closed(): boolean {
    return this.#users === 0;
  }

  /** Bytes of the whole body, as soon as somebody has said it. */
  get size(): number | undefined {
    return this.#size;
  }

  get received(): number {
    return this.#spool.length;
  }

  /** SHA-256 of the whole body, hex; undefined before it was verified. */
  get digest(): string | undefined {
    return this.#digest;
  }

  get readers(): number {
    return this.#readers;
  }

  /** Whether any reader has got any byte, so that starting over would be seen. */
  get served(): boolean {
    return this.#served;
  }

  /** The size an upstream announces. @throws UpstreamFailure when it can't be that, tooLarge */
  announce(size: number): void {
    if (this.#size !== undefined && this.#size !== size) throw new UpstreamFailure("invalid", `${size} bytes are announced instead of ${this.#size}`);
    if (size > this.#expected.limit) throw errors.tooLarge(`${this.#expected.limit} bytes`);
    this.#size = size;
  }

  /** @throws Spoiled (too many bytes), tooLarge, upstreamBusy, and the system's errors */
  async append(chunk: Buffer): Promise<void> {
    const length = this.#spool.length + chunk.length;
    if (this.#size !== undefined && length > this.#size) throw new Spoiled(`more than ${this.#size} bytes came`);
    if (length > this.#expected.limit) throw errors.tooLarge(`${this.#expected.limit} bytes`);
    this.#hash.update(chunk);
    await this.#spool.append(chunk);
    this.#wake();
  }

  /** The whole is there: lets the readers have the rest. @throws Spoiled when it is not what it should be; the system's errors */
  async complete(): Promise<void> {
    await this.#spool.flush();
    if (this.#size !== undefined && this.received !== this.#size) throw new Spoiled(`${this.received} bytes came instead of ${this.#size}`);
    const digest = this.#hash.digest("hex");
    const { digest: wanted } = this.#expected;
    if (wanted !== undefined && digest !== wanted) throw new Spoiled(`its SHA-256 is ${digest} instead of ${wanted}`);
    this.#size = this.received;
    this.#digest = digest;
    this.onVerified();
    this.#wake();
  }

  /** Forgets what came, for another try; only while nobody was served. */
  async restart(): Promise<void> {
    this.#hash = createHash("sha256");
    this.#size = this.#expected.size;
    await this.#spool.clear();
  }

  /** Nothing more comes: breaks all readers off. */
  fail(error: StowError): void {
    this.#failure ??= error;
    this.#wake();
  }

  /**
   * Joins the readers. The returned function hands [start, end) to `push` as it arrives; `leave` must follow in any case.
   * @throws from read: what the transfer failed with, and what `push` throws
   */
  join(): { read(start: number, end: number, push: (chunk: Buffer) => Promise<void> | undefined): Promise<void>; leave(): void } {
    this.#users++;
    this.#readers++;
    this.onJoined();
    let left = false;
    return {
      read: (start, end, push) => this.#read(start, end, push, () => left),
      leave: () => {
        if (left) return;
        left = true;
        this.#readers--;
        this.#wake();
        if (this.#readers === 0 && this.#digest === undefined) this.onAbandoned();
        this.release();
      },
    };
  }

  /** The whole verified body, in chunks that may be kept. */
  async *chunks(): AsyncGenerator<Buffer> {
    for (let at = 0; at < this.received; ) {
      const chunk = Buffer.allocUnsafeSlow(Math.min(CHUNK_BYTES, this.received - at));
      let filled = 0;
      await this.#spool.read(at, at + chunk.length, chunk, (piece) => {
        // What was read lies there already; what came last is copied.
        if (piece.buffer !== chunk.buffer) piece.copy(chunk, filled);
        filled += piece.length;
        return undefined;
      });
      at += chunk.length;
      yield chunk;
    }
  }

  /** Its maker's own hold; the spool is closed when all readers have left as well. */
  release(): void {
    if (--this.#users === 0) this.#spool.close().catch(() => {});
  }

  async #read(start: number, end: number, push: (chunk: Buffer) => Promise<void> | undefined, left: () => boolean): Promise<void> {
    let buffer: Buffer | undefined;
    for (let at = start; ; ) {
      if (left()) throw errors.clientGone();
      const whole = this.#digest !== undefined;
      const last = whole ? Math.min(end, this.received) : end;
      // A known range ends before it is verified as little as an unknown one does.
      const until = whole ? last : Math.min(this.received, Math.max(start, Math.min(end, this.#size ?? this.received) - HELD_BACK));
      if (at < until) {
        this.#served = true;
        await this.#spool.read(at, until, (buffer ??= Buffer.allocUnsafeSlow(READ_BYTES)), push);
        at = until;
      } else if (whole) return;
      else if (this.#failure) throw this.#failure;
      else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  #wake(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }
}
