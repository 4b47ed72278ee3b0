import type { Output } from "../io.ts";
import { printable } from "../table.ts";
import { sizeWords } from "../words.ts";

/** Times between two signs of life, ms: a terminal's line moves, a log gets a line now and then. */
const TERMINAL_MS = 200;
const LOG_MS = 10_000;

/** Shows how far transfers are: on a terminal in one line that is rewritten, elsewhere in a line every ten seconds. */
export class Progress {
  readonly #out: Output;
  readonly #quiet: boolean;
  readonly #started = performance.now();
  readonly #keys: number;
  #done = 0;
  #bytes = 0;
  #shown: number;
  #line = "";

  /** @param keys how many there are in all */
  constructor(out: Output, keys: number, quiet = false) {
    this.#out = out;
    this.#keys = keys;
    this.#quiet = quiet;
    this.#shown = this.#started;
  }

  /** Bytes went by. */
  readonly meter = (bytes: number): void => {
    this.#bytes += bytes;
    const now = performance.now();
    if (this.#quiet || now - this.#shown < (this.#out.isTTY ? TERMINAL_MS : LOG_MS)) return;
    this.#shown = now;
    if (this.#out.isTTY) this.#rewrite(this.#text(now));
    else this.#out.write(`${this.#text(now)}\n`);
  };

  /** A key is done with. */
  finish(): void {
    this.#done++;
  }

  /** Takes the moving line away, so that another can be written. */
  clear(): void {
    this.#rewrite("");
  }

  /** A line for the reader. */
  note(text: string): void {
    this.#rewrite("");
    if (!this.#quiet) this.#out.write(`${printable(text)}\n`);
  }

  /** The last word, where there was enough to speak of. */
  end(): void {
    this.#rewrite("");
    if (!this.#quiet && this.#bytes > 0) this.#out.write(`${this.#text(performance.now())}\n`);
  }

  #text(now: number): string {
    const seconds = Math.max((now - this.#started) / 1000, 0.001);
    const keys = this.#keys > 1 ? `${this.#done}/${this.#keys} keys, ` : "";
    return `${keys}${sizeWords(this.#bytes)} in ${seconds.toFixed(1)} s (${(this.#bytes / 1e6 / seconds).toFixed(1)} MB/s)`;
  }

  #rewrite(line: string): void {
    if (!this.#out.isTTY || line === this.#line) return;
    this.#out.write(`\r${line.padEnd(this.#line.length)}${line === "" ? "\r" : ""}`);
    this.#line = line;
  }
}
