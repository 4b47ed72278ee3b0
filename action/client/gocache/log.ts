import { openSync, writeSync } from "node:fs";

const LEVELS = ["debug", "info", "warn", "error", "silent"] as const;
export type Level = (typeof LEVELS)[number];

/** Lines for people. Standard output belongs to go; standard error shows up among the build's own. */
export class Log {
  readonly #fd: number;
  readonly #least: number;
  readonly #said = new Map<string, number>();

  /** @param file empty: standard error */
  constructor(level: string, file: string) {
    this.#least = Math.max(LEVELS.indexOf(level as Level), 0);
    this.#fd = file === "" ? 2 : opened(file);
  }

  /** The same again is said once. */
  say(level: Exclude<Level, "silent">, message: string): void {
    if (LEVELS.indexOf(level) < this.#least) return;
    const times = (this.#said.get(message) ?? 0) + 1;
    if (this.#said.size < 1000) this.#said.set(message, times);
    if (times === 1) this.always(level === "info" ? message : `${level}: ${message}`);
  }

  always(message: string): void {
    try {
      writeSync(this.#fd, `stowhouse: ${message}\n`);
    } catch {
      // Nobody listens.
    }
  }
}

/** A file that can't be written is no reason to end a build. */
function opened(file: string): number {
  try {
    return openSync(file, "a");
  } catch (error) {
    writeSync(2, `stowhouse: the log goes to standard error: ${(error as Error).message}\n`);
    return 2;
  }
}
