import fs from "node:fs";
import path from "node:path";
import type { BlobWriter } from "../store.ts";
import type { Budget, Holder } from "./budget.ts";
import { isDigest, randomPart, type Layout } from "./layout.ts";
import { close, fdatasync, open, removeFile } from "./system.ts";

const BATCH_BYTES = 512 * 1024;
/** Written bytes that are sent to the disk while more arrive, so that the last sync has little left to wait for. */
const SYNC_AHEAD_BYTES = 16 * 1024 * 1024;
/** A batch of tiny chunks is full by count: each costs memory beside its bytes. */
const BATCH_CHUNKS = 512;

/**
 * Writes one blob: chunks are gathered into batches, one `writev` in flight at a time, then fdatasync, rename, fsync of the
 * directory. Large blobs are synced while they arrive, too. A failure closes and deletes the temporary file at once and is what every later call rejects with.
 */
export class FileWriter implements BlobWriter, Holder {
  readonly #layout: Layout;
  readonly #budget: Budget;
  readonly #cache: string;
  readonly #temporary: string;
  readonly #fd: number;
  #pending: Buffer[] = [];
  #pendingBytes = 0;
  #flyingBytes = 0;
  #unsyncedBytes = 0;
  /** Calls that use the descriptor: it must not be closed, and its number reused, before they are back. */
  #writing = false;
  #syncing = false;
  #finishing = false;
  #error: unknown;
  /** Set by commit, abort or a failure, whichever ends the writer. */
  #end: Promise<unknown> | undefined;
  #waiter: { resolve: () => void; reject: (error: unknown) => void } | undefined;
  #drained: (() => void) | undefined;

  private constructor(layout: Layout, budget: Budget, cache: string, temporary: string, fd: number) {
    this.#layout = layout;
    this.#budget = budget;
    this.#cache = cache;
    this.#temporary = temporary;
    this.#fd = fd;
    budget.join(this);
  }

  static async create(layout: Layout, budget: Budget, cache: string): Promise<FileWriter> {
    const file = randomPart();
    const temporary = path.join(layout.temporary, file);
    const { O_WRONLY, O_CREAT, O_EXCL } = fs.constants;
    layout.unfinished.add(file);
    try {
      return new FileWriter(layout, budget, cache, temporary, await open(temporary, O_WRONLY | O_CREAT | O_EXCL, 0o640));
    } catch (error) {
      layout.unfinished.delete(file);
      throw error;
    }
  }

