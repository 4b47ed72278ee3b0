import type { MaybePromise } from "../../database/database.ts";

/** What follows from a value, at once when that is there: hits in RAM cost no promise. */
export function after<T, U>(value: MaybePromise<T>, next: (value: T) => MaybePromise<U>): MaybePromise<U> {
  return value instanceof Promise ? value.then(next) : next(value);
}
