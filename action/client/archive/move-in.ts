import { chmodSync, existsSync, lstatSync, mkdirSync, readdirSync, renameSync, rmdirSync, utimesSync, type Stats } from "node:fs";
import { dirname } from "node:path";
import { native, readable } from "./members.ts";

/**
 * Moves a tree that stands ready to where it belongs, as a log of steps each of which can be taken back: in the end all of it
 * is there, or nothing has changed. What exists is merged as tar does it: directories become one, files and links take the
 * place of others, a link is never followed; only a directory that is not empty gives way to nothing. Paths are byte strings.
 */
export class MoveIn {
  readonly #undo: (() => void)[] = [];
  readonly #trash: string;
  #discarded = 0;
  /** Whether something was there already, so that files were moved one by one. */
  merged = false;

  /** @param trash the beginning of paths on the same file system, for what gives way until all has gone well */
  constructor(trash: string) {
    this.#trash = trash;
  }

  /** @throws what the file system throws; `rollback` must follow */
  move(staged: string, target: string): void {
    this.#parents(dirname(target));
    this.#move(staged, target);
  }

  #move(staged: string, target: string): void {
    const there = lstat(target);
    if (!there) return this.#rename(staged, target);
    this.merged = true;
    const directory = lstatSync(native(staged)).isDirectory();
    if (!directory || !there.isDirectory()) {
      if (there.isDirectory() && readdirSync(native(target)).length > 0) throw new Error(`${readable(target)} is a directory that is not empty`);
      this.#rename(target, `${this.#trash}${this.#discarded++}`);
      return this.#rename(staged, target);
    }
    this.#writable(target, there);
    this.#undo.push(() => utimesSync(native(target), there.atimeMs / 1000, there.mtimeMs / 1000));
    for (const name of readdirSync(native(staged), { encoding: "latin1" }) as string[]) this.#move(`${staged}/${name}`, `${target}/${name}`);
  }

  /** Something else that has to be taken back when a later step fails. */
  done(undo: () => void): void {
    this.#undo.push(undo);
  }

  rollback(): void {
    for (const undo of this.#undo.toReversed()) {
      try {
        undo();
      } catch {
        // The rest is taken back all the same.
      }
    }
  }

  #rename(from: string, to: string): void {
    renameSync(native(from), native(to));
    this.#undo.push(() => renameSync(native(to), native(from)));
  }

  /** Read-only directories (Go's module cache) take nothing in before they are made writable. */
  #writable(directory: string, stats: Stats): void {
    const mode = stats.mode & 0o7777;
    if ((mode & 0o200) === 0) chmodSync(native(directory), mode | 0o700);
    this.#undo.push(() => chmodSync(native(directory), mode));
  }

  #parents(directory: string): void {
    if (existsSync(native(directory))) return;
    this.#parents(dirname(directory));
    mkdirSync(native(directory));
    this.#undo.push(() => rmdirSync(native(directory)));
  }
}

function lstat(path: string): Stats | undefined {
  return lstatSync(native(path), { throwIfNoEntry: false });
}
