import type { Context } from "../context.ts";
import type { Condition, KubeObject } from "../object.ts";
import { nameOf, type Kept } from "./child.ts";
import type { CacheServer } from "./schema.ts";

/** Tells users what was done to a server's objects. */
export function announceChanges({ events }: Context, server: CacheServer, kept: readonly Kept[], pruned: readonly string[]): void {
  for (const change of ["Created", "Updated", "Restored"] as const) {
    const names = kept.filter((one) => one.change === change).map(({ object }) => nameOf(object!));
    if (names.length > 0) events.record(server, "Normal", change, `${change} ${names.join(", ")}.`);
  }
  if (pruned.length > 0) events.record(server, "Normal", "Removed", `Removed ${pruned.join(", ")}, which the spec doesn't want any more.`);
  for (const { before, object } of kept) {
    const [from, to] = [replicasOf(before), replicasOf(object)];
    if (from === undefined || to === undefined || from === to) continue;
    events.record(server, "Normal", to > from ? "ScaledUp" : "ScaledDown", `From ${from} to ${to} replicas.`);
  }
}

const RESIZE = ["ClassForbidsExpansion", "ResizeFailed"];

/** Tells users of conditions that have turned. Those of before come from the resource, so a restart of the operator repeats nothing. */
export function announceConditions({ events }: Context, server: CacheServer, before: readonly Condition[], after: readonly Condition[]): void {
  for (const { type, status, reason, message } of after) {
    const old = before.find((one) => one.type === type);
    if (old?.reason === reason && old.status === status) continue;
    if (type === "Degraded" && status === "True") events.record(server, "Warning", reason, message);
    else if (type === "Degraded" && old?.status === "True") events.record(server, "Normal", "Recovered", `No longer ${old.reason}.`);
    else if (type === "Ready" && status === "True") events.record(server, "Normal", reason, message);
    else if (type === "StorageReady" && RESIZE.includes(reason)) events.record(server, "Warning", "ResizeFailed", message);
    else if (type === "StorageReady" && reason === "Lost") events.record(server, "Warning", "StorageLost", message);
    else if (type === "MonitoringReady" && reason === "MonitoringUnavailable") events.record(server, "Normal", "Skipped", message);
    else if (type === "Progressing" && reason === "Paused") events.record(server, "Normal", reason, message);
  }
}

function replicasOf(object: KubeObject | undefined): number | undefined {
  return object?.kind === "Deployment" ? (object["spec"] as { replicas?: number } | undefined)?.replicas : undefined;
}
