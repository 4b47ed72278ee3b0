import type { StowError } from "../../core/errors.ts";
import type { RefusalTable, Refused } from "../../http/refusals.ts";
import { CREATED, formatError } from "./wire.ts";

/** Every error is JSON with the reference server's words in `error`, where it has any. */
function row(words: string): (error: StowError) => Refused {
  return (error) => ({ status: error.status, body: formatError(words, error.code, error.message) });
}

export const refusals: RefusalTable = {
  unauthorized: row("unauthorized"),
  forbiddenRead: row("forbidden"),
  forbiddenWrite: row("forbidden"),
  badRequest: (error) => row(error.status === 405 ? "method not allowed" : "bad request")(error),
  notFound: row("not found"),
  // Writers overwrite, so this is another writer of the same key at the same moment: as if it had come just after us.
  exists: () => ({ status: 201, body: CREATED }),
  tooLarge: row("too large"),
  overQuota: row("over quota"),
  diskFull: row("disk full"),
  rateLimited: row("too many requests"),
  readFailure: row("unavailable"),
  writeFailure: row("unavailable"),
  draining: row("unavailable"),
  badRange: row("range not satisfiable"),
};
