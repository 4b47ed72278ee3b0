import { lstatSync, readdirSync, readlinkSync, type BigIntStats } from "node:fs";
import { DIRECTORY, FILE, HARDLINK, native, SYMLINK, type Member } from "./members.ts";

/** A member as it was found. */
export interface Found extends Member {
  /** What tells that a file was not touched since, besides its size (ms, as floating point). */
  readonly modified: number;
  readonly changed: number;
  readonly inode: number;
}

/** Directories that restores work in; one that was left behind is not saved. */
export const STAGING_PREFIX = ".stowhouse-restore-";

/**
 * All members at and below the roots, each directory before what is in it, names in the order of their bytes. Sockets,
 * pipes and devices are left out. Synchronous calls in one thread are the fastest way (archive.md §3).
 * @param roots absolute paths as byte strings @throws what the file system throws
 */
export function walk(roots: readonly string[]): Found[] {
  const members: Found[] = [];
  const linked = new Map<string, number>();
  const visit = (absolute: string, path: string, root: number): void => {
    const stats = lstatSync(native(absolute), { bigint: true });
    const member = describe(stats, path, root, absolute);
    if (!member) return;
    if (member.type === FILE && stats.nlink > 1n) {
      const inode = `${stats.dev}:${stats.ino}`;
      const link = linked.get(inode);
      if (link === undefined) linked.set(inode, members.length);
      else return void members.push({ ...member, type: HARDLINK, size: 0, link });
    }
    members.push(member);
    if (member.type !== DIRECTORY) return;
    const below = path === "" ? "" : `${path}/`;
    for (const name of (readdirSync(native(absolute), { encoding: "latin1" }) as string[]).toSorted()) {
      if (!name.startsWith(STAGING_PREFIX)) visit(`${absolute}/${name}`, below + name, root);
    }
  };
  for (const [root, path] of roots.entries()) visit(path, "", root);
  return members;
}

function describe(stats: BigIntStats, path: string, root: number, absolute: string): Found | undefined {
  const type = stats.isFile() ? FILE : stats.isDirectory() ? DIRECTORY : stats.isSymbolicLink() ? SYMLINK : undefined;
  if (type === undefined) return undefined;
  const [seconds, nanoseconds] = exact(stats.mtimeNs);
  return {
    path, root, type, mode: Number(stats.mode) & 0o7777, size: type === FILE ? Number(stats.size) : 0, seconds, nanoseconds,
    target: type === SYMLINK ? readlinkSync(native(absolute), { encoding: "latin1" }) : "", link: -1,
    modified: milliseconds(seconds, nanoseconds), changed: milliseconds(...exact(stats.ctimeNs)), inode: Number(stats.ino),
  };
}

/** Seconds and nanoseconds of a time, which a floating point number is too coarse for. */
function exact(time: bigint): [seconds: number, nanoseconds: number] {
  const rest = time % 1_000_000_000n;
  const nanoseconds = rest < 0n ? rest + 1_000_000_000n : rest;
  return [Number((time - nanoseconds) / 1_000_000_000n), Number(nanoseconds)];
}

/** As `Stats` rounds it: workers compare their own look at a file with this. */
function milliseconds(seconds: number, nanoseconds: number): number {
  return seconds * 1_000 + nanoseconds / 1_000_000;
}