  write(chunk: Buffer): Promise<void> | undefined {
    if (this.#error !== undefined) return Promise.reject(this.#error);
    if (this.#end) return Promise.reject(new Error("write after commit or abort"));
    if (chunk.length === 0) return undefined;
    this.#pending.push(chunk);
    this.#pendingBytes += chunk.length;
    this.#budget.take(chunk.length);
    if (this.#due()) this.press();
    if (!this.#blocked()) return undefined;
    return new Promise((resolve, reject) => {
      this.#waiter = { resolve, reject };
    });
  }

  commit(digest: string): Promise<string> {
    if (this.#error !== undefined) return Promise.reject(this.#error);
    if (this.#end) return Promise.reject(new Error("commit after commit or abort"));
    if (!isDigest(digest)) return this.abort().then(() => Promise.reject(new Error("a blob is committed under the SHA-256 of its bytes")));
    const committed = this.#commit(digest);
    this.#end = committed.catch(() => {});
    return committed;
  }

  async abort(): Promise<void> {
    await (this.#end ??= this.#abort());
  }

  press(): void {
    if (this.#flyingBytes > 0 || this.#pendingBytes === 0) return;
    const batch = this.#pending;
    this.#flyingBytes = this.#pendingBytes;
    this.#pending = [];
    this.#pendingBytes = 0;
    this.#writev(batch);
  }

  relieve(): void {
    if (!this.#waiter || this.#blocked()) return;
    const { resolve } = this.#waiter;
    this.#waiter = undefined;
    resolve();
  }

  #due(): boolean {
    return this.#pendingBytes >= BATCH_BYTES || this.#pending.length >= BATCH_CHUNKS || this.#finishing || this.#budget.overdrawn;
  }

  #blocked(): boolean {
    return this.#budget.overdrawn || this.#pendingBytes + this.#flyingBytes > 2 * BATCH_BYTES || this.#pending.length > BATCH_CHUNKS;
  }

  #writev(batch: Buffer[]): void {
    this.#writing = true;
    fs.writev(this.#fd, batch, (error, written) => {
      this.#writing = false;
      if (this.#error !== undefined) return this.#settle();
      if (error) return this.#fail(error);
      // A full disk may take a part of a batch and only then say so.
      if (written === 0) return this.#fail(Object.assign(new Error("the filesystem took no bytes"), { code: "EIO" }));
      this.#flyingBytes -= written;
      this.#budget.giveBack(written);
      if (this.#flyingBytes > 0) return this.#writev(after(batch, written));
      this.#syncAhead((this.#unsyncedBytes += written));
      if (this.#due()) this.press();
      this.#settle();
      this.relieve();
    });
  }

  #syncAhead(unsynced: number): void {
    if (this.#syncing || this.#finishing || unsynced < SYNC_AHEAD_BYTES) return;
    this.#syncing = true;
    this.#unsyncedBytes = 0;
    fs.fdatasync(this.#fd, (error) => {
      this.#syncing = false;
      if (error && this.#error === undefined) this.#fail(error);
      else this.#settle();
    });
  }

  #settle(): void {
    if (this.#idle) this.#drained?.();
  }

  get #idle(): boolean {
    return !this.#writing && !this.#syncing;
  }

  async #commit(digest: string): Promise<string> {
    try {
      await this.#drain();
      if (this.#error !== undefined) throw this.#error;
      await fdatasync(this.#fd);
      const name = await this.#layout.publish(this.#temporary, this.#cache, digest);
      await this.#release(false);
      return name;
    } catch (error) {
      this.#error ??= error;
      await this.#release(true);
      throw error;
    }
  }

  async #abort(): Promise<void> {
    this.#dropPending();
    // The descriptor's number may be reused as soon as it is closed, so no write may be in flight then.
    await this.#drain();
    this.#waiter?.resolve();
    this.#waiter = undefined;
    await this.#release(true);
  }

  #fail(error: unknown): void {
    this.#error = error;
    this.#waiter?.reject(error);
    this.#waiter = undefined;
    const flying = this.#flyingBytes;
    this.#flyingBytes = 0;
    this.#budget.giveBack(flying);
    this.#dropPending();
    this.#end ??= this.#quiet().then(() => this.#release(true));
    this.#settle();
  }

  #dropPending(): void {
    const bytes = this.#pendingBytes;
    this.#pending = [];
    this.#pendingBytes = 0;
    this.#budget.giveBack(bytes);
  }

  /** Resolves when nothing is in flight and nothing pending. */
  #drain(): Promise<void> {
    this.#finishing = true;
    this.press();
    return this.#quiet();
  }

  #quiet(): Promise<void> {
    if (this.#idle) return Promise.resolve();
    return new Promise((resolve) => {
      this.#drained = resolve;
    });
  }

  async #release(unlink: boolean): Promise<void> {
    this.#budget.leave(this);
    await close(this.#fd).catch(() => {});
    if (unlink) await removeFile(this.#temporary).catch(() => {});
    this.#layout.unfinished.delete(path.basename(this.#temporary));
  }
}

/** The rest of a batch of which the first bytes are written. */
function after(batch: Buffer[], written: number): Buffer[] {
  let index = 0;
  while (written >= batch[index]!.length) written -= batch[index++]!.length;
  return [batch[index]!.subarray(written), ...batch.slice(index + 1)];
}
