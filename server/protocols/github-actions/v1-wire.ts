import { errors } from "../../core/errors.ts";

/** The JSON and the headers of the legacy artifact cache API (github-actions.md §1.7). */
export interface Reservation {
  readonly key: string;
  readonly version: string;
  /** Bytes, where the client says so. */
  readonly cacheSize: number | undefined;
}

/** @throws badRequest */
export function parseReservation(body: Buffer): Reservation {
  const { key, version, cacheSize } = object(body);
  if (typeof key !== "string" || typeof version !== "string") throw errors.badRequest("key and version are strings");
  return { key, version, cacheSize: cacheSize === undefined || cacheSize === null ? undefined : size("cacheSize", cacheSize) };
}

/** The size a commit states. @throws badRequest */
export function parseCommit(body: Buffer): number {
  return size("size", object(body)["size"]);
}

/** Bytes [start, end) of a chunk, from `Content-Range: bytes 0-99/*`. @throws badRequest */
export function parseContentRange(header: string | undefined): { start: number; end: number } {
  const match = /^bytes (\d{1,15})-(\d{1,15})\/(?:\*|\d{1,15})$/.exec(header?.trim() ?? "");
  const start = Number(match?.[1]);
  const last = Number(match?.[2]);
  if (!match || last < start) throw errors.badRequest("Content-Range is not like bytes 0-99/*");
  return { start, end: last + 1 };
}

/** The number of a reservation. @throws badRequest */
export function parseCacheId(text: string): number {
  if (!/^\d{1,15}$/.test(text)) throw errors.badRequest("a cache id is a number");
  return Number(text);
}

function object(body: Buffer): Record<string, unknown> {
  let json: unknown;
  try {
    json = JSON.parse(body.toString("utf8"));
  } catch {
    throw errors.badRequest("the body is not JSON");
  }
  if (typeof json !== "object" || json === null || Array.isArray(json)) throw errors.badRequest("the body is not a JSON object");
  return json as Record<string, unknown>;
}

function size(name: string, value: unknown): number {
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 0) throw errors.badRequest(`${name} is not a number of bytes`);
  return value;
}
