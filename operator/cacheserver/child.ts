import type { Context } from "../context.ts";
import { covers, digest } from "../json.ts";
import { MANAGER, refOf, type KubeObject } from "../object.ts";
import { problemOf, type Problem } from "./problem.ts";

/** What is known of a child since it was applied last. */
export interface Applied {
  digest: string;
  /** The resourceVersion under which it was found to be as wanted. */
  version: string | undefined;
  /** When it is applied again whatever is seen, ms. */
  due: number;
  failures: number;
  /** A failed or fought-over child is left alone until then, ms. */
  notBefore: number;
  problem: Problem | undefined;
  /** Changes by others taken back in short order, when the last was, and whose they are. */
  drifts: number;
  drifted: number;
  rival: string | undefined;
}

export interface Kept {
  /** As it is now, as far as known. */
  readonly object: KubeObject | undefined;
  /** As it was found. */
  readonly before?: KubeObject | undefined;
  readonly change?: "Created" | "Updated" | "Restored";
  readonly problem?: Problem | undefined;
  /** When to look at it again, ms since the epoch. */
  readonly again?: number;
}

const MINUTE = 60_000;
const FULL_PASS = 10 * MINUTE;
const LONGEST_PAUSE = 5 * MINUTE;
const GONE_SOON = 5_000;
/** So many changes are taken back at once; a writer that comes back more often is fought with pauses. */
const PATIENCE = 3;

/**
 * Makes one child as wanted. Nothing is sent when it was applied as it is now wanted and has not changed since, or has changed
 * in ways that don't concern us; what others change is taken back, with growing pauses when they insist.
 * @throws KubeError where the API server itself is in trouble
 */
export async function keepChild(context: Context, owner: KubeObject, memory: Map<string, Applied>, desired: KubeObject): Promise<Kept> {
  const { kube, children } = context;
  const now = context.now();
  const name = nameOf(desired);
  const mark = markOf(desired);
  const before = memory.get(name);
  const seen = children.of(desired)?.get(desired.metadata.namespace ?? "", desired.metadata.name);
  const same = before?.digest === mark;
  const failed = (error: unknown, observed: KubeObject | undefined): Kept => {
    const problem = problemOf(error, name);
    if (problem === undefined) throw error;
    const failures = (same ? before.failures : 0) + 1;
    const notBefore = now + pauseAfter(PATIENCE + failures);
    memory.set(name, { digest: mark, version: undefined, due: notBefore, failures, notBefore, problem, drifts: before?.drifts ?? 0, drifted: before?.drifted ?? 0, rival: before?.rival });
    return { object: observed, problem, again: notBefore };
  };
  let observed: KubeObject | undefined;
  if (same && seen === undefined && before.problem !== undefined && now < before.notBefore) return { object: undefined, problem: before.problem, again: before.notBefore };
  try {
    observed = seen ?? (await kube.get(refOf(desired)));
  } catch (error) {
    return failed(error, undefined);
  }

  if (observed) {
    const obstacle = obstacleOf(observed, owner);
    if (obstacle === "leaving") return { object: observed, again: now + GONE_SOON };
    if (obstacle === "foreign") return { object: undefined, problem: { reason: "NameTaken", message: `${name} exists and doesn't belong to this CacheServer.` } };
  }
  if (same && observed && now < before.due && before.problem === undefined) {
    if (observed.metadata.resourceVersion === before.version || covers(observed, desired)) {
      before.version = observed.metadata.resourceVersion;
      return { object: observed, ...conflictOf(before, name, now) };
    }
  }
  if (same && now < before.notBefore) return { object: observed, problem: before.problem ?? conflictOf(before, name, now).problem, again: before.notBefore };

  try {
    const rival = rivalOf(observed);
    const object = await kube.apply(desired);
    const version = object.metadata.resourceVersion;
    const changed = version !== observed?.metadata.resourceVersion && version !== before?.version && !isSame(observed, object);
    const drifted = same && changed;
    const drifts = drifted ? (now - before.drifted < 2 * pauseAfter(before.drifts) + MINUTE ? before.drifts + 1 : 1) : (before?.drifts ?? 0);
    const next: Applied = {
      digest: mark, version, due: now + FULL_PASS * (1 + context.chance() / 5), failures: 0, problem: undefined,
      drifts, drifted: drifted ? now : (before?.drifted ?? 0), notBefore: drifted ? now + pauseAfter(drifts) : 0, rival: rival ?? before?.rival,
    };
    memory.set(name, next);
    const change = !changed ? undefined : observed === undefined ? (same ? "Restored" : "Created") : drifted ? "Restored" : "Updated";
    return { object, before: observed, ...(change === undefined ? {} : { change }), ...conflictOf(next, name, now) };
  } catch (error) {
    return failed(error, observed);
  }
}

/** A claim has a new version after its second apply, with nothing in it changed. */
function isSame(one: KubeObject | undefined, other: KubeObject): boolean {
  const content = ({ apiVersion: _, kind: __, metadata: { resourceVersion: ___, managedFields: ____, ...metadata }, ...rest }: KubeObject) => digest({ metadata, ...rest });
  return one !== undefined && content(one) === content(other);
}

/** Most looks find the same objects wanted as the one before. */
const marks = new WeakMap<KubeObject, string>();

function markOf(desired: KubeObject): string {
  let mark = marks.get(desired);
  if (mark === undefined) marks.set(desired, (mark = digest(desired)));
  return mark;
}

export function nameOf({ kind, metadata }: KubeObject): string {
  return `${kind}/${metadata.name}`;
}

/** 0 at first, then 2 s, 4 s … 5 min. */
function pauseAfter(drifts: number): number {
  return drifts <= PATIENCE ? 0 : Math.min(LONGEST_PAUSE, 1000 * 2 ** Math.min(20, drifts - PATIENCE));
}

function conflictOf(applied: Applied, name: string, now: number): { problem?: Problem } {
  const fought = applied.drifts > PATIENCE && now - applied.drifted < 2 * pauseAfter(applied.drifts) + MINUTE;
  if (!fought) return {};
  return { problem: { reason: "FieldConflict", message: `${name} is changed again and again${applied.rival === undefined ? "" : ` by ${applied.rival}`}.` } };
}

interface ManagedFields {
  readonly manager?: string;
  readonly subresource?: string;
  readonly time?: string;
}

/** The field manager that wrote last, beside us and those who write status. */
function rivalOf(object: KubeObject | undefined): string | undefined {
  const entries = (object?.metadata.managedFields ?? []) as ManagedFields[];
  const others = entries.filter(({ manager = MANAGER, subresource }) => !manager.startsWith(MANAGER) && subresource === undefined);
  return others.toSorted((a, b) => ((a.time ?? "") < (b.time ?? "") ? 1 : -1))[0]?.manager;
}

/** Whether an object of a child's name is ours to change. */
function obstacleOf({ metadata }: KubeObject, owner: KubeObject): "foreign" | "leaving" | undefined {
  if (metadata.deletionTimestamp !== undefined) return "leaving";
  const owners = metadata.ownerReferences ?? [];
  if (owners.some(({ uid }) => uid === owner.metadata.uid)) return undefined;
  const labels = metadata.labels ?? {};
  const labelled = labels["app.kubernetes.io/managed-by"] === MANAGER && labels["app.kubernetes.io/instance"] === owner.metadata.name;
  const other = owners.find(({ controller }) => controller === true);
  if (!labelled) return "foreign";
  // Of a CacheServer of this name that was deleted: it is being collected.
  if (other !== undefined) return other.kind === owner.kind && other.name === owner.metadata.name ? "leaving" : "foreign";
  return undefined;
}
