/** The time a job may lose by waiting for servers in vain, ms; a wait that began is ended at its own deadline, so a little more may go. */
const TOTAL = 3_000;
/** The least a server is given, however much was lost to others. */
const LEAST = 500;

/** Counts wall time, so that requests which wait at the same moment count once. */
export class Budget {
  #left: number;
  #counted = 0;

  constructor(total = TOTAL) {
    this.#left = total;
  }

  get spent(): boolean {
    return this.#left <= 0;
  }

  /** What is left of a deadline of so many ms. */
  within(ms: number): number {
    return Math.max(Math.min(ms, this.#left), LEAST);
  }

  /** A wait for nothing that began at `since` has ended. Times of `performance.now()`. */
  spend(since: number, now = performance.now()): void {
    this.#left -= Math.max(now - Math.max(since, this.#counted), 0);
    this.#counted = now;
  }
}
