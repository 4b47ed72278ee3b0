/**
 * The one registry of errors. Each has a code (stable, for programs), a status (the HTTP default) and a message that
 * tells the user what to do next. A `refusal` names the row of a protocol's status table (see protocols/protocol.ts)
 * that decides what the client of that protocol really gets.
 */

/** Rows of a protocol's status table: everything a server may have to refuse. */
export const REFUSALS = [
  "unauthorized",
  "forbiddenRead",
  "forbiddenWrite",
  "badRequest",
  "notFound",
  "exists",
  "tooLarge",
  "overQuota",
  "diskFull",
  "rateLimited",
  "readFailure",
  "writeFailure",
  "draining",
  "badRange",
] as const;
export type Refusal = (typeof REFUSALS)[number];

/** An error that may be shown to a client as it is: its message holds no secret and no foreign key or scope. */
export class StowError extends Error {
  readonly code: string;
  readonly status: number;
  readonly refusal: Refusal;
  /** Seconds after which a retry makes sense, when known. */
  readonly retryAfter: number | undefined;

  constructor(code: string, status: number, refusal: Refusal, message: string, options: { cause?: unknown; retryAfter?: number } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "StowError";
    this.code = code;
    this.status = status;
    this.refusal = refusal;
    this.retryAfter = options.retryAfter;
  }
}

type Options = { cause?: unknown; retryAfter?: number };

function define(code: string, status: number, refusal: Refusal, text: string) {
  /** @param detail replaces `%s` in the message. */
  return (detail = "", options: Options = {}) => new StowError(code, status, refusal, text.replace("%s", () => detail), options);
}

