import type { ReasonOf } from "../conditions.ts";
import { KubeError } from "../kube-error.ts";

/** Something that keeps a CacheServer from being as its spec wants it, in the words of the condition Degraded. */
export interface Problem {
  readonly reason: Exclude<ReasonOf<"CacheServer", "Degraded">, "AsExpected">;
  readonly message: string;
}

/** What an API server's answer to one object means for its CacheServer; undefined: it says nothing of that object. */
export function problemOf(error: unknown, what: string): Problem | undefined {
  if (!(error instanceof KubeError)) return undefined;
  if (error.status === 403) return { reason: "Forbidden", message: `${what}: ${error.message}` };
  if (error.reason === "UnknownKind") return { reason: "APIMissing", message: `${what}: ${error.message}` };
  if (error.permanent) return { reason: "ApplyRefused", message: `${what}: ${error.message}` };
  return undefined;
}
