import { closeSync, constants, fstatSync, openSync, readFileSync, readSync, renameSync, statSync, writeFileSync, writeSync } from "node:fs";
import path from "node:path";

/** What is known of an action's output. */
export interface Line {
  /** Hex. */
  readonly output: string;
  readonly size: number;
  /** ms */
  readonly time: number;
}

const LINE = /^v1 [0-9a-f]{64} ([0-9a-f]{64}) (\d{1,15}) (\d{1,15})$/;
const ACTION = [3, 67] as const;
/** Lines that are kept when the file is written anew; the newest stay. */
const MAX_LINES = 200_000;

/**
 * Which action has which output: one file of lines to which all processes append, the last line of an action counts. A file
 * for each action took half of the helper's time. Each line is one write, so lines of several processes never mix; one that is
 * not whole, after a crash or on a full disk, is a miss.
 */
export class Lines {
  readonly #file: string;
  readonly #lines = new Map<string, string>();
  #fd: number;
  #read = 0;

  /** @throws what the file system says */
  constructor(root: string) {
    this.#file = fileOf(root);
    this.#fd = this.#open();
    this.#readOn();
  }

  get(action: string): Line | undefined {
    let line = this.#lines.get(action);
    if (line === undefined) {
      this.#catchUp();
      line = this.#lines.get(action);
    }
    const [, output, size, time] = (line !== undefined && LINE.exec(line)) || [];
    return output === undefined ? undefined : { output, size: Number(size), time: Number(time) };
  }

  /** @throws what the file system says */
  add(action: string, { output, size, time }: Line): void {
    const line = `v1 ${action} ${output} ${size} ${time}`;
    writeSync(this.#fd, `${line}\n`);
    this.#lines.set(action, line);
  }

  /** Takes in what other processes have written. */
  #catchUp(): void {
    const now = statSync(this.#file, { throwIfNoEntry: false });
    if (now?.ino !== fstatSync(this.#fd).ino) {
      // Another process has written it anew.
      closeSync(this.#fd);
      this.#fd = this.#open();
      this.#read = 0;
    }
    this.#readOn();
  }

  #open(): number {
    return openSync(this.#file, constants.O_RDWR | constants.O_APPEND | constants.O_CREAT, 0o666);
  }

  #readOn(): void {
    const length = fstatSync(this.#fd).size - this.#read;
    if (length <= 0) return;
    const bytes = Buffer.allocUnsafe(length);
    const got = readSync(this.#fd, bytes, 0, length, this.#read);
    const whole = bytes.lastIndexOf(0x0a, got - 1) + 1;
    this.#read += whole;
    for (const line of bytes.toString("latin1", 0, whole).split("\n")) if (line !== "") this.#lines.set(line.slice(...ACTION), line);
  }
}

/** Leaves out the lines whose outputs are gone. What other processes add in this moment is lost, and made again. */
export function tidyLines(root: string, outputs: ReadonlySet<string>): void {
  const file = fileOf(root);
  const kept = new Map<string, string>();
  for (const line of readFileSync(file, "latin1").split("\n")) {
    const [, output] = LINE.exec(line) ?? [];
    if (output !== undefined && outputs.has(output)) kept.set(line.slice(...ACTION), line);
  }
  const temporary = path.join(root, "tmp", `actions-${process.pid}`);
  writeFileSync(temporary, [...kept.values()].slice(-MAX_LINES).map((line) => `${line}\n`).join(""));
  renameSync(temporary, file);
}

function fileOf(root: string): string {
  return path.join(root, "actions");
}
