import type { Arguments, OperationName, Result } from "./operations.ts";

export type MaybePromise<T> = T | Promise<T>;

/** What follows from a value, at once when that is there: hits in RAM cost no promise. */
export function after<T, U>(value: MaybePromise<T>, next: (value: T) => MaybePromise<U>): MaybePromise<U> {
  return value instanceof Promise ? value.then(next) : next(value);
}

/**
 * The index. Drivers (sqlite.ts, postgres.ts) only run operations: what an operation does is written once, as a generator
 * of SQL steps in operations/, so both databases behave alike by construction; conformance.ts proves it.
 */
export interface Database {
  readonly kind: "sqlite" | "postgres";
  /** Whether other processes may write to it: then nothing read from it may be kept in RAM for long. */
  readonly shared: boolean;
  /** Runs a read. SQLite answers at once (a prepared statement on the main thread), PostgreSQL with a promise. */
  read<N extends OperationName>(name: N, args: Arguments<N>): MaybePromise<Result<N>>;
  /**
   * Runs an operation in a transaction; when the promise resolves, it is durable. Concurrent calls may share one
   * commit; an operation that fails is undone alone.
   */
  write<N extends OperationName>(name: N, args: Arguments<N>): Promise<Result<N>>;
  /** Runs a long read beside the hot path (SQLite: in the worker thread). */
  scan<N extends OperationName>(name: N, args: Arguments<N>): Promise<Result<N>>;
  /** A cheap round trip; rejects when the database is not there. */
  ping(): Promise<void>;
  close(): Promise<void>;
}

/** Thrown by operations for a condition the caller handles; survives the way from the worker thread. */
export class DatabaseUnavailable extends Error {
  constructor(message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = "DatabaseUnavailable";
  }
}
