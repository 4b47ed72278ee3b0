import { Worker } from "node:worker_threads";

/** Two share the work: more than that wins nothing against the file system and the network (archive.md §3). */
const WORKERS = 2;

interface Waiter {
  readonly resolve: (report: never) => void;
  readonly reject: (error: Error) => void;
  readonly worker: number;
}

/** What came back of a job that could not be done. */
export class WorkerError extends Error {}

/**
 * Worker threads that take orders and report by job number. They start with their first order, so that small
 * jobs need one or none, or with `start`, and end with `close`.
 */
export class Crew<Report extends { readonly job: number }> {
  readonly #script: URL;
  readonly #workers: (Worker | undefined)[];
  readonly #busy: number[];
  readonly #waiting = new Map<number, Waiter>();
  #job = 0;

  /** @param script the worker's file, without extension, beside this one */
  constructor(script: string, size = WORKERS) {
    const extension = import.meta.url.slice(import.meta.url.lastIndexOf("."));
    this.#script = new URL(`./${script}${extension}`, import.meta.url);
    this.#workers = Array.from({ length: size });
    this.#busy = Array.from({ length: size }, () => 0);
  }

  /** Starts all of them, where it is known that there will be work: this thread need not be free meanwhile. */
  start(): void {
    for (const index of this.#workers.keys()) this.#workers[index] ??= this.#start(index);
  }

  /** The worker with the least to do. */
  idlest(): number {
    return this.#busy.indexOf(Math.min(...this.#busy));
  }

  /** @param transfer memory that is the worker's from now on @throws WorkerError what the worker reports as `problem` */
  order<R extends Report>(worker: number, order: object, transfer: readonly ArrayBuffer[] = []): { job: number; report: Promise<R> } {
    const job = this.#job++;
    this.#busy[worker]!++;
    const report = new Promise<R>((resolve, reject) => {
      this.#waiting.set(job, { resolve, reject, worker });
      (this.#workers[worker] ??= this.#start(worker)).postMessage({ ...order, job }, transfer);
    });
    return { job, report };
  }

  #start(index: number): Worker {
    const worker = new Worker(this.#script);
    worker.on("message", (report: Report) => this.#settle(report));
    worker.on("error", (error) => this.#lost(index, error));
    worker.on("exit", () => this.#lost(index, new Error("a worker ended")));
    return worker;
  }

  #settle(report: Report): void {
    const waiter = this.#waiting.get(report.job);
    if (!waiter) return;
    this.#waiting.delete(report.job);
    this.#busy[waiter.worker]!--;
    const { problem } = report as { problem?: string };
    if (problem === undefined) waiter.resolve(report as never);
    else waiter.reject(new WorkerError(problem));
  }

  #lost(index: number, error: Error): void {
    for (const [job, waiter] of this.#waiting) {
      if (waiter.worker !== index) continue;
      this.#waiting.delete(job);
      waiter.reject(new WorkerError(error.message));
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.#workers.map(async (worker) => worker?.terminate()));
  }
}
