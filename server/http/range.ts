/** Bytes [start, end) of a body. */
export interface Range {
  readonly start: number;
  readonly end: number;
}

const SINGLE = /^bytes=(?:(\d{1,15})-(\d{1,15})?|-(\d{1,15}))$/;

/**
 * A Range header (RFC 9110 §14.2; Azure's `x-ms-range` has the same form) against a body of `size` bytes.
 * Undefined: no range, a malformed one or several ranges, all of which mean the whole body. `unsatisfiable`: 416.
 */
export function parseRange(header: string | undefined, size: number): Range | "unsatisfiable" | undefined {
  if (header === undefined) return undefined;
  const match = SINGLE.exec(header.trim());
  if (!match) return undefined;
  if (match[3] !== undefined) {
    const length = Number(match[3]);
    if (length === 0 || size === 0) return "unsatisfiable";
    return { start: Math.max(size - length, 0), end: size };
  }
  const start = Number(match[1]);
  const last = match[2] === undefined ? size - 1 : Number(match[2]);
  if (match[2] !== undefined && last < start) return undefined;
  if (start >= size) return "unsatisfiable";
  return { start, end: Math.min(last + 1, size) };
}
