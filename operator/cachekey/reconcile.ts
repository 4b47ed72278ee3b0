import type { Context, Outcome } from "../context.ts";
import { KubeError } from "../kube-error.ts";
import { isOwnedBy, isPaused } from "../labels.ts";
import type { Condition, Key, KubeObject } from "../object.ts";
import { secretRef } from "../secret.ts";
import { ServerError } from "../server-api.ts";
import { withLatestStatus, writeStatus } from "../status.ts";
import { judge, type Violation } from "./access.ts";
import { announce } from "./announce.ts";
import { finalize } from "./finalize.ts";
import { keep } from "./keep.ts";
import { newMemory, type Memory } from "./memory.ts";
import { rotationOf } from "./plan.ts";
import type { CacheKey } from "./schema.ts";
import { secretNameOf } from "./secret.ts";
import { findServer, labelsOf, openApi, serverOf } from "./server.ts";
import { stateOf } from "./state.ts";
import { statusOf, type Standing } from "./status.ts";
import type { Subject } from "./subject.ts";
import { withdraw } from "./withdraw.ts";

/** Secrets and namespaces aren't watched: they are read again this often. */
const PACE_MS = 30_000;
const RETRY_MS = 10_000;
const SOONEST_MS = 500;

/** What one look at a CacheKey has come to. */
interface Look {
  readonly standing: Standing;
  /** Undefined where access could not be judged. */
  readonly access: Violation | "allowed" | undefined;
  readonly secret: KubeObject | undefined;
  readonly retry?: boolean;
}

/** The reconciler of CacheKeys. It rejects where the API server itself is in trouble, to be called again later. */
export function cacheKeyReconciler(context: Context): (key: Key) => Promise<Outcome> {
  const memories = new Map<string, Memory>();
  return async ({ namespace, name }) => {
    const id = `${namespace}/${name}`;
    const seen = context.keys.get(namespace, name) as CacheKey | undefined;
    if (seen === undefined || seen.metadata.deletionTimestamp !== undefined) {
      memories.delete(id);
      return seen === undefined ? {} : finalize(context, seen);
    }
    let memory = memories.get(id);
    if (memory === undefined || memory.uid !== seen.metadata.uid) {
      memory = newMemory(seen.metadata.uid);
      memories.set(id, memory);
    }
    return reconcile(context, withLatestStatus(seen, memory.written), memory);
  };
}

async function reconcile(context: Context, key: CacheKey, memory: Memory): Promise<Outcome> {
  const { standing, access, secret, retry = false } = await lookAt(context, key, memory);
  const now = context.now();
  const state = stateOf(secret);
  const { namespace, name } = serverOf(key);
  const status = statusOf({ key, server: `${namespace}/${name}`, standing, access, state, now });
  if (await writeStatus(context, key, memory.written, status)) {
    announce(context, key, (key.status?.conditions ?? []) as Condition[], (status.conditions ?? []) as Condition[]);
  }
  const times = [state && rotationOf(key.spec, state), state?.expires, ...(state?.previous ?? []).map(({ ends }) => ends)];
  const next = times.filter((time) => time !== undefined && time > now) as number[];
  const wait = Math.min((retry ? RETRY_MS : PACE_MS) * (0.8 + 0.4 * context.chance()), ...next.map((time) => time - now));
  return { after: Math.max(SOONEST_MS, wait) };
}

async function lookAt(context: Context, key: CacheKey, memory: Memory): Promise<Look> {
  const name = secretNameOf(key);
  let secret: KubeObject | undefined;
  let access: Look["access"];
  try {
    secret = await context.kube.get(secretRef(key.metadata.namespace!, name));
    if (secret !== undefined && !isOwnedBy(secret, key)) {
      secret = undefined;
      return { standing: { reason: "NameTaken", message: `Secret/${name} exists and isn't this CacheKey's.` }, access, secret };
    }
    if (isPaused(key)) return { standing: { reason: "Paused" }, access, secret };
    const server = await findServer(context, serverOf(key));
    if (server === undefined) return { standing: { reason: "ServerMissing" }, access, secret };

    const verdict = judge(server, key, await labelsOf(context, key.metadata.namespace!));
    access = "reason" in verdict ? verdict : "allowed";
    const subject: Subject = { context, key, server, secret, memory, open: () => openApi(context, server) };
    const result = "reason" in verdict ? await withdraw(subject, verdict.message) : await keep(subject, verdict);
    return { access, ...result };
  } catch (error) {
    const standing = standingOf(error);
    if (standing === undefined) throw error;
    return { standing, access, secret, retry: true };
  }
}

function standingOf(error: unknown): Standing | undefined {
  if (error instanceof ServerError) return { reason: error.refused ? "KeyRejected" : "ServerUnavailable", message: error.message };
  if (error instanceof KubeError && (error.status === 403 || error.permanent)) return { reason: "Forbidden", message: error.message };
  return undefined;
}
