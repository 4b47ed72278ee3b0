import { Worker } from "node:worker_threads";
import type { PlaceOrder, PlaceReport } from "./place-worker.ts";
import type { Fetched } from "./remote.ts";

/** Orders a thread has at once: one to work at, and one to go on with. */
const DEPTH = 2;

/**
 * Puts outputs in their place in a thread of its own: inflating, hashing and writing them is most of a warm build's work, and
 * this one has go to answer.
 */
export class Placer {
  readonly #root: string;
  readonly #orders: PromiseWithResolvers<void>[] = [];
  #worker: Worker | undefined;
  #lost: Error | undefined;

  /** @param root of the disk store */
  constructor(root: string) {
    this.#root = root;
  }

  /** Whether it takes another output. */
  get free(): boolean {
    return !this.#lost && this.#orders.length < DEPTH;
  }

  /** Starts the thread while there is something else to wait for. */
  start(): void {
    if (this.#worker || this.#lost) return;
    const extension = import.meta.url.slice(import.meta.url.lastIndexOf("."));
    this.#worker = new Worker(new URL(`./place-worker${extension}`, import.meta.url), { workerData: { root: this.#root } });
    this.#worker.on("message", ({ problem }: PlaceReport) => {
      const order = this.#orders.shift();
      if (problem === undefined) order?.resolve();
      else order?.reject(new Error(problem));
    });
    this.#worker.on("error", (error: Error) => this.#lose(error));
    this.#worker.on("exit", () => this.#lose(new Error("the thread has ended")));
    // The helper ends when go does.
    this.#worker.unref();
  }

  /** Verifies an output and puts it in its place. The body is the thread's from now on. @throws Error when it is not what it is said to be, or can't be written */
  place({ head, body }: Fetched): Promise<void> {
    this.start();
    const order = Promise.withResolvers<void>();
    if (!this.#worker) return Promise.reject(this.#lost!);
    this.#orders.push(order);
    const own = body.length === body.buffer.byteLength ? (body.buffer as ArrayBuffer) : Uint8Array.from(body).buffer;
    this.#worker.postMessage({ head, body: own } satisfies PlaceOrder, [own]);
    return order.promise;
  }

  stop(): void {
    void this.#worker?.terminate();
  }

  #lose(error: Error): void {
    this.#lost ??= error;
    this.#worker = undefined;
    for (const order of this.#orders.splice(0)) order.reject(error);
  }
}
