import type { Condition } from "./object.ts";

type Status = Condition["status"];

interface Row {
  readonly kind: "CacheServer" | "CacheKey";
  readonly type: string;
  readonly status: Status;
  readonly reason: string;
  /** What it means and what to do, for the documentation. */
  readonly text: string;
}

/** Every condition our resources may show. The documentation's table is made from this one. */
export const CONDITIONS = [
  { kind: "CacheServer", type: "Ready", status: "True", reason: "Available", text: "As many replicas as wanted serve, and the spec is applied." },
  { kind: "CacheServer", type: "Ready", status: "False", reason: "Starting", text: "No replica serves yet." },
  { kind: "CacheServer", type: "Ready", status: "False", reason: "ReplicasMissing", text: "Some replicas serve, fewer than wanted." },
  { kind: "CacheServer", type: "Ready", status: "False", reason: "ScaledToZero", text: "`spec.replicas` is 0: nothing serves, nothing is lost." },
  { kind: "CacheServer", type: "Ready", status: "False", reason: "Blocked", text: "The spec can't be applied and too few replicas serve; Degraded says why." },

  { kind: "CacheServer", type: "Progressing", status: "True", reason: "RollingOut", text: "Pods of the latest spec replace older ones." },
  { kind: "CacheServer", type: "Progressing", status: "True", reason: "Scaling", text: "The number of pods is on its way to the one wanted." },
  { kind: "CacheServer", type: "Progressing", status: "False", reason: "UpToDate", text: "What runs is what the spec says." },
  { kind: "CacheServer", type: "Progressing", status: "False", reason: "Blocked", text: "Nothing moves until what Degraded names is put right." },
  { kind: "CacheServer", type: "Progressing", status: "False", reason: "Stalled", text: "The Deployment gave up: new pods don't get ready. Look at their events and logs." },
  { kind: "CacheServer", type: "Progressing", status: "Unknown", reason: "Paused", text: "The annotation `stowhouse.dev/reconcile: disabled` is set: status is shown, nothing is changed. Remove it to go on." },

  { kind: "CacheServer", type: "Degraded", status: "False", reason: "AsExpected", text: "Nothing is wrong." },
  { kind: "CacheServer", type: "Degraded", status: "True", reason: "SecretMissing", text: "A Secret the spec names doesn't exist. It is looked for again every 30 seconds." },
  { kind: "CacheServer", type: "Degraded", status: "True", reason: "SecretFieldMissing", text: "A Secret lacks a field the server needs. It is read again every 30 seconds." },
  { kind: "CacheServer", type: "Degraded", status: "True", reason: "InvalidConfig", text: "The spec passed the schema but contradicts itself; the message names the field." },
  { kind: "CacheServer", type: "Degraded", status: "True", reason: "NameTaken", text: "An object of this name exists and isn't ours; it is left alone. Rename one of both." },
  { kind: "CacheServer", type: "Degraded", status: "True", reason: "Forbidden", text: "The API server denies the operator something: its Role or an admission policy. Tried again with growing pauses." },
  { kind: "CacheServer", type: "Degraded", status: "True", reason: "ApplyRefused", text: "The API server refuses an object of ours as invalid; the message is its own." },
  { kind: "CacheServer", type: "Degraded", status: "True", reason: "FieldConflict", text: "Something else keeps changing a field of ours back. Both are slowed down; remove one of the writers." },
  { kind: "CacheServer", type: "Degraded", status: "True", reason: "APIMissing", text: "The spec asks for an object whose API this cluster doesn't have; the message says how to get it." },
  { kind: "CacheServer", type: "Degraded", status: "True", reason: "RolloutStalled", text: "New pods don't get ready within the Deployment's deadline. Look at their events and logs." },
  { kind: "CacheServer", type: "Degraded", status: "True", reason: "ServerUnreachable", text: "Pods are ready, but the admin API doesn't answer the operator: usage is stale and CacheKeys wait. Look for a NetworkPolicy." },

  { kind: "CacheServer", type: "StorageReady", status: "True", reason: "Bound", text: "The volume is bound and as large as wanted." },
  { kind: "CacheServer", type: "StorageReady", status: "True", reason: "ObjectStorage", text: "Entries go to S3; the credentials are there. Whether the bucket takes them is seen by the server's readiness." },
  { kind: "CacheServer", type: "StorageReady", status: "False", reason: "Pending", text: "The volume isn't bound yet. With WaitForFirstConsumer that takes until a pod is scheduled." },
  { kind: "CacheServer", type: "StorageReady", status: "False", reason: "ClaimMissing", text: "The claim that `existingClaim` names doesn't exist." },
  { kind: "CacheServer", type: "StorageReady", status: "False", reason: "Lost", text: "The volume behind the claim is gone." },
  { kind: "CacheServer", type: "StorageReady", status: "False", reason: "ResizePending", text: "The volume is growing; some drivers finish when the pod restarts." },
  { kind: "CacheServer", type: "StorageReady", status: "False", reason: "ClassForbidsExpansion", text: "The StorageClass doesn't let volumes grow. Set the size back or allow expansion there." },
  { kind: "CacheServer", type: "StorageReady", status: "False", reason: "ResizeFailed", text: "The volume could not grow; the message is the storage driver's." },
  { kind: "CacheServer", type: "StorageReady", status: "False", reason: "CredentialsMissing", text: "The Secret with the S3 credentials, or one of its fields, is missing." },
  { kind: "CacheServer", type: "StorageReady", status: "Unknown", reason: "NotRead", text: "The volume's state could not be read." },

  { kind: "CacheServer", type: "MonitoringReady", status: "True", reason: "Created", text: "All monitoring objects the spec asks for exist." },
  { kind: "CacheServer", type: "MonitoringReady", status: "True", reason: "NotWanted", text: "The spec asks for none." },
  { kind: "CacheServer", type: "MonitoringReady", status: "False", reason: "MonitoringUnavailable", text: "ServiceMonitor or PrometheusRule are skipped: the Prometheus Operator's API isn't in this cluster. They follow when it is." },
  { kind: "CacheServer", type: "MonitoringReady", status: "False", reason: "Blocked", text: "Nothing is applied until what Degraded names is put right." },

  { kind: "CacheKey", type: "Ready", status: "True", reason: "Issued", text: "The key works and its Secret holds it." },
  { kind: "CacheKey", type: "Ready", status: "True", reason: "Overlapping", text: "The key was rotated; the one before works until the overlap ends." },
  { kind: "CacheKey", type: "Ready", status: "False", reason: "Refused", text: "The CacheServer's `access` doesn't allow what is asked for; Refused says what." },
  { kind: "CacheKey", type: "Ready", status: "False", reason: "Expired", text: "`expires` has passed; there is no key any more." },
  { kind: "CacheKey", type: "Ready", status: "False", reason: "ServerMissing", text: "There is no such CacheServer, or the operator doesn't look after its namespace." },
  { kind: "CacheKey", type: "Ready", status: "False", reason: "ServerUnavailable", text: "The server doesn't answer now. A key made before goes on working when it is back." },
  { kind: "CacheKey", type: "Ready", status: "False", reason: "CacheMissing", text: "The server has no cache of this name." },
  { kind: "CacheKey", type: "Ready", status: "False", reason: "KeyRejected", text: "The server refuses to make such a key; the message is its own." },
  { kind: "CacheKey", type: "Ready", status: "False", reason: "NameTaken", text: "A Secret of this name exists and isn't ours; it is left alone. Choose another `secretName`." },
  { kind: "CacheKey", type: "Ready", status: "False", reason: "SecretContested", text: "Something else keeps changing or deleting the Secret. New keys are made with pauses only; find the other writer." },
  { kind: "CacheKey", type: "Ready", status: "False", reason: "Forbidden", text: "The API server denies the operator something; the message is its own." },
  { kind: "CacheKey", type: "Ready", status: "Unknown", reason: "Paused", text: "The annotation `stowhouse.dev/reconcile: disabled` is set: the key isn't looked after." },

  { kind: "CacheKey", type: "Refused", status: "False", reason: "Allowed", text: "The CacheServer's `access` allows the request." },
  { kind: "CacheKey", type: "Refused", status: "True", reason: "NamespaceNotAllowed", text: "No entry of `access` selects this namespace." },
  { kind: "CacheKey", type: "Refused", status: "True", reason: "CacheNotAllowed", text: "A cache is asked for that `access` doesn't grant to this namespace." },
  { kind: "CacheKey", type: "Refused", status: "True", reason: "PermissionNotAllowed", text: "Write is asked for where `access` grants read only." },
  { kind: "CacheKey", type: "Refused", status: "True", reason: "ScopeNotAllowed", text: "The scope isn't one that `access` grants; without a scope a key has its cache's default scope." },
  { kind: "CacheKey", type: "Refused", status: "True", reason: "LifetimeNotAllowed", text: "`access` has a maxTTL: the key must expire or rotate within it." },
  { kind: "CacheKey", type: "Refused", status: "Unknown", reason: "NotChecked", text: "The CacheServer or the namespace could not be read." },
] as const satisfies readonly Row[];

