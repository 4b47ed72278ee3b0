import { mkdirSync } from "node:fs";
import { dirname } from "node:path";
import { Worker } from "node:worker_threads";
import { DatabaseUnavailable, type Database } from "./database.ts";
import type { Arguments, OperationName, Result } from "./operations.ts";
import { SqliteSession } from "./sqlite-session.ts";
import type { Reply, Request } from "./sqlite-worker.ts";

export interface SqliteOptions {
  /** The database file; its folder is made. */
  path: string;
  /** How long a write waits for others to share its commit and its fsync, ms. */
  window?: number;
  /** Whether other processes write to the file too; then each waits for the others' transactions, up to five seconds. */
  shared?: boolean;
}

type Waiter = { resolve: (value: never) => void; reject: (error: Error) => void };

/** Writes that may wait at once; beyond it the database is slower than its clients and says so. */
const MAX_WAITING = 20_000;

/**
 * Opens (and migrates) a SQLite database. All writes run in one worker thread, those that arrive within the window share a
 * transaction (measured: 2 ms give the most commits a second); the main thread reads by prepared statements.
 * @throws DatabaseUnavailable when the file can't be opened
 */
export async function openSqlite(options: SqliteOptions): Promise<Database> {
  mkdirSync(dirname(options.path), { recursive: true });
  const writer = new Writer(options.path, options.window ?? 2);
  await writer.ready();
  const reader = new SqliteSession(options.path, true);
  reader.db.exec("PRAGMA query_only = 1; PRAGMA cache_size = -16384");

  return {
    kind: "sqlite",
    shared: options.shared ?? false,
    read: <N extends OperationName>(name: N, args: Arguments<N>) => reader.run(name, args) as Result<N>,
    write: (name, args) => writer.send(name, args, true) as never,
    scan: (name, args) => writer.send(name, args, false) as never,
    ping: async () => void reader.db.prepare("SELECT 1").get(),
    close: async () => {
      await writer.close();
      if (reader.db.isOpen) reader.db.close();
    },
  };
}

class Writer {
  readonly #path: string;
  readonly #window: number;
  #worker!: Worker;
  #started!: Promise<void>;
  readonly #waiting = new Map<number, Waiter>();
  #batch: { id: number; name: OperationName; args: unknown }[] = [];
  #timer: NodeJS.Timeout | undefined;
  #nextId = 1;
  #closed = false;

  constructor(path: string, window: number) {
    this.#path = path;
    this.#window = window;
    this.#start();
  }

  ready(): Promise<void> {
    return this.#started;
  }

  #start(): void {
    const extension = import.meta.url.endsWith(".ts") ? "ts" : "mjs";
    const worker = new Worker(new URL(`./sqlite-worker.${extension}`, import.meta.url), { workerData: { path: this.#path } });
    this.#worker = worker;
    this.#started = new Promise((resolve, reject) => {
      worker.once("message", () => resolve());
      worker.once("error", (error) => reject(new DatabaseUnavailable(`SQLite database ${this.#path}: ${error.message}`, { cause: error })));
      worker.once("exit", () => reject(new DatabaseUnavailable("the database worker ended")));
    });
    this.#started.catch(() => {});
    worker.on("message", (replies: Reply[]) => this.#settle(replies));
    worker.on("error", () => {});
    worker.on("exit", () => {
      for (const waiter of this.#waiting.values()) waiter.reject(new DatabaseUnavailable("the database worker ended before it answered"));
      this.#waiting.clear();
      // Who asked for these has just been told that they failed.
      this.#batch = [];
      if (!this.#closed && this.#worker === worker) this.#worker = undefined as never;
    });
  }

  #settle(replies: Reply[]): void {
    for (const reply of replies) {
      const waiter = this.#waiting.get(reply.id);
      if (!waiter) continue;
      this.#waiting.delete(reply.id);
      if ("error" in reply) {
        const { message, code, errcode } = reply.error;
        waiter.reject(Object.assign(new DatabaseUnavailable(message), { code, errcode }));
      } else waiter.resolve(reply.value as never);
    }
  }

  send(name: OperationName, args: unknown, write: boolean): Promise<unknown> {
    if (this.#closed) return Promise.reject(new DatabaseUnavailable("the database is closed"));
    if (this.#waiting.size >= MAX_WAITING) return Promise.reject(new DatabaseUnavailable("too many writes wait for the database"));
    // A worker that died is replaced; the next call finds out whether the new one works.
    if (!this.#worker) this.#start();
    return new Promise((resolve, reject) => {
      const id = this.#nextId++;
      this.#waiting.set(id, { resolve, reject });
      if (write) {
        this.#batch.push({ id, name, args });
        this.#timer ??= setTimeout(() => this.#flush(), this.#window);
      } else this.#post({ scan: { id, name, args } });
    });
  }

  #flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const batch = this.#batch;
    this.#batch = [];
    if (batch.length > 0) this.#post({ batch });
  }

  #post(request: Request): void {
    // Between a worker's death and its replacement: the exit handler has rejected or will reject who waits.
    if (!this.#worker) this.#start();
    this.#worker.postMessage(request);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#flush();
    this.#closed = true;
    if (!this.#worker) return;
    const worker = this.#worker;
    await new Promise<void>((resolve) => {
      worker.once("exit", () => resolve());
      worker.postMessage("close" satisfies Request);
    });
  }
}
