import { lstatSync, readdirSync, readlinkSync, type Stats } from "node:fs";
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
    const stats = lstatSync(native(absolute));
    const member = describe(stats, path, root, absolute);
    if (!member) return;
    if (member.type === FILE && stats.nlink > 1) {
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

function describe(stats: Stats, path: string, root: number, absolute: string): Found | undefined {
  const type = stats.isFile() ? FILE : stats.isDirectory() ? DIRECTORY : stats.isSymbolicLink() ? SYMLINK : undefined;
  if (type === undefined) return undefined;
  const seconds = Math.floor(stats.mtimeMs / 1000);
  return {
    path, root, type, mode: stats.mode & 0o7777, size: type === FILE ? stats.size : 0,
    seconds, nanoseconds: Math.min(Math.round((stats.mtimeMs - seconds * 1000) * 1e6), 999_999_999),
    target: type === SYMLINK ? readlinkSync(native(absolute), { encoding: "latin1" }) : "", link: -1,
    modified: stats.mtimeMs, changed: stats.ctimeMs, inode: stats.ino,
  };
}

/** The exact time of a member, which floating point is too coarse for. */
export function exactTime(member: Member, absolute: string): void {
  const { mtimeNs } = lstatSync(native(absolute), { bigint: true });
  const seconds = mtimeNs >= 0n ? mtimeNs / 1_000_000_000n : (mtimeNs - 999_999_999n) / 1_000_000_000n;
  member.seconds = Number(seconds);
  member.nanoseconds = Number(mtimeNs - seconds * 1_000_000_000n);
}
