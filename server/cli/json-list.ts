import type { Io } from "./io.ts";

/** Writes one JSON list while its items come, so that a long one needs no memory. */
export class JsonList {
  readonly #io: Io;
  #written = 0;

  constructor(io: Io) {
    this.#io = io;
  }

  add(items: readonly unknown[]): void {
    for (const item of items) this.#io.stdout.write(`${this.#written++ === 0 ? "[\n" : ",\n"}  ${JSON.stringify(item)}`);
  }

  end(): void {
    this.#io.stdout.write(this.#written === 0 ? "[]\n" : "\n]\n");
  }
}
