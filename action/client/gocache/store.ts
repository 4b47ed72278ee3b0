import { createHash, hash, type Hash } from "node:crypto";
import { closeSync, mkdirSync, openSync, readFileSync, renameSync, rmSync, statSync, utimesSync, writeFileSync, writeSync, type Stats } from "node:fs";
import path from "node:path";
import { Lines, type Line } from "./lines.ts";

/** An action's output on this machine. */
export interface Stored {
  /** Hex. */
  readonly output: string;
  readonly size: number;
  /** When it was first stored, ms. */
  readonly time: number;
  readonly path: string;
}

/** Files are touched when used, but not more often than this, ms: their times say what was not used for long. */
const TOUCH_MS = 3_600_000;

/**
 * The disk store, shared by all go commands of a machine: the file `actions` says which output an action has, `o/x/<output>` holds it.
 * An output appears under its name whole or not at all; an action's line is written after its output is there, and a line
 * that is not whole is a miss. So a process may die at any moment, and many may work at once.
 */
export class DiskStore {
  readonly root: string;
  readonly #booted: number;
  readonly #lines: Lines;
  #serial = 0;

  /** @param booted when the machine came up, ms: what was written before is hashed again at its first use, for a power cut may have eaten bytes */
  constructor(root: string, booted: number) {
    this.root = path.resolve(root);
    this.#booted = booted;
    for (const folder of ["tmp", ...Array.from("0123456789abcdef", (digit) => `o/${digit}`)]) mkdirSync(path.join(this.root, folder), { recursive: true });
    this.#lines = new Lines(this.root);
  }

  get(action: string): Stored | undefined {
    const line = this.#lines.get(action);
    if (!line) return undefined;
    const stored = { ...line, path: this.#path(line.output) };
    return this.#usable(stored) ? stored : undefined;
  }

  #usable({ output, size, path: file }: Stored): boolean {
    let about: Stats;
    try {
      about = statSync(file);
      if (about.size !== size) return false;
      if (about.mtimeMs < this.#booted && hash("sha256", readFileSync(file)) !== output) {
        rmSync(file, { force: true });
        return false;
      }
      const now = Date.now();
      if (now - about.mtimeMs > TOUCH_MS) utimesSync(file, now / 1000, now / 1000);
      return true;
    } catch {
      return false;
    }
  }

  /** An output on its way to the disk. */
  begin(action: string, output: string, size: number): Writer {
    return new Writer(path.join(this.root, "tmp", `${process.pid}-${this.#serial++}`), (file) => this.#adopt(file, action, output, size));
  }

  /** Stores an output that is known to be what it is said to be. @throws what the file system says */
  add(action: string, output: string, bytes: Buffer, time: number): Stored {
    placeOutput(this.root, output, bytes, `${process.pid}-${this.#serial++}`);
    return this.name(action, { output, size: bytes.length, time });
  }

  /** Says that an action has an output which is in its place. @throws what the file system says */
  name(action: string, line: Line): Stored {
    this.#lines.add(action, line);
    return { ...line, path: this.#path(line.output) };
  }

  #adopt(temporary: string, action: string, output: string, size: number): Stored {
    renameSync(temporary, this.#path(output));
    return this.name(action, { output, size, time: Date.now() });
  }

  #path(output: string): string {
    return outputPath(this.root, output);
  }
}

/** Puts an output in its place, unless it is there: another action may have the same. @param temporary a name nobody else uses @throws what the file system says */
export function placeOutput(root: string, output: string, bytes: Buffer, temporary: string): void {
  const place = outputPath(root, output);
  if (statSync(place, { throwIfNoEntry: false })?.size === bytes.length) return;
  const file = path.join(root, "tmp", temporary);
  writeFileSync(file, bytes);
  renameSync(file, place);
}

function outputPath(root: string, output: string): string {
  return `${root}/o/${output.slice(0, 1)}/${output}`;
}

/** Writes an output to a temporary file while it is hashed. */
export class Writer {
  readonly #file: string;
  readonly #done: (file: string) => Stored;
  readonly #hash: Hash = createHash("sha256");
  readonly #fd: number;
  #open = true;

  constructor(file: string, done: (file: string) => Stored) {
    this.#file = file;
    this.#done = done;
    this.#fd = openSync(file, "w");
  }

  write(bytes: Buffer): void {
    this.#hash.update(bytes);
    for (let at = 0; at < bytes.length; ) at += writeSync(this.#fd, bytes, at);
  }

  /** Puts it in its place. @param output the SHA-256 it must have, hex @throws Error when it has another */
  commit(output: string): Stored {
    const digest = this.#hash.digest("hex");
    if (digest !== output) {
      this.abort();
      throw new Error(`the body hashes to ${digest}, not to ${output}`);
    }
    this.#close();
    return this.#done(this.#file);
  }

  abort(): void {
    if (!this.#open) return;
    this.#close();
    rmSync(this.#file, { force: true });
  }

  #close(): void {
    this.#open = false;
    closeSync(this.#fd);
  }
}
