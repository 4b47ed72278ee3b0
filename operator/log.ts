export const LEVELS = ["debug", "info", "warn", "error"] as const;
export type Level = (typeof LEVELS)[number];

/** Structured lines, one JSON object each. */
export class Log {
  readonly #least: number;
  readonly #write: (line: string) => void;

  /** @param write takes a line with its line break */
  constructor(least: Level, write: (line: string) => void) {
    this.#least = LEVELS.indexOf(least);
    this.#write = write;
  }

  debug(text: string, details?: object): void {
    this.#line("debug", text, details);
  }
  info(text: string, details?: object): void {
    this.#line("info", text, details);
  }
  warn(text: string, details?: object): void {
    this.#line("warn", text, details);
  }
  error(text: string, details?: object): void {
    this.#line("error", text, details);
  }

  #line(level: Level, msg: string, details: object | undefined): void {
    if (LEVELS.indexOf(level) < this.#least) return;
    this.#write(`${JSON.stringify({ time: new Date().toISOString(), level, msg, ...details })}\n`);
  }
}
