import type { StowError } from "../../core/errors.ts";
import type { FastifyRequest } from "fastify";
import type { RefusalTable, Refused } from "../../http/refusals.ts";

/** Our own client takes any status: a restore that is refused is a miss, a save is reported and gone on from. */
const row = (error: StowError): Refused => ({ status: error.status, body: JSON.stringify({ error: { code: error.code, message: error.message } }) });

/** A look-up that fails is a miss for whoever runs a build. */
const read = (error: StowError, request: FastifyRequest): Refused => (request.stow.config.op === "lookup" ? { status: 200, body: JSON.stringify({ hit: false, error: error.message }) } : row(error));

export const refusals: RefusalTable = {
  unauthorized: (error) => ({ ...row(error), headers: { "www-authenticate": 'Basic realm="stowhouse"' } }),
  forbiddenRead: row, forbiddenWrite: row, badRequest: row, notFound: row, exists: row, tooLarge: row, overQuota: row, diskFull: row, rateLimited: row,
  readFailure: read, writeFailure: row, draining: row, badRange: row,
};
