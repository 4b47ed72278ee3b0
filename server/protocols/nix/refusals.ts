import type { StowError } from "../../core/errors.ts";
import { REFUSALS } from "../../core/errors.ts";
import type { RefusalTable, Refused } from "../../http/refusals.ts";

/** Seconds after which a client shall ask again; it waits longer each time. */
const RETRY = "2";
const DENIED = { "www-authenticate": 'Basic realm="stowhouse"' };

/** The status table (README.md). Nix shows the body's text. */
function row(error: StowError): Refused {
  const refused = { type: "text/plain; charset=utf-8", body: `${error.message}\n` };
  // Nix takes a 403 for "there is no such path", and remembers that for an hour; an unknown cache is one that must not be read.
  const unreadable = error.refusal === "unauthorized" || (error.refusal === "forbiddenRead" && error.code !== "STOW_FORBIDDEN_ADMIN") || error.code === "STOW_NO_CACHE";
  if (unreadable) return { ...refused, status: 401, headers: DENIED };
  const passing = (error.status === 503 || error.status === 429) && error.retryAfter === undefined;
  return { ...refused, status: error.status, headers: { "cache-control": "no-store", ...(passing ? { "retry-after": RETRY } : {}) } };
}

export const refusals = Object.fromEntries(REFUSALS.map((refusal) => [refusal, row] as const)) as unknown as RefusalTable;