export const errors = {
  unauthorized: define("STOW_UNAUTHORIZED", 401, "unauthorized", "No valid credential. Send an API key or a session token as Bearer token or as Basic password."),
  tokenInvalid: define("STOW_TOKEN_INVALID", 401, "unauthorized", "The token was not accepted: %s. Request a new one."),
  identityRefused: define("STOW_IDENTITY_REFUSED", 403, "forbiddenRead", "No rule of this server names this identity. Ask its administrator to add a rule under auth.github.rules."),
  identityUnavailable: define("STOW_IDENTITY_UNAVAILABLE", 503, "readFailure", "The identity issuer's keys could not be fetched. Try again in a moment."),
  forbiddenRead: define("STOW_FORBIDDEN_READ", 403, "forbiddenRead", "This credential may not read here. Use a key of this cache."),
  forbiddenWrite: define("STOW_FORBIDDEN_WRITE", 403, "forbiddenWrite", "This credential is read-only. Use a read-write key, or run on a ref that may write."),
  forbiddenAdmin: define("STOW_FORBIDDEN_ADMIN", 403, "forbiddenRead", "Administration needs an admin key (stow_admin_…)."),
  badRequest: define("STOW_BAD_REQUEST", 400, "badRequest", "The request is not valid: %s."),
  digestMismatch: define("STOW_DIGEST_MISMATCH", 400, "badRequest", "The body does not match its digest or size: %s. Send it again."),
  unsupported: define("STOW_UNSUPPORTED", 415, "badRequest", "The content type is not supported here: %s."),
  methodNotAllowed: define("STOW_METHOD_NOT_ALLOWED", 405, "badRequest", "This method is not allowed here. Allowed: %s."),
  notFound: define("STOW_NOT_FOUND", 404, "notFound", "Nothing is stored under this name."),
  noRoute: define("STOW_NO_ROUTE", 404, "notFound", "No such endpoint. See the protocol's README for its paths."),
  noCache: define("STOW_NO_CACHE", 404, "notFound", "There is no such cache, or this credential may not use it."),
  exists: define("STOW_EXISTS", 409, "exists", "An entry with this key and version exists already; entries are immutable. Use another key."),
  uploadGone: define("STOW_UPLOAD_GONE", 404, "notFound", "This upload is finished, aborted or expired. Reserve it again."),
  tooLarge: define("STOW_TOO_LARGE", 413, "tooLarge", "The body is larger than allowed (%s). Raise limits.entrySize or store less."),
  keyTooLong: define("STOW_KEY_TOO_LONG", 400, "badRequest", "The key is not valid: %s."),
  overQuota: define("STOW_OVER_QUOTA", 507, "overQuota", "The cache's quota has no room for this entry. Raise its quota or shorten its retention."),
  diskFull: define("STOW_DISK_FULL", 507, "diskFull", "The server's storage is full. Free space or add storage."),
  rateLimited: define("STOW_RATE_LIMITED", 429, "rateLimited", "Too many requests from this address with this credential. Slow down or raise limits.requestsPerMinute."),
  tooManyUploads: define("STOW_TOO_MANY_UPLOADS", 429, "rateLimited", "Too many uploads are open. Finish some or raise limits.uploads."),
  upgradeRequired: define("STOW_UPGRADE_REQUIRED", 426, "badRequest", "This endpoint speaks WebSocket. Connect to it with Upgrade: websocket; a proxy in between has to pass that on."),
  tooManySockets: define("STOW_TOO_MANY_SOCKETS", 503, "rateLimited", "Too many WebSockets are open on this server. Try again in a moment."),
  noDeploy: define("STOW_NO_DEPLOY", 404, "notFound", "Cachix Deploy can't be used here: %s."),
  forbiddenDeploy: define("STOW_FORBIDDEN_DEPLOY", 403, "forbiddenWrite", "This key may not do this in Cachix Deploy: %s."),
  readFailure: define("STOW_READ_FAILURE", 503, "readFailure", "The storage could not be read. It is tried again with the next request."),
  writeFailure: define("STOW_WRITE_FAILURE", 503, "writeFailure", "The storage could not be written; nothing was stored. Try again."),
  slowClient: define("STOW_SLOW_CLIENT", 408, "badRequest", "The body stopped arriving. Send it again."),
  clientGone: define("STOW_CLIENT_GONE", 499, "badRequest", "The client left before the body was complete; nothing was stored."),
  draining: define("STOW_DRAINING", 503, "draining", "The server is shutting down. Try again in a moment.") ,
  busy: define("STOW_BUSY", 409, "exists", "%s Try again when it is done."),
  badRange: define("STOW_BAD_RANGE", 416, "badRange", "The requested range lies outside the body."),
  internal: define("STOW_INTERNAL", 503, "readFailure", "The server failed to handle this request. Its log says why."),
  unreachable: define("STOW_UNREACHABLE", 503, "readFailure", "No Stowhouse server answers at %s. Start one with `stowhouse serve`, or name another with --server or STOWHOUSE_SERVER."),
  noAnswer: define("STOW_NO_ANSWER", 503, "readFailure", "The server did not finish its answer: %s. Its log may say why."),
  upstreamUnavailable: define("STOW_UPSTREAM_UNAVAILABLE", 503, "readFailure", "Whether an upstream has it could not be found out: %s. Try again in a moment."),
  upstreamTimeout: define("STOW_UPSTREAM_TIMEOUT", 504, "readFailure", "No upstream answered in time: %s. Try again in a moment."),
  upstreamBusy: define("STOW_UPSTREAM_BUSY", 503, "readFailure", "Too much arrives from upstreams at once. Try again in a moment, or raise protocols.nix.proxy.spoolSize."),
  config: define("STOW_CONFIG", 500, "badRequest", "The configuration is not valid: %s"),
  incomplete: define("STOW_INCOMPLETE", 500, "notFound", "Not all was done: %s."),
} as const;

/** Errors of the operating system, of SQLite and of S3 that mean "no space left". */
export function isDiskFull(error: unknown): boolean {
  const code = (error as { code?: unknown })?.code;
  const errcode = (error as { errcode?: unknown })?.errcode;
  // 13 is SQLITE_FULL.
  return code === "ENOSPC" || code === "EDQUOT" || code === "EFBIG" || errcode === 13;
}

/** Turns any failure of a write into one of the registry, keeping the cause for the log. */
export function writeFailure(error: unknown): StowError {
  if (error instanceof StowError) return error;
  return isDiskFull(error) ? errors.diskFull("", { cause: error }) : errors.writeFailure("", { cause: error });
}

/** Turns any failure of a read into one of the registry, keeping the cause for the log. */
export function readFailure(error: unknown): StowError {
  return error instanceof StowError ? error : errors.readFailure("", { cause: error });
}
