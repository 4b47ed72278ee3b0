import type { Context } from "../context.ts";
import type { Condition } from "../object.ts";
import type { CacheKey } from "./schema.ts";

const QUIET = ["Issued", "Overlapping", "Refused", "Paused"];

/** Tells users of conditions that have turned, apart from what was told when it was done. */
export function announce({ events }: Context, key: CacheKey, before: readonly Condition[], after: readonly Condition[]): void {
  for (const { type, status, reason, message } of after) {
    if (before.some((one) => one.type === type && one.reason === reason && one.status === status)) continue;
    if (type === "Refused" && status === "True") events.record(key, "Warning", "Refused", message);
    else if (type === "Ready" && !QUIET.includes(reason)) events.record(key, reason === "Expired" ? "Normal" : "Warning", reason, message);
  }
}
