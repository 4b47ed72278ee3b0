import { errors } from "../core/errors.ts";
import type { Scope } from "../core/scope.ts";

/**
 * GitHub's `ac` claim: JSON text of `[{"Scope":"refs/heads/main","Permission":3}]`, 1 = read, 2 = write, 3 = both, 0 = none
 * (github-actions.md §1.8, §4.1). Its refs belong to the repository of the token.
 */
export interface Access {
  readonly ref: string;
  readonly read: boolean;
  readonly write: boolean;
}

const MAX_LENGTH = 16_384;
const MAX_SCOPES = 32;
const READ = 1;
const WRITE = 2;

/** @throws tokenInvalid for anything but a list of full refs with known permissions */
export function parseAccess(claim: unknown): Access[] {
  const items = typeof claim === "string" && claim.length <= MAX_LENGTH ? parseJson(claim) : undefined;
  if (!Array.isArray(items) || items.length > MAX_SCOPES) throw invalid();
  return items.map((item: unknown) => {
    const { Scope: ref, Permission: bits } = (item ?? {}) as Record<string, unknown>;
    if (typeof ref !== "string" || !ref.startsWith("refs/")) throw invalid();
    if (typeof bits !== "number" || !Number.isInteger(bits) || bits < 0 || bits > (READ | WRITE)) throw invalid();
    return { ref, read: (bits & READ) !== 0, write: (bits & WRITE) !== 0 };
  });
}

/** The claim for scopes of ours. BuildKit knows refs without a repository; a scope an administrator named stays whole. */
export function formatAccess(read: readonly Scope[], write: Scope | null): string {
  const bits = new Map<string, number>();
  const allow = (scope: Scope, bit: number) => {
    const ref = scope.replace(/^[0-9]+:(?=refs\/)/, "");
    bits.set(ref, (bits.get(ref) ?? 0) | bit);
  };
  if (write !== null) allow(write, WRITE);
  for (const scope of read) allow(scope, READ);
  return JSON.stringify([...bits].map(([ref, permission]) => ({ Scope: ref, Permission: permission })));
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function invalid() {
  return errors.tokenInvalid("its claim ac is malformed");
}
