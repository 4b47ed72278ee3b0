import crypto from "node:crypto";
import fs from "node:fs/promises";
import path from "node:path";
import { LRUCache } from "lru-cache";
import { Buffers } from "../filesystem/buffers.ts";
import { Handles } from "../filesystem/handles.ts";
import { entries, randomPart } from "../filesystem/layout.ts";
import { FileReader } from "../filesystem/reader.ts";
import { removeFile } from "../filesystem/system.ts";
import type { BlobReader } from "../store.ts";
import { Fill } from "./fill.ts";

export interface DirectoryOptions {
  readonly path: string;
  /** Bytes, never exceeded. */
  readonly size: number;
  /** Processes that use this directory at once; each is given the same path and size. Default 1. */
  readonly sharers?: number;
  /** Part of the disk (0 to 1) that others are to find free. Default 0. */
  readonly minFree?: number;
}

interface Found {
  readonly key: string;
  readonly size: number;
  /** Last used, ms. */
  readonly used: number;
}

/** Parts of the size: above HIGH the least recently used files go, down to LOW. */
const HIGH = 0.9;
const LOW = 0.8;
/** Files kept, whatever their size: a look at them all must fit into memory. */
const MAX_FILES = 500_000;
const STATS_AT_ONCE = 32;
const MAX_FILLS = 16;
/** A file's last use is written down no more often than this, ms. */
const USE_STEP = 60_000;
/** How often the disk's free space is looked at, ms. */
const LOOK_EVERY = 10_000;
const MAX_FREE = 4 * 1024 ** 3;
const FAN_OUT = /^[0-9a-f]{2}$/;
const KEY = /^[0-9a-f]{64}$/;

/**
 * Copies of blobs in a bounded directory: `<path>/<ab>/<SHA-256 of the name>`. The directory itself is the index (a file's
 * mtime is its last use), so a restart costs nothing and processes can share it; a look at all files, in the background,
 * makes room.
 */
export class CacheDirectory {
  readonly #root: string;
  readonly #temporary: string;
  readonly #size: number;
  readonly #sharers: number;
  readonly #minFree: number;
  readonly #handles: Handles;
  readonly #buffers = new Buffers(16);
  readonly #fills = new Map<string, Fill>();
  /** Last uses: `at` as it is, `noted` as the file tells it. */
  readonly #uses = new LRUCache<string, { at: number; noted: number }>({ max: 10_000 });
  readonly #timer: NodeJS.Timeout;
  /** Bytes at the last look; Infinity before the first, so nothing is added until it is known what is there. */
  #known = Infinity;
  /** Bytes this process has added since then, and is adding now. */
  #added = 0;
  #filling = 0;
  /** Bytes the disk can take before others miss them. */
  #spare = 0;
  #looking: Promise<void> | undefined;
  #closed = false;

