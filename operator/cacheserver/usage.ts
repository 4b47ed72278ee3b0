import type { Context } from "../context.ts";
import { humanSize } from "../quantity.ts";
import { ServerError, type ServerApi, type Usage } from "../server-api.ts";
import type { CacheServerStatus } from "./schema.ts";

/** What is known of a server's own figures. */
export interface UsageMemory {
  /** When they are asked for again, ms since the epoch. */
  next: number;
  failures: number;
  error: string | undefined;
  latest: Usage | undefined;
}

export const USAGE_TIMEOUT_MS = 2_000;
const PACE_MS = 60_000;
const LONGEST_PAUSE = 10 * 60_000;
/** One lost answer is no news. */
const PATIENCE = 3;

export function newUsage(): UsageMemory {
  return { next: 0, failures: 0, error: undefined, latest: undefined };
}

/** Asks the server when it is time; a server that doesn't answer is asked less and less. Never rejects. */
export async function refreshUsage({ now, chance }: Context, memory: UsageMemory, api: ServerApi): Promise<void> {
  if (now() < memory.next) return;
  try {
    memory.latest = await api.usage();
    memory.failures = 0;
    memory.error = undefined;
  } catch (error) {
    memory.failures++;
    memory.error = error instanceof ServerError ? error.message : String(error);
  }
  const pause = Math.min(LONGEST_PAUSE, PACE_MS * 2 ** Math.min(10, Math.max(0, memory.failures - PATIENCE)));
  memory.next = now() + pause * (0.8 + 0.4 * chance());
}

/** Why the server can't be asked, once that has lasted. */
export function unreachable({ failures, error }: UsageMemory): string | undefined {
  return failures >= PATIENCE ? error : undefined;
}

/** The figures for the status: those of before until they have changed by what people would notice, so that status isn't written for each request. */
export function usageStatus(memory: UsageMemory, before: CacheServerStatus["usage"], now: number): CacheServerStatus["usage"] {
  const { latest } = memory;
  if (latest === undefined) return before;
  const hitRate = latest.hitRate === undefined ? undefined : `${Math.round(latest.hitRate * 100)}%`;
  const near = (a: number, b: number) => a === b || Math.abs(a - b) < 0.01 * Math.max(a, b);
  if (before && near(latest.bytes, before.bytes) && near(latest.entries, before.entries) && hitRate === before.hitRate) return before;
  const asOf = new Date(now).toISOString().replace(/\.\d+Z$/, "Z");
  return { bytes: latest.bytes, size: humanSize(latest.bytes), entries: latest.entries, ...(hitRate === undefined ? {} : { hitRate }), asOf };
}
