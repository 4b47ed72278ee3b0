import type { Env, Payload } from "./toolkit.ts";
import type { ModeInput } from "./inputs.ts";

/** What a job may do with the cache. */
export interface Rights {
  readonly read: boolean;
  readonly write: boolean;
}

export type Mode = "read" | "write" | "write-only" | "off";

export const ALL: Rights = { read: true, write: true };
export const READ: Rights = { read: true, write: false };
export const NONE: Rights = { read: false, write: false };

export function both(a: Rights, b: Rights): Rights {
  return { read: a.read && b.read, write: a.write && b.write };
}

export function modeOf({ read, write }: Rights): Mode {
  return write ? (read ? "write" : "write-only") : read ? "read" : "off";
}

export function rightsOf(mode: ModeInput | Mode): Rights {
  return { read: mode !== "off" && mode !== "write-only", write: mode !== "off" && mode !== "read" };
}

/** What started the job, as far as it decides what the job may do. */
export interface Situation {
  readonly event: string;
  /** Why the job counts as one of a fork; undefined for the repository's own. */
  readonly fork: string | undefined;
  /** Whether an API key may write: not where somebody else's change may run (and on no event the server would not let write). */
  readonly keyMayWrite: boolean;
  /** What the workflow's `cache-mode` leaves. */
  readonly cacheMode: Rights;
}

/** Events that can't be started by somebody who may not write the ref they run on; the server has the same list. */
const OWN_EVENTS: ReadonlySet<string> = new Set(["push", "schedule", "workflow_dispatch", "merge_group", "release"]);
const DEPENDABOT = "dependabot[bot]";

export function situationOf(env: Env, payload: Payload): Situation {
  const event = env["GITHUB_EVENT_NAME"] ?? "";
  const fork = forkReason(env, payload);
  return { event, fork, keyMayWrite: fork === undefined && OWN_EVENTS.has(event), cacheMode: cacheModeOf(env["ACTIONS_CACHE_MODE"]) };
}

function forkReason(env: Env, { pull_request: pull, sender }: Payload): string | undefined {
  if ([env["GITHUB_ACTOR"], pull?.user?.login, sender?.login].includes(DEPENDABOT)) return "Dependabot started this job";
  if (!pull) return undefined;
  const repo = pull.head?.repo;
  // A fork that was deleted meanwhile is null.
  if (!repo) return "the pull request comes from a repository that is gone";
  const own = repo.full_name?.toLowerCase() === env["GITHUB_REPOSITORY"]?.toLowerCase();
  return own ? undefined : `the pull request comes from the fork ${repo.full_name ?? ""}`.trimEnd();
}

function cacheModeOf(mode: string | undefined): Rights {
  if (mode === "none") return NONE;
  if (mode === "read") return READ;
  if (mode === "write-only") return { read: false, write: true };
  // Unknown modes allow everything, as in the toolkit: the server still decides.
  return ALL;
}
