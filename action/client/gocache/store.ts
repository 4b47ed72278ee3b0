import { createHash, hash, type Hash } from "node:crypto";
import { closeSync, mkdirSync, openSync, readFileSync, renameSync, rmSync, statSync, utimesSync, writeFileSync, writeSync, type Stats } from "node:fs";
import path from "node:path";

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
const LINE = /^v1 ([0-9a-f]{64}) (\d{1,15}) (\d{1,15})\n$/;

/**
 * The disk store, shared by all go commands of a machine: `a/x/<action>` says which output, `o/x/<output>` holds it.
 * An output appears under its name whole or not at all; an action's line is written after its output is there, and a line
 * that is not whole is a miss. So a process may die at any moment, and many may work at once.
 */
export class DiskStore {
  readonly root: string;
  readonly #booted: number;
  readonly #made = new Set<string>();
  #serial = 0;

  /** @param booted when the machine came up, ms: what was written before is hashed again at its first use, for a power cut may have eaten bytes */
  constructor(root: string, booted: number) {
    this.root = path.resolve(root);
    this.#booted = booted;
    for (const folder of ["a", "o", "tmp"]) mkdirSync(path.join(this.root, folder), { recursive: true });
  }

  get(action: string): Stored | undefined {
    const line = this.#read(action);
    if (!line) return undefined;
    const [, output, size, time] = line;
    const file = this.#path("o", output!);
    const stored = { output: output!, size: Number(size), time: Number(time), path: file };
    return this.#usable(stored, this.#path("a", action)) ? stored : undefined;
  }

  #read(action: string): RegExpExecArray | undefined {
    try {
      return LINE.exec(readFileSync(this.#path("a", action), "latin1")) ?? undefined;
    } catch {
      return undefined;
    }
  }

  #usable({ output, size, path: file }: Stored, line: string): boolean {
    let about: Stats;
    try {
      about = statSync(file);
      if (about.size !== size) return false;
      if (about.mtimeMs < this.#booted && hash("sha256", readFileSync(file)) !== output) {
        rmSync(file, { force: true });
        return false;
      }
      const now = Date.now();
      if (now - about.mtimeMs > TOUCH_MS) for (const touched of [line, file]) utimesSync(touched, now / 1000, now / 1000);
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
    const file = this.#path("o", output);
    // Another action may have the same output.
    if (statSync(file, { throwIfNoEntry: false })?.size !== bytes.length) {
      const temporary = path.join(this.root, "tmp", `${process.pid}-${this.#serial++}`);
      writeFileSync(temporary, bytes);
      this.#place(temporary, output);
    }
    return this.#name(action, { output, size: bytes.length, time, path: file });
  }

  #adopt(temporary: string, action: string, output: string, size: number): Stored {
    this.#place(temporary, output);
    return this.#name(action, { output, size, time: Date.now(), path: this.#path("o", output) });
  }

  #place(temporary: string, output: string): void {
    this.#folder("o", output);
    renameSync(temporary, this.#path("o", output));
  }

  #name(action: string, stored: Stored): Stored {
    this.#folder("a", action);
    writeFileSync(this.#path("a", action), `v1 ${stored.output} ${stored.size} ${stored.time}\n`);
    return stored;
  }

  #path(kind: "a" | "o", id: string): string {
    return `${this.root}/${kind}/${id.slice(0, 1)}/${id}`;
  }

  #folder(kind: "a" | "o", id: string): void {
    const folder = `${this.root}/${kind}/${id.slice(0, 1)}`;
    if (this.#made.has(folder)) return;
    mkdirSync(folder, { recursive: true });
    this.#made.add(folder);
  }
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
