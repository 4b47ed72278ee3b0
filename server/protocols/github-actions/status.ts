import { randomUUID } from "node:crypto";
import type { FastifyRequest } from "fastify";
import { REFUSALS, type Refusal, type StowError } from "../../core/errors.ts";
import type { Refused, RefusalTable } from "../../http/refusals.ts";
import { CONTENT_TYPE } from "./twirp.ts";
import { V1_BASE } from "./v1.ts";
import { encode, formatOf, RESPONSES } from "./wire.ts";

/** The status table (README.md says why each row is as it is): three wires, each with all rows. */
type Row = RefusalTable[Refusal];

const READ_DENIED = "cache read denied: ";
const WRITE_DENIED = "cache write denied: ";

/** Twirp's JSON error. */
const fault = (code: string, status?: number, prefix = ""): Row => (error) => ({ status: status ?? error.status, body: JSON.stringify({ code, msg: prefix + error.message }) });

/** A polite no in the method's own answer, which no client retries: `ok` is false, and what is saved learns why. */
const declined = (prefix = ""): Row => (error, request) => {
  const { op } = request.stow.config;
  if (op !== "lookup" && op !== "reserve" && op !== "commit") return fault("unavailable")(error, request);
  const format = formatOf(request.headers["content-type"]) ?? "json";
  const body = op === "lookup" ? encode(RESPONSES.GetCacheEntryDownloadURL, format, { ok: false }) : encode(RESPONSES.CreateCacheEntry, format, { ok: false, message: prefix + error.message });
  return { status: 200, body, type: CONTENT_TYPE[format] };
};

const twirp: RefusalTable = {
  unauthorized: fault("unauthenticated", 401),
  // sccache, which speaks protobuf, refuses to start after a 403, and the build with it.
  forbiddenRead: (error, request) => (formatOf(request.headers["content-type"]) === "protobuf" ? declined() : fault("permission_denied", 403, READ_DENIED))(error, request),
  forbiddenWrite: declined(WRITE_DENIED),
  badRequest: fault("invalid_argument"),
  notFound: (error, request) => fault(error.code === "STOW_NO_ROUTE" ? "bad_route" : "not_found", 404)(error, request),
  exists: fault("already_exists", 409),
  tooLarge: fault("invalid_argument", 413),
  overQuota: declined("insufficient usage: "),
  diskFull: declined(),
  // BuildKit's library tries a 429 again for five minutes: a save that finds no place is declined instead.
  rateLimited: (error, request) => (error.code === "STOW_TOO_MANY_UPLOADS" ? declined() : fault("resource_exhausted", 429))(error, request),
  readFailure: declined(),
  writeFailure: declined(),
  draining: declined(),
  badRange: fault("out_of_range", 400),
};

function azure(code: string, status?: number, headers: Record<string, string> = {}): Row {
  return (error) => ({
    status: status ?? error.status,
    type: "application/xml",
    body: `<?xml version="1.0" encoding="utf-8"?><Error><Code>${code}</Code><Message>${escape(error.message)}</Message></Error>`,
    headers: { "x-ms-error-code": code, "x-ms-request-id": randomUUID(), ...headers },
  });
}

/** Azure's SDKs try this again; Retry-After keeps BuildKit from waiting minutes in between. */
const busy = azure("ServerBusy", 503, { "retry-after": "1" });

const blob: RefusalTable = {
  unauthorized: azure("AuthenticationFailed", 403),
  forbiddenRead: azure("AuthorizationFailure", 403),
  forbiddenWrite: azure("AuthorizationFailure", 403),
  badRequest: (error, request) => azure(INPUT[error.code] ?? "InvalidInput", undefined, error.status === 405 ? { allow: "PUT" } : {})(error, request),
  notFound: azure("BlobNotFound", 404),
  exists: azure("BlobAlreadyExists", 409),
  tooLarge: azure("RequestBodyTooLarge", 413),
  overQuota: azure("InsufficientStorage", 507),
  diskFull: azure("InsufficientStorage", 507),
  rateLimited: busy,
  readFailure: busy,
  writeFailure: busy,
  draining: busy,
  badRange: azure("InvalidRange", 416),
};

const INPUT: Record<string, string> = { STOW_METHOD_NOT_ALLOWED: "UnsupportedHttpVerb", STOW_SLOW_CLIENT: "OperationTimedOut" };

const v1Error = (status?: number, prefix = ""): Row => (error) => ({ status: status ?? error.status, body: JSON.stringify({ message: prefix + error.message, typeKey: error.code }) });

const MISS: Refused = { status: 204, body: "" };

/** A look-up that fails is a miss; the toolkit tries everything else above 500 once more. */
const v1Failure: Row = (error, request) => (request.stow.config.op === "lookup" ? MISS : v1Error(503)(error, request));

const v1: RefusalTable = {
  unauthorized: v1Error(401),
  forbiddenRead: (error, request) => (request.stow.config.op === "lookup" ? MISS : v1Error(403, READ_DENIED)(error, request)),
  forbiddenWrite: v1Error(403, WRITE_DENIED),
  badRequest: v1Error(),
  notFound: v1Error(404),
  // BuildKit's library knows a taken key by this name alone.
  exists: (error) => ({ status: 409, body: JSON.stringify({ message: error.message, typeKey: "ArtifactCacheItemAlreadyExistsException" }) }),
  // The toolkit shows the message of a 400 and of nothing else.
  tooLarge: v1Error(400),
  overQuota: v1Error(400, "insufficient usage: "),
  diskFull: v1Error(400),
  rateLimited: v1Error(429),
  readFailure: v1Failure,
  writeFailure: v1Failure,
  draining: v1Failure,
  badRange: v1Error(416),
};

function wireOf(request: FastifyRequest): RefusalTable {
  return request.url.startsWith("/_blob/") ? blob : request.url.startsWith(V1_BASE) ? v1 : twirp;
}

export const refusals = Object.fromEntries(
  REFUSALS.map((refusal) => [refusal, (error: StowError, request: FastifyRequest): Refused => wireOf(request)[refusal](error, request)]),
) as unknown as RefusalTable;

function escape(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
