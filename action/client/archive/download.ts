import { hash } from "node:crypto";
import type { Found, Piece } from "../../../server/protocols/archive/wire.ts";
import { pool } from "./options.ts";
import type { Remote } from "./remote.ts";
import { FormatError } from "./varint.ts";

/** Requests at once. Each connection takes round trips until it is fast, so all begin in the same moment. */
const LANES = 8;
/** Bytes of one request. */
const RANGE = 8 * 1024 * 1024;
/** Everything waits for the head, so several connections bring it: pieces of so many bytes, and no more than so many. */
const HEAD_PIECE = 128 * 1024;
const HEAD_PIECES = 4;
/** Bodies up to this size are one request, bytes. */
const SMALL = 256 * 1024;
/** Frames that have arrived and are still worked on; then the connections wait. Fewer would leave threads idle where cores are short. */
const MOST_FRAMES = 16;

/** Frames are handed over in memory of their own; their bytes are what their digest says. */
export type Take = (frame: number, bytes: Buffer<ArrayBuffer>) => Promise<void>;

/**
 * An archive's body on its way in. It begins before anything is known of it but its size: the head (manifest and columns)
 * and the first frames arrive at the same time, and frames wait in their connections until `frames` says where they end.
 */
export class Download {
  readonly #head: Buffer;
  #missing: number;
  readonly #headThere = Promise.withResolvers<Buffer>();
  readonly #framesKnown = Promise.withResolvers<Assembly>();
  #assembly: Assembly | undefined;
  readonly #jobs = new Set<Promise<void>>();
  readonly #ended: Promise<void>;
  #failure: { readonly error: unknown } | undefined;

  constructor(remote: Remote, { id, head, size }: Found, lanes = LANES) {
    this.#head = Buffer.allocUnsafeSlow(head);
    this.#missing = head;
    for (const { promise } of [this.#headThere, this.#framesKnown]) promise.catch(() => {});
    this.#ended = pool(ranges(head, size), lanes, async ({ start, end }) => {
      try {
        await remote.read(id, start, end, (at, bytes) => this.#take(at, bytes));
      } catch (error) {
        this.#fail(error);
        throw error;
      }
    }).catch(() => {});
  }

  /** Manifest and columns, unverified. @throws RemoteError, ExchangeError */
  get head(): Promise<Buffer> {
    return this.#headThere.promise;
  }

  /** Hands frames over as they arrive, and ends when all have been dealt with. @throws FormatError, RemoteError, ExchangeError, and what `take` throws */
  async frames(pieces: readonly Piece[], take: Take): Promise<void> {
    this.#assembly = new Assembly(this.#head.length, pieces, (frame, bytes) => this.#work(take(frame, bytes)));
    this.#framesKnown.resolve(this.#assembly);
    await this.#ended;
    await Promise.allSettled(this.#jobs);
    if (this.#failure) throw this.#failure.error;
  }

  /** Gives up what is still under way, and waits for its end. */
  async stop(): Promise<void> {
    this.#fail(new Stopped());
    await this.#ended;
    await Promise.allSettled(this.#jobs);
  }

  #fail(error: unknown): void {
    this.#failure ??= { error };
    this.#headThere.reject(error);
    this.#framesKnown.reject(new Stopped());
  }

  #take(at: number, bytes: Buffer): Promise<unknown> | undefined {
    // No reason to ask again, whatever it was that failed elsewhere.
    if (this.#failure) throw new Stopped();
    const own = bytes.subarray(0, Math.max(this.#head.length - at, 0));
    if (own.length > 0) {
      own.copy(this.#head, at);
      this.#missing -= own.length;
      if (this.#missing === 0) this.#headThere.resolve(this.#head);
    }
    if (own.length === bytes.length) return undefined;
    const [from, rest] = [at + own.length, bytes.subarray(own.length)];
    if (!this.#assembly) return this.#framesKnown.promise.then((assembly) => assembly.add(from, rest));
    this.#assembly.add(from, rest);
    return this.#jobs.size < MOST_FRAMES ? undefined : this.#room();
  }

  #work(job: Promise<void>): void {
    const done = job.catch((error: unknown) => this.#fail(error)).finally(() => this.#jobs.delete(done));
    this.#jobs.add(done);
  }

  async #room(): Promise<void> {
    while (this.#jobs.size >= MOST_FRAMES) await Promise.race(this.#jobs);
  }
}

class Stopped extends Error {}

/** What each request asks for of a body, [start, end). */
export function* ranges(head: number, size: number): Generator<{ start: number; end: number }> {
  if (size <= SMALL) return yield { start: 0, end: size };
  const piece = Math.max(HEAD_PIECE, Math.ceil(head / HEAD_PIECES));
  for (let start = 0; start < head; start += piece) yield { start, end: Math.min(start + piece, head) };
  for (let start = head; start < size; start += RANGE) yield { start, end: Math.min(start + RANGE, size) };
}

/** Puts frames together, whichever request brings which of their bytes. */
class Assembly {
  readonly #pieces: readonly Piece[];
  readonly #starts: readonly number[];
  readonly #parts = new Map<number, { readonly bytes: Buffer<ArrayBuffer>; missing: number }>();
  readonly #whole: (frame: number, bytes: Buffer<ArrayBuffer>) => void;

  /** @param start of the first frame */
  constructor(start: number, pieces: readonly Piece[], whole: (frame: number, bytes: Buffer<ArrayBuffer>) => void) {
    this.#pieces = pieces;
    this.#starts = pieces.map(({ size }) => (start += size) - size);
    this.#whole = whole;
  }

  /** @throws FormatError for a frame that does not hash to its digest */
  add(at: number, bytes: Buffer): void {
    for (let [done, frame] = [0, this.#frameAt(at)]; done < bytes.length; frame++) {
      const { size, digest } = this.#pieces[frame]!;
      let part = this.#parts.get(frame);
      if (!part) this.#parts.set(frame, (part = { bytes: Buffer.allocUnsafeSlow(size), missing: size }));
      const count = bytes.copy(part.bytes, at + done - this.#starts[frame]!, done);
      done += count;
      part.missing -= count;
      if (part.missing > 0) continue;
      this.#parts.delete(frame);
      if (hash("sha256", part.bytes, "hex") !== digest) throw new FormatError("a frame does not hash to its digest");
      this.#whole(frame, part.bytes);
    }
  }

  #frameAt(at: number): number {
    let [low, high] = [0, this.#starts.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.#starts[middle]! <= at) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}