type Known = (typeof CONDITIONS)[number];
export type KindOf = Known["kind"];
export type TypeOf<K extends KindOf> = Extract<Known, { kind: K }>["type"];
export type ReasonOf<K extends KindOf, T extends string> = Extract<Known, { kind: K; type: T }>["reason"];

/** What a status wants to say, before it is known since when. */
export interface Verdict {
  readonly type: string;
  readonly status: Status;
  readonly reason: string;
  readonly message: string;
}

/** A condition of the table; without a message of its own it has the table's. */
export function verdict<K extends KindOf, T extends TypeOf<K>>(kind: K, type: T, reason: ReasonOf<K, T>, message?: string): Verdict {
  const row = CONDITIONS.find((one) => one.kind === kind && one.type === type && one.reason === reason)!;
  return { type, status: row.status, reason, message: clip(message ?? row.text) };
}

/** Conditions as they are written: those whose status is as before keep their time. */
export function stamp(verdicts: readonly Verdict[], before: readonly Condition[], generation: number, now: number): Condition[] {
  return verdicts.map(({ type, status, reason, message }) => {
    const old = before.find((one) => one.type === type);
    const lastTransitionTime = old?.status === status ? old.lastTransitionTime : new Date(now).toISOString().replace(/\.\d+Z$/, "Z");
    return { type, status, reason, message, lastTransitionTime, observedGeneration: generation };
  });
}

const MAX_MESSAGE = 1_000;

function clip(text: string): string {
  return text.length <= MAX_MESSAGE ? text : `${text.slice(0, MAX_MESSAGE - 1)}…`;
}
