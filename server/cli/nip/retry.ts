import { setTimeout } from "node:timers/promises";
import { ExchangeError } from "../../../action/client/patience.ts";
import { Corrupt, Refused } from "./remote.ts";
import type { Policies } from "./settings-file.ts";

/**
 * Runs a transfer, and again after a pause when it broke in a way that may pass. A server that does not answer at all is not
 * waited for: the next one is asked, or the build goes on without.
 */
export async function retried<T>(policies: Policies, signal: AbortSignal, attempt: () => Promise<T>, onRetry: (message: string) => void): Promise<T> {
  for (let left = policies.retryAttempts; ; left--) {
    try {
      return await attempt();
    } catch (error) {
      if (left <= 0 || signal.aborted || !mayPass(error)) throw error;
      onRetry(`${(error as Error).message}; again in ${policies.retryDelay} s`);
      await setTimeout(policies.retryDelay * 1000, undefined, { signal }).catch(() => {});
      if (signal.aborted) throw error;
    }
  }
}

function mayPass(error: unknown): boolean {
  if (error instanceof ExchangeError) return error.phase === "body";
  if (error instanceof Refused) return [408, 429, 500, 502, 503, 504].includes(error.status);
  return error instanceof Corrupt;
}
