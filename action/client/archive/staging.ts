import { accessSync, chmodSync, constants, copyFileSync, linkSync, lstatSync, lutimesSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, symlinkSync, truncateSync, utimesSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { byteString, DIRECTORY, FILE, HARDLINK, native, SYMLINK, timeOf, type Member } from "./members.ts";
import { MoveIn } from "./move-in.ts";
import { newSeen, type Seen } from "./stat-index.ts";
import { STAGING_PREFIX } from "./walk.ts";

/** Directories of restores that ended without a word are removed after so long, ms. */
const ABANDONED = 24 * 60 * 60 * 1000;

/**
 * A tree in the making, beside its places on their own file systems. Links are made last, so that nothing is ever written
 * through one; directories get their modes when all has been moved.
 */
export class Staging {
  readonly #members: readonly Member[];
  /** Absolute, as byte strings: where each root will be, and where it is made. */
  readonly #targets: readonly string[];
  readonly #staged: string[] = [];
  readonly #bases = new Map<string, string>();
  readonly seen: Seen;

  /** @param targets absolute paths of the roots @throws what the file system throws */
  constructor(members: readonly Member[], targets: readonly string[]) {
    this.#members = members;
    this.#targets = targets.map(byteString);
    this.seen = newSeen(members.length);
    for (const [i, target] of targets.entries()) {
      const base = baseOf(target);
      let staging = this.#bases.get(base);
      if (staging === undefined) {
        sweep(base);
        staging = mkdtempSync(join(base, STAGING_PREFIX));
        this.#bases.set(base, staging);
        mkdirSync(join(staging, "trash"));
      }
      this.#staged.push(`${byteString(staging)}/${i}`);
    }
  }

  /** The directories in which all else is made, each before what is in it. */
  directories(): string[] {
    return [...this.#members.keys()].filter((i) => this.#members[i]!.type === DIRECTORY).map((i) => this.path(i));
  }

  /** Where a member is made, as a byte string. */
  path(member: number): string {
    return at(this.#staged, this.#members[member]!);
  }

  /** What workers can't do: empty files, files in several pieces, links. @param pieced files written piece by piece */
  finish(pieced: ReadonlySet<number>): void {
    for (const [i, member] of this.#members.entries()) {
      const path = native(this.path(i));
      if (member.type === FILE && (member.size === 0 || pieced.has(i))) {
        if (member.size === 0) writeFileSync(path, "", { flag: "wx" });
        else truncateSync(path, member.size);
        chmodSync(path, member.mode);
        utimesSync(path, timeOf(member), timeOf(member));
        this.#see(i, path);
      } else if (member.type === HARDLINK) {
        const original = native(this.path(member.link));
        try {
          linkSync(original, path);
        } catch (error) {
          // Roots on different file systems.
          if ((error as NodeJS.ErrnoException).code !== "EXDEV") throw error;
          copyFileSync(original, path);
        }
        this.#see(member.link, original);
      }
    }
    for (const [i, member] of this.#members.entries()) {
      if (member.type !== SYMLINK) continue;
      const path = native(this.path(i));
      symlinkSync(native(member.target), path);
      lutimesSync(path, timeOf(member), timeOf(member));
    }
  }

  /** Moves everything to its place; when it throws, the places are as they were. */
  moveIn(): void {
    const moves: MoveIn[] = [];
    try {
      for (const [i, target] of this.#targets.entries()) {
        const move = new MoveIn(`${dirname(this.#staged[i]!)}/trash/${i}-`);
        moves.push(move);
        move.move(this.#staged[i]!, target);
      }
      this.#directories(moves);
    } catch (error) {
      for (const move of moves.toReversed()) move.rollback();
      throw error;
    }
    for (const [i, member] of this.#members.entries()) {
      // Renaming a file changes its change time, renaming a directory above it doesn't.
      if (member.type !== FILE || moves[member.root]!.merged || member.path === "") this.#see(i, native(at(this.#targets, member)));
    }
  }

  #directories(moves: readonly MoveIn[]): void {
    for (const member of this.#members.toReversed()) {
      if (member.type !== DIRECTORY) continue;
      const path = native(at(this.#targets, member));
      chmodSync(path, member.mode);
      moves[member.root]!.done(() => chmodSync(path, 0o700));
      utimesSync(path, timeOf(member), timeOf(member));
    }
  }

  #see(member: number, path: string | Buffer): void {
    const { mtimeMs, ctimeMs, ino } = lstatSync(path);
    this.seen.modified[member] = mtimeMs;
    this.seen.changed[member] = ctimeMs;
    this.seen.inode[member] = ino;
  }

  /** Removes what was not moved. Never throws: it is swept later. */
  remove(): void {
    for (const staging of this.#bases.values()) removeTree(staging);
  }
}

function at(roots: readonly string[], { root, path }: Member): string {
  return path === "" ? roots[root]! : `${roots[root]!}/${path}`;
}

/** The directory in which a target is made: its nearest that exists, or itself where that is another file system or can't be written. */
function baseOf(target: string): string {
  let parent = dirname(target);
  while (!statSync(parent, { throwIfNoEntry: false })?.isDirectory() && dirname(parent) !== parent) parent = dirname(parent);
  const own = lstatSync(target, { throwIfNoEntry: false });
  if (!own?.isDirectory()) return parent;
  return own.dev === statSync(parent).dev && isWritable(parent) ? parent : target;
}

function isWritable(directory: string): boolean {
  try {
    accessSync(directory, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

function sweep(base: string): void {
  for (const name of readdirSync(base)) {
    if (!name.startsWith(STAGING_PREFIX)) continue;
    const path = join(base, name);
    const stats = lstatSync(path, { throwIfNoEntry: false });
    if (stats?.isDirectory() && Date.now() - stats.mtimeMs > ABANDONED) removeTree(path);
  }
}

function removeTree(path: string): void {
  try {
    rmSync(path, { recursive: true, force: true });
  } catch {
    try {
      // Read-only directories let nothing go.
      makeWritable(byteString(path));
      rmSync(path, { recursive: true, force: true });
    } catch {
      // Somebody else's files; there is nothing more to do.
    }
  }
}

function makeWritable(directory: string): void {
  chmodSync(native(directory), 0o700);
  for (const name of readdirSync(native(directory), { encoding: "latin1" }) as string[]) {
    const path = `${directory}/${name}`;
    if (lstatSync(native(path)).isDirectory()) makeWritable(path);
  }
}
