/** A connection is of no use any more once it was dropped or the other side has ended it. */
export interface Connection {
  /** Ends it at once, whatever runs on it. */
  drop(): void;
}

export interface PoolOptions<C extends Connection> {
  readonly max: number;
  /** @param lost to be called when the other side has ended it */
  readonly connect: (lost: () => void) => C;
  /** Whether a call's error leaves its connection fit for the next call. */
  readonly harmless: (error: unknown) => boolean;
}

interface Waiting<C> {
  take(connection: C): void;
  refuse(error: Error): void;
}

/** Calls that may wait for a connection; beyond it the database is slower than its clients and says so. */
const MAX_WAITING = 20_000;

/**
 * A bounded number of connections, each used by one call at a time and dropped after the first error that is not the
 * call's own: nobody meets one again that has gone silent or was left in the middle of something.
 */
export class Pool<C extends Connection> {
  readonly #options: PoolOptions<C>;
  readonly #idle: C[] = [];
  readonly #busy = new Set<C>();
  readonly #lost = new WeakSet<C>();
  readonly #line = new Set<Waiting<C>>();
  #closed = false;
  #emptied: (() => void) | undefined;

  constructor(options: PoolOptions<C>) {
    this.#options = options;
  }

  /** Runs a call on a connection of its own. @param limit ms, waiting included @throws what the call throws, or that the time is over */
  async use<T>(limit: number, call: (connection: C) => Promise<T>): Promise<T> {
    const end = performance.now() + limit;
    const connection = await this.#acquire(limit);
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error("the database did not answer in time")), end - performance.now());
    });
    let fit = false;
    try {
      const result = await Promise.race([call(connection), late]);
      fit = true;
      return result;
    } catch (error) {
      fit = this.#options.harmless(error);
      throw error;
    } finally {
      clearTimeout(timer);
      this.#release(connection, fit);
    }
  }

  /** Ends all connections; those in use get `patience` ms to finish. */
  async close(patience: number): Promise<void> {
    this.#closed = true;
    for (const waiting of this.#line) waiting.refuse(new Error("the database is closed"));
    for (const connection of this.#idle.splice(0)) connection.drop();
    if (this.#busy.size === 0) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, patience);
      this.#emptied = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    for (const connection of this.#busy) connection.drop();
  }

  #acquire(limit: number): Promise<C> {
    if (this.#closed) return Promise.reject(new Error("the database is closed"));
    const connection = this.#idle.pop() ?? (this.#busy.size < this.#options.max ? this.#connect() : undefined);
    if (connection) {
      this.#busy.add(connection);
      return Promise.resolve(connection);
    }
    if (this.#line.size >= MAX_WAITING) return Promise.reject(new Error("too many calls wait for the database"));
    return new Promise((resolve, reject) => {
      const leave = () => {
        clearTimeout(timer);
        this.#line.delete(waiting);
      };
      const waiting: Waiting<C> = {
        take: (free) => (leave(), resolve(free)),
        refuse: (error) => (leave(), reject(error)),
      };
      const timer = setTimeout(() => waiting.refuse(new Error("no connection to the database came free in time")), limit);
      this.#line.add(waiting);
    });
  }

  #connect(): C {
    const connection: C = this.#options.connect(() => {
      this.#lost.add(connection);
      const index = this.#idle.indexOf(connection);
      if (index !== -1) this.#idle.splice(index, 1)[0]!.drop();
    });
    return connection;
  }

  #release(connection: C, fit: boolean): void {
    this.#busy.delete(connection);
    const kept = fit && !this.#closed && !this.#lost.has(connection);
    if (!kept) connection.drop();
    const next = this.#line.values().next().value;
    if (next) {
      // Handed over, so that no call begun in between comes first.
      const free = kept ? connection : this.#connect();
      this.#busy.add(free);
      next.take(free);
    } else if (kept) this.#idle.push(connection);
    if (this.#busy.size === 0) this.#emptied?.();
  }
}
