import { write } from "node:fs";

export type Level = "debug" | "info" | "warn" | "error";
const ORDER: Record<Level | "silent", number> = { debug: 0, info: 1, warn: 2, error: 3, silent: 4 };

const FLUSH_BYTES = 64 * 1024;
const FLUSH_MS = 250;
/** What waits for a slow reader of our output; beyond it lines are dropped and counted. */
const MAX_PENDING = 4 * 1024 * 1024;

/**
 * Structured lines (JSON), joined and written in one call: a line of its own per request costs more than all else on the hot
 * path (measured: 12 µs of 24).
 */
export class Log {
  readonly #fd: number;
  #level: number;
  #lines = "";
  #writing = false;
  #timer: NodeJS.Timeout | undefined;
  #dropped = 0;

  constructor(level: Level | "silent", fd = 1) {
    this.#level = ORDER[level];
    this.#fd = fd;
  }

  /** Takes another least severity from now on. */
  setLevel(level: Level | "silent"): void {
    this.#level = ORDER[level];
  }

  enabled(level: Level): boolean {
    return ORDER[level] >= this.#level;
  }

  debug(message: string, fields?: object): void {
    this.#log("debug", message, fields);
  }
  info(message: string, fields?: object): void {
    this.#log("info", message, fields);
  }
  warn(message: string, fields?: object): void {
    this.#log("warn", message, fields);
  }
  error(message: string, fields?: object): void {
    this.#log("error", message, fields);
  }

  #log(level: Level, message: string, fields: object | undefined): void {
    if (this.enabled(level)) this.line(JSON.stringify({ time: new Date().toISOString(), level, msg: message, ...fields }));
  }

  /** Takes a finished line, without its line break. */
  line(text: string): void {
    if (this.#lines.length > MAX_PENDING) {
      this.#dropped++;
      return;
    }
    this.#lines += text;
    this.#lines += "\n";
    this.#schedule();
  }

  #schedule(): void {
    if (this.#lines.length >= FLUSH_BYTES) this.flush();
    else if (this.#lines !== "") this.#timer ??= setTimeout(() => this.flush(), FLUSH_MS).unref();
  }

  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#writing || this.#lines === "") return;
    if (this.#dropped > 0) {
      this.#lines += `${JSON.stringify({ time: new Date().toISOString(), level: "warn", msg: "log lines dropped", count: this.#dropped })}\n`;
      this.#dropped = 0;
    }
    this.#write(Buffer.from(this.#lines));
    this.#lines = "";
  }

  #write(bytes: Buffer): void {
    this.#writing = true;
    write(this.#fd, bytes, (error, written) => {
      this.#writing = false;
      const again = error?.code === "EAGAIN";
      const rest = bytes.subarray(again ? 0 : written);
      // What came meanwhile has found the writer busy. Nobody reads what a broken pipe was given.
      if (rest.length === 0 || (error && !again)) return this.#schedule();
      // A full pipe: wait for its reader.
      this.#writing = true;
      setTimeout(() => this.#write(rest), again ? 10 : 0).unref();
    });
  }

  /** Resolves when everything has been handed to the operating system, at most after a second. */
  async drain(): Promise<void> {
    this.flush();
    for (let i = 0; i < 100 && (this.#writing || this.#lines !== ""); i++) {
      await new Promise((resolve) => setTimeout(resolve, 10));
      this.flush();
    }
  }
}
