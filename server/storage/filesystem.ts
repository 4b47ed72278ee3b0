import type { Stats } from "node:fs";
import fs from "node:fs/promises";
import path from "node:path";
import { Budget } from "./filesystem/budget.ts";
import { Buffers } from "./filesystem/buffers.ts";
import { Handles } from "./filesystem/handles.ts";
import { entries, isCache, isTemporary, Layout } from "./filesystem/layout.ts";
import { FileReader } from "./filesystem/reader.ts";
import { codeOf, removeFile } from "./filesystem/system.ts";
import { FileWriter } from "./filesystem/writer.ts";
import { TruncatedBlob, type BlobReader, type BlobStore, type BlobWriter, type StoredBlob } from "./store.ts";

const MiB = 1024 * 1024;

export interface FilesystemOptions {
  /** Directory of the store; made when absent. Everything in it must be one filesystem. */
  readonly root: string;
  /** Bytes all uploads together may hold in memory before their clients have to wait. Default 24 MiB. */
  readonly unwrittenBytes?: number;
  /** Files kept open for reading. Default 256. */
  readonly openFiles?: number;
  /** Milliseconds after which a file nobody reads is closed. Default 60,000. */
  readonly idle?: number;
  /** Pooled read buffers of 1 MiB. Default 32. */
  readonly readBuffers?: number;
}

/** Opens a store of plain files. @throws the system's error when the directory can't be made */
export async function openFilesystem(options: FilesystemOptions): Promise<BlobStore> {
  const layout = new Layout(options.root);
  await layout.prepare();
  return new FilesystemStore(layout, options);
}

class FilesystemStore implements BlobStore {
  readonly kind = "filesystem";
  readonly #layout: Layout;
  readonly #budget: Budget;
  readonly #buffers: Buffers;
  readonly #handles: Handles;

  constructor(layout: Layout, options: FilesystemOptions) {
    this.#layout = layout;
    this.#budget = new Budget(options.unwrittenBytes ?? 24 * MiB);
    this.#buffers = new Buffers(options.readBuffers ?? 32);
    this.#handles = new Handles(layout, options.openFiles ?? 256, options.idle ?? 60_000);
  }

  async create(cache: string): Promise<BlobWriter> {
    if (!isCache(cache)) throw new Error("not the name of a cache");
    return FileWriter.create(this.#layout, this.#budget, cache);
  }

  async open(name: string, size: number): Promise<BlobReader> {
    const handle = await this.#handles.acquire(name);
    if (handle.size < size) {
      this.#handles.release(handle);
      throw new TruncatedBlob(name, handle.size, size);
    }
    return new FileReader(this.#handles, handle, this.#buffers, size);
  }

  async remove(name: string): Promise<void> {
    const file = this.#layout.file(name);
    if (file === undefined) return;
    await removeFile(file);
    this.#handles.forget(name);
  }

  async *list(): AsyncIterable<StoredBlob> {
    for await (const page of this.#layout.names()) {
      for (const blob of await Promise.all(page.map((name) => this.#stat(name)))) if (blob) yield blob;
    }
  }

  async sweep(olderThan: number): Promise<number> {
    const before = Date.now() - olderThan;
    let removed = 0;
    for await (const entry of entries(this.#layout.temporary)) {
      if (!isTemporary(entry) || this.#layout.unfinished.has(entry)) continue;
      const file = path.join(this.#layout.temporary, entry);
      const stat = await statOrGone(file);
      if (stat && modified(stat) <= before && (await removeFile(file))) removed++;
    }
    return removed;
  }

  async capacity(): Promise<{ total: number; free: number }> {
    const { bsize, blocks, bavail } = await fs.statfs(this.#layout.root);
    return { total: blocks * bsize, free: bavail * bsize };
  }

  async close(): Promise<void> {
    this.#handles.close();
  }

  async #stat(name: string): Promise<StoredBlob | undefined> {
    const stat = await statOrGone(path.join(this.#layout.root, name));
    return stat && { name, size: stat.size, modified: modified(stat) };
  }
}

const modified = (stat: Stats): number => Math.floor(stat.mtimeMs);

async function statOrGone(file: string): Promise<Stats | undefined> {
  try {
    return await fs.stat(file);
  } catch (error) {
    if (codeOf(error) === "ENOENT") return undefined;
    throw error;
  }
}
