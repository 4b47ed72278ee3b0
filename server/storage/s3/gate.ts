/** Bounds the bytes on their way to the service; who finds no room waits in line. */
export class Gate {
  readonly #limit: number;
  readonly #line: { bytes: number; enter: () => void }[] = [];
  #used = 0;

  /** @param limit bytes; more than that at once goes through alone */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Waits for room. What was let in must leave. @throws the signal's reason when it is aborted before */
  enter(bytes: number, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return Promise.reject(signal.reason);
    if (this.#line.length === 0 && this.#fits(bytes)) {
      this.#used += bytes;
      return Promise.resolve();
    }
    return new Promise((resolve, reject) => {
      const waiting = { bytes, enter: () => (signal.removeEventListener("abort", leave), resolve()) };
      const leave = () => {
        this.#line.splice(this.#line.indexOf(waiting), 1);
        reject(signal.reason);
        this.#admit();
      };
      signal.addEventListener("abort", leave, { once: true });
      this.#line.push(waiting);
    });
  }

  leave(bytes: number): void {
    this.#used -= bytes;
    this.#admit();
  }

  #fits(bytes: number): boolean {
    return this.#used === 0 || this.#used + bytes <= this.#limit;
  }

  #admit(): void {
    while (this.#line.length > 0 && this.#fits(this.#line[0]!.bytes)) {
      const { bytes, enter } = this.#line.shift()!;
      this.#used += bytes;
      enter();
    }
  }
}
