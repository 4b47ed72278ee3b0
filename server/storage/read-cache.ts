import { codeOf } from "./filesystem/system.ts";
import { CacheDirectory, type DirectoryOptions } from "./read-cache/directory.ts";
import type { Fill } from "./read-cache/fill.ts";
import { TruncatedBlob, type BlobReader, type BlobStore } from "./store.ts";

export interface ReadCacheOptions extends DirectoryOptions {
  /** Told once for each blob opened: whether its bytes came from the local disk alone, and how many. */
  readonly onRead?: (result: ReadCacheResult, bytes: number) => void;
}

export type ReadCacheResult = "hit" | "miss";
type Push = (chunk: Buffer) => Promise<void> | undefined;

/** Larger blobs are not fetched for a read of a part of them, bytes. */
const MAX_BEHIND = 64 * 1024 * 1024;
/** Blobs fetched behind reads of parts, at once. */
const MAX_FETCHES = 2;

/**
 * The same store with a bounded directory on the local disk in front of its reads. A read of a whole blob leaves a copy
 * there while it streams, at the client's pace and never at the disk's; a read of a part of a small one has it fetched in
 * the background. Names are unique and blobs never change, so nothing here can be out of date. Readers of a blob that is
 * just being copied go to the store themselves: behind a slow client's copy they would be as slow.
 * @throws when the directory can't be made
 */
export async function openReadCache(store: BlobStore, options: ReadCacheOptions): Promise<BlobStore> {
  const directory = await CacheDirectory.open(options);
  const { onRead = () => {} } = options;
  const fetches = new Set<Promise<void>>();

  const fetch = async (name: string, size: number): Promise<void> => {
    const fill = directory.fill(name, size);
    if (!fill) return;
    try {
      await readAndClose(await store.open(name, size), 0, size, (chunk) => fill.write(chunk));
      fill.finish();
    } catch {
      fill.drop();
    }
    await fill.ended;
  };
  const fetchBehind = (name: string, size: number): void => {
    if (size > MAX_BEHIND || fetches.size >= MAX_FETCHES) return;
    const fetched = fetch(name, size).finally(() => fetches.delete(fetched));
    fetches.add(fetched);
  };

  const presign = store.presign?.bind(store);
  return {
    kind: store.kind,
    create: (cache) => store.create(cache),
    open: async (name, size) => {
      const local = await directory.open(name, size);
      if (local) return counted(new LocalReader(local, () => directory.remove(name).then(() => store.open(name, size))), onRead);
      const remote = await store.open(name, size);
      return counted(new RemoteReader(remote, () => directory.fill(name, size), () => fetchBehind(name, size)), onRead);
    },
    remove: async (name) => {
      await store.remove(name);
      await directory.remove(name);
    },
    list: () => store.list(),
    sweep: (olderThan) => store.sweep(olderThan),
    capacity: () => store.capacity(),
    ...(presign && { presign }),
    close: async () => {
      await directory.close();
      await Promise.all(fetches);
      await store.close();
    },
  };
}

interface CacheReader extends BlobReader {
  /** What it has been so far. */
  readonly result: ReadCacheResult;
}

/** Reads the local copy; what its disk fails to give comes from the store. */
class LocalReader implements CacheReader {
  readonly size: number;
  result: ReadCacheResult = "hit";
  readonly #local: BlobReader;
  readonly #again: () => Promise<BlobReader>;

  /** @param again opens the blob in the store, the copy being of no use */
  constructor(local: BlobReader, again: () => Promise<BlobReader>) {
    this.size = local.size;
    this.#local = local;
    this.#again = again;
  }

  async read(start: number, end: number, push: Push): Promise<void> {
    let position = start;
    let refused = false;
    const onward = async (chunk: Buffer) => {
      try {
        await push(chunk);
      } catch (error) {
        refused = true;
        throw error;
      }
      position += chunk.length;
    };
    try {
      await this.#local.read(start, end, onward);
    } catch (error) {
      const diskFailed = error instanceof TruncatedBlob || codeOf(error) !== undefined;
      if (refused || !diskFailed) throw error;
      this.result = "miss";
      await readAndClose(await this.#again(), position, end, push);
    }
  }

  close(): Promise<void> {
    return this.#local.close();
  }
}

/** Reads the store; whole reads leave a copy behind. */
class RemoteReader implements CacheReader {
  readonly size: number;
  readonly result = "miss";
  readonly #remote: BlobReader;
  readonly #fill: () => Fill | undefined;
  readonly #fetchBehind: () => void;

  constructor(remote: BlobReader, fill: () => Fill | undefined, fetchBehind: () => void) {
    this.size = remote.size;
    this.#remote = remote;
    this.#fill = fill;
    this.#fetchBehind = fetchBehind;
  }

  async read(start: number, end: number, push: Push): Promise<void> {
    const whole = start === 0 && end === this.size;
    const fill = whole ? this.#fill() : undefined;
    if (!fill) {
      await this.#remote.read(start, end, push);
      if (!whole && start < end) this.#fetchBehind();
      return;
    }
    try {
      await this.#remote.read(start, end, (chunk) => {
        fill.take(chunk);
        return push(chunk);
      });
      fill.finish();
    } catch (error) {
      fill.drop();
      throw error;
    }
  }

  close(): Promise<void> {
    return this.#remote.close();
  }
}

async function readAndClose(reader: BlobReader, start: number, end: number, push: Push): Promise<void> {
  try {
    await reader.read(start, end, push);
  } finally {
    await reader.close();
  }
}

/** The same reader; tells its result and its bytes when it is closed. */
function counted(reader: CacheReader, onRead: NonNullable<ReadCacheOptions["onRead"]>): BlobReader {
  let bytes = 0;
  let closed = false;
  return {
    size: reader.size,
    read: (start, end, push) =>
      reader.read(start, end, (chunk) => {
        bytes += chunk.length;
        return push(chunk);
      }),
    close: async () => {
      if (!closed) onRead(reader.result, bytes);
      closed = true;
      await reader.close();
    },
  };
}