  /** Removes what unfinished fills left behind; looks at the files in the background. @throws when the directory can't be made */
  static async open(options: DirectoryOptions): Promise<CacheDirectory> {
    const directory = new CacheDirectory(options);
    await fs.mkdir(directory.#temporary, { recursive: true });
    // A fill of another process among them ends without harm: its file has no name yet.
    for await (const file of entries(directory.#temporary)) await removeFile(path.join(directory.#temporary, file));
    void directory.look();
    return directory;
  }

  private constructor({ path: root, size, sharers = 1, minFree = 0 }: DirectoryOptions) {
    this.#root = path.resolve(root);
    this.#temporary = path.join(this.#root, "tmp");
    // Each may add its part of what it found free, but what one finds the others may be about to add to. So in all there
    // is at most what one keeps to, and the parts of all others once more.
    this.#size = (size * sharers) / (2 * sharers - 1);
    this.#sharers = sharers;
    this.#minFree = minFree;
    this.#handles = new Handles({ file: (key) => this.#file(key) }, 256, 60_000);
    this.#timer = setInterval(() => void this.#giveWay(), LOOK_EVERY).unref();
  }

  /** The copy of a blob, where there is a whole one. Never rejects: trouble with the disk counts as none. */
  async open(name: string, size: number): Promise<BlobReader | undefined> {
    const key = keyOf(name);
    try {
      const handle = await this.#handles.acquire(key);
      if (handle.size === size) {
        this.#use(key);
        return new FileReader(this.#handles, handle, this.#buffers, size);
      }
      this.#handles.release(handle);
      await this.remove(name);
    } catch {
      // Not there, or not to be read.
    }
    return undefined;
  }

  /** Starts a copy; undefined where there is no room for it, or one is being made already. */
  fill(name: string, size: number): Fill | undefined {
    const key = keyOf(name);
    if (this.#closed || size === 0 || this.#fills.has(key) || this.#fills.size >= MAX_FILLS || !this.#fits(size)) return undefined;
    const fill = new Fill(path.join(this.#temporary, randomPart()), this.#file(key), size);
    this.#fills.set(key, fill);
    this.#filling += size;
    void fill.ended.then((stored) => {
      this.#fills.delete(key);
      this.#filling -= size;
      if (!stored) return;
      this.#added += size;
      this.#spare -= size;
      if (this.#known + this.#added * this.#sharers > this.#size * HIGH) void this.look();
    });
    return fill;
  }

  /** Deletes a copy, if there is one. Never rejects. */
  async remove(name: string): Promise<void> {
    const key = keyOf(name);
    const fill = this.#fills.get(key);
    fill?.drop();
    await fill?.ended;
    await this.#delete(key);
  }

  /** Counts all files and makes room where it is needed; one look at a time. Never rejects. */
  look(): Promise<void> {
    this.#looking ??= this.#look()
      .catch(() => {})
      .finally(() => (this.#looking = undefined));
    return this.#looking;
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#timer);
    const fills = [...this.#fills.values()];
    for (const fill of fills) fill.drop();
    await Promise.all(fills.map((fill) => fill.ended));
    await this.#looking;
    this.#handles.close();
  }

  /** The other processes may add as much as this one does. A large blob would cost too many others. */
  #fits(size: number): boolean {
    if (size * this.#sharers > this.#size * (1 - HIGH) || size + this.#filling > this.#spare) return false;
    return this.#known + (this.#added + this.#filling + size) * this.#sharers <= this.#size;
  }

  async #look(): Promise<void> {
    const before = this.#added;
    const files = await this.#list();
    await this.#lookAtDisk();
    let bytes = files.reduce((sum, file) => sum + file.size, 0);
    const goal = Math.min(bytes > this.#size * HIGH ? this.#size * LOW : bytes, bytes + this.#spare);
    if (bytes > goal) {
      for (const { key, size } of files.sort((a, b) => a.used - b.used)) {
        if (bytes <= goal || this.#closed) break;
        await this.#delete(key);
        bytes -= size;
        this.#spare += size;
      }
    }
    this.#known = bytes;
    this.#added -= before;
  }

  async #list(): Promise<Found[]> {
    const found: Found[] = [];
    let page: string[] = [];
    const take = async () => {
      for (const file of await Promise.all(page.map((key) => this.#stat(key)))) {
        if (file && found.length < MAX_FILES) found.push(file);
        else if (file) await this.#delete(file.key);
      }
      page = [];
    };
    for await (const fan of entries(this.#root)) {
      if (!FAN_OUT.test(fan)) continue;
      for await (const key of entries(path.join(this.#root, fan))) {
        if (this.#closed) return found;
        if (KEY.test(key) && key.startsWith(fan)) page.push(key);
        if (page.length === STATS_AT_ONCE) await take();
      }
    }
    await take();
    return found;
  }

  async #stat(key: string): Promise<Found | undefined> {
    const stat = await fs.stat(this.#file(key)).catch(() => undefined);
    return stat && { key, size: stat.size, used: Math.max(stat.mtimeMs, this.#uses.get(key)?.at ?? 0) };
  }

  /** Makes room where others have filled the disk. Never rejects. */
  async #giveWay(): Promise<void> {
    await this.#lookAtDisk().catch(() => {});
    if (this.#spare < 0) await this.look();
  }

  /** This cache gives way before entries have to: it leaves twice of what eviction keeps free. */
  async #lookAtDisk(): Promise<void> {
    const { bsize, blocks, bavail } = await fs.statfs(this.#root);
    this.#spare = (bavail - Math.min(2 * this.#minFree * blocks, MAX_FREE / bsize)) * bsize;
  }

  async #delete(key: string): Promise<void> {
    await removeFile(this.#file(key)).catch(() => {});
    this.#handles.forget(key);
  }

  #use(key: string): void {
    const now = Date.now();
    const use = this.#uses.get(key) ?? { at: now, noted: 0 };
    this.#uses.set(key, use);
    use.at = now;
    if (now - use.noted < USE_STEP) return;
    use.noted = now;
    fs.utimes(this.#file(key), now / 1000, now / 1000).catch(() => {});
  }

  #file(key: string): string {
    return path.join(this.#root, key.slice(0, 2), key);
  }
}

function keyOf(name: string): string {
  return crypto.hash("sha256", name);
}
