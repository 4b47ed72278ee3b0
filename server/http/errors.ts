import type { FastifyReply, FastifyRequest } from "fastify";
import { errors, StowError } from "../core/errors.ts";
import type { Result } from "./context.ts";
import type { Log } from "./log.ts";
import { discardRest } from "./receive.ts";
import type { RefusalTable, Refused } from "./refusals.ts";

const RESULTS: Partial<Record<StowError["refusal"], Result>> = {
  unauthorized: "denied", forbiddenRead: "denied", forbiddenWrite: "denied", notFound: "miss", exists: "exists", badRequest: "invalid", badRange: "invalid",
  tooLarge: "refused", overQuota: "refused", rateLimited: "refused", draining: "refused", diskFull: "error", readFailure: "error", writeFailure: "error",
};

/** Turns whatever was thrown into one of the registry. Fastify's own errors (a broken JSON body, a wrong schema) are the client's. */
export function toStowError(error: unknown): StowError {
  if (error instanceof StowError) return error;
  const { statusCode, code, message } = error as { statusCode?: number; code?: string; message?: string };
  if (code === "FST_ERR_CTP_BODY_TOO_LARGE") return errors.tooLarge("limits.jsonBody");
  if (code === "FST_ERR_CTP_INVALID_MEDIA_TYPE") return errors.unsupported("send application/json");
  if (statusCode !== undefined && statusCode >= 400 && statusCode < 500) return errors.badRequest(String(message));
  return errors.internal("", { cause: error });
}

/** Answers an error by a protocol's status table. */
export function refuse(request: FastifyRequest, reply: FastifyReply, thrown: unknown, table: RefusalTable, log: Log): void {
  const error = toStowError(thrown);
  const ctx = request.stow;
  ctx.result = RESULTS[error.refusal] ?? "error";
  if (error.code === "STOW_CLIENT_GONE") ctx.result = "aborted";
  if (ctx.result === "error") log.error(error.message, { code: error.code, protocol: ctx.protocol, op: ctx.config.op, cause: causeOf(error) });
  if (reply.raw.destroyed || reply.raw.headersSent) return void reply.hijack();
  const refused: Refused = table[error.refusal](error, request);
  reply.code(refused.status).header("content-type", refused.type ?? "application/json; charset=utf-8");
  for (const [name, value] of Object.entries(refused.headers ?? {})) reply.header(name, value);
  if (error.retryAfter !== undefined) reply.header("retry-after", String(error.retryAfter));
  discardRest(request.raw, reply.raw);
  reply.send(request.method === "HEAD" ? undefined : refused.body);
}

function causeOf(error: unknown): string | undefined {
  const cause = (error as Error).cause;
  if (cause === undefined) return undefined;
  return cause instanceof Error ? (cause.stack ?? cause.message) : String(cause);
}
