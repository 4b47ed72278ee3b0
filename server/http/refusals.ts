import type { FastifyRequest } from "fastify";
import type { Refusal, StowError } from "../core/errors.ts";

/** What a client of a protocol gets instead of its answer. */
export interface Refused {
  readonly status: number;
  readonly body: string | Uint8Array;
  /** Content type of the body; default `application/json`. */
  readonly type?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/**
 * The status table of a protocol: every refusal has a row, because a wrong status breaks users' builds. A row may look at the
 * request where one protocol has several wires.
 */
export type RefusalTable = Readonly<Record<Refusal, (error: StowError, request: FastifyRequest) => Refused>>;

/** Rows for a protocol whose clients take plain statuses and JSON: the error's own status and message. */
export function jsonRefusals(format: (error: StowError) => unknown): RefusalTable {
  const row = (error: StowError): Refused => ({ status: error.status, body: JSON.stringify(format(error)) });
  return {
    unauthorized: (error) => ({ ...row(error), headers: { "www-authenticate": 'Basic realm="stowhouse"' } }),
    forbiddenRead: row, forbiddenWrite: row, badRequest: row, notFound: row, exists: row, tooLarge: row, overQuota: row,
    diskFull: row, rateLimited: row, readFailure: row, writeFailure: row, draining: row, badRange: row,
  };
}
