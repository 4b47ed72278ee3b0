import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import { errors } from "../../core/errors.ts";
import { Places } from "../../http/limits.ts";
import type { Check, Checked } from "./verify-worker.ts";
import { ID_BYTES, MAX_FRAME, type FrameChunk } from "./wire.ts";

/** Frames of all clients in memory at once, and how long one waits for its place, ms. */
const MAX_FRAMES = 32;
const PATIENCE_MS = 20_000;
/** Buffers that are kept for the next frames. A new one a frame costs a third of a save's time: V8 collects its whole heap whenever so much memory outside of it has come. */
const KEPT = 16;

/** A place for one frame on its way to the storage. */
export interface Place {
  /** Room for the largest frame, shared with the worker. Nobody may keep it. */
  readonly memory: Buffer;
  /** To be called when the frame is stored or refused. */
  readonly leave: () => void;
}

interface Waiter {
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
  readonly worker: Worker;
}

/** Inflates and hashes frames beside the request thread. Its workers start with the first frame. */
export class Verifier {
  readonly #places = new Places(MAX_FRAMES, PATIENCE_MS);
  readonly #waiting = new Map<number, Waiter>();
  readonly #workers: (Worker | undefined)[];
  readonly #kept: Buffer[] = [];
  #job = 0;
  #closed = false;

  constructor(workers = availableParallelism() > 2 ? 2 : 1) {
    this.#workers = Array.from({ length: workers });
  }

  /** A place for a frame that will be read now. @throws tooManyUploads */
  async place(): Promise<Place> {
    const leave = await this.#places.take();
    // A byte longer than any frame: whoever gets one does not take the buffer for the frame's own.
    const memory = this.#kept.pop() ?? Buffer.from(new SharedArrayBuffer(MAX_FRAME + 1));
    return {
      memory,
      leave: () => {
        if (this.#kept.length < KEPT) this.#kept.push(memory);
        leave();
      },
    };
  }

  /**
   * Makes sure that a frame inflates to its chunks and nothing else. @param frame in the memory of its place
   * @throws digestMismatch, writeFailure (the worker ended)
   */
  verify(frame: Buffer, chunks: readonly FrameChunk[]): Promise<void> {
    if (this.#closed) return Promise.reject(errors.draining());
    const job = this.#job++;
    const worker = (this.#workers[job % this.#workers.length] ??= this.#start(job % this.#workers.length));
    const ids = Buffer.allocUnsafeSlow(chunks.length * ID_BYTES);
    for (const [i, { id }] of chunks.entries()) ids.set(id, i * ID_BYTES);
    return new Promise((resolve, reject) => {
      this.#waiting.set(job, { resolve, reject, worker });
      const check: Check = { job, bytes: frame, ids, lengths: chunks.map(({ length }) => length) };
      worker.postMessage(check);
    });
  }

  #start(slot: number): Worker {
    const extension = import.meta.url.endsWith(".ts") ? "ts" : "mjs";
    const worker = new Worker(new URL(`./verify-worker.${extension}`, import.meta.url));
    worker.unref();
    worker.on("message", ({ job, problem }: Checked) => {
      const waiter = this.#waiting.get(job);
      this.#waiting.delete(job);
      if (problem === undefined) waiter?.resolve();
      else waiter?.reject(errors.digestMismatch(problem));
    });
    worker.on("error", () => {});
    worker.on("exit", () => {
      if (this.#workers[slot] === worker) this.#workers[slot] = undefined;
      for (const [job, waiter] of this.#waiting) {
        if (waiter.worker !== worker) continue;
        this.#waiting.delete(job);
        waiter.reject(errors.writeFailure("", { cause: new Error("the verifying worker ended") }));
      }
    });
    return worker;
  }

  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all(this.#workers.map(async (worker) => worker?.terminate()));
  }
}
