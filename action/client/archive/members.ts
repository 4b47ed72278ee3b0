/** What lies in a tree. Hard links name the member that came first. */
export const FILE = 0;
export const DIRECTORY = 1;
export const SYMLINK = 2;
export const HARDLINK = 3;
export type MemberType = typeof FILE | typeof DIRECTORY | typeof SYMLINK | typeof HARDLINK;

/**
 * A member of an archive. Paths and targets are byte strings: each character is one byte (latin1), so that names that are no
 * UTF-8 survive; `native` turns them into what the file system takes.
 */
export interface Member {
  /** Relative to its root, with slashes; empty for the root itself. */
  readonly path: string;
  readonly root: number;
  readonly type: MemberType;
  /** Permission bits. */
  readonly mode: number;
  /** Bytes, of files; 0 for others. */
  readonly size: number;
  /** Modification time. */
  seconds: number;
  nanoseconds: number;
  /** Of a symbolic link. */
  readonly target: string;
  /** The member a hard link is the same file as; -1 for others. */
  readonly link: number;
}

/** Modification time in seconds, as the file system's calls take them; a double is exact to about 100 ns. */
export function timeOf({ seconds, nanoseconds }: Member): number {
  return seconds + nanoseconds / 1e9;
}

/** A part of the content: the bytes of all files, one after the other, in the order of the members. */
export interface Chunk {
  /** SHA-256. */
  readonly id: Buffer;
  readonly length: number;
}

/** Where a chunk's bytes are: number of the frame, start in what it inflates to. */
export interface Place {
  readonly frame: number;
  readonly start: number;
}

// eslint-disable-next-line no-control-regex
const ASCII = /^[\x00-\x7f]*$/;

/** A byte string as file system calls take it. */
export function native(bytes: string): string | Buffer {
  return ASCII.test(bytes) ? bytes : Buffer.from(bytes, "latin1");
}

export function byteString(text: string): string {
  return ASCII.test(text) ? text : Buffer.from(text, "utf8").toString("latin1");
}

/** For messages. */
export function readable(bytes: string): string {
  return Buffer.from(bytes, "latin1").toString("utf8");
}
