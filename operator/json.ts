import { createHash } from "node:crypto";

/** JSON with fields in order, so that equal values have equal texts. Fields without a value are left out. */
export function canonical(value: unknown): string {
  return JSON.stringify(value, (_, part: unknown) =>
    isRecord(part) ? Object.fromEntries(Object.entries(part).sort(([a], [b]) => (a < b ? -1 : 1))) : part,
  );
}

export function digest(value: unknown): string {
  return createHash("sha256").update(canonical(value)).digest("hex").slice(0, 32);
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/**
 * Whether an object already has all that we would apply, so that applying it would change nothing. Careful: it may say no
 * where the API server sees no difference (a quantity in other words, a default), never yes where it does.
 */
export function covers(observed: unknown, desired: unknown): boolean {
  if (isRecord(desired)) return isRecord(observed) && Object.entries(desired).every(([field, value]) => value === undefined || covers(observed[field], value));
  if (Array.isArray(desired)) {
    if (!Array.isArray(observed) || observed.length !== desired.length) return false;
    return desired.every((item, index) => covers(observed[index], item));
  }
  return Object.is(observed, desired);
}
