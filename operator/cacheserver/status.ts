import { stamp, verdict, type Verdict } from "../conditions.ts";
import type { Condition, KubeObject } from "../object.ts";
import { selectorText } from "../resources/metadata.ts";
import type { Missing } from "./inputs.ts";
import type { Problem } from "./problem.ts";
import type { CacheServer, CacheServerStatus } from "./schema.ts";
import { storageText, storageVerdict, type Claim } from "./storage.ts";

/** All that a CacheServer's status is made from. */
export interface Facts {
  readonly server: CacheServer;
  readonly paused: boolean;
  /** As it is in the cluster. */
  readonly deployment: KubeObject | undefined;
  /** Whether that is the one this generation of the spec wants. */
  readonly deployed: boolean;
  readonly claim: Claim | undefined;
  readonly missing: readonly Missing[];
  readonly problems: readonly Problem[];
  /** Kinds of monitoring objects that the spec asks for: those that are applied, and those whose API is absent. */
  readonly monitoring: { readonly wanted: readonly string[]; readonly absent: readonly string[] };
  readonly usage: CacheServerStatus["usage"];
  /** Why the admin API can't be asked. */
  readonly unreachable: string | undefined;
  readonly endpoint: string;
  readonly keysSecret: string;
  readonly now: number;
}

interface DeploymentStatus {
  readonly observedGeneration?: number;
  readonly replicas?: number;
  readonly updatedReplicas?: number;
  readonly readyReplicas?: number;
  readonly conditions?: readonly { readonly type: string; readonly status: string; readonly reason?: string; readonly message?: string }[];
}

/** Pure: what the facts say of a server. */
export function statusOf(facts: Facts): CacheServerStatus {
  const { server, deployment, claim, now } = facts;
  const before = server.status ?? {};
  const rollout = rolloutOf(deployment);
  const problems = [...facts.problems, ...facts.missing, ...stalled(rollout), ...silent(facts)];
  const verdicts = [
    ready(facts, rollout),
    progressing(facts, rollout, problems),
    degraded(problems),
    storageVerdict(server, claim, facts.missing),
    monitoring(facts),
  ];
  const storage = storageText(server, claim);
  const version = facts.deployed && rollout.complete ? versionOf(deployment) : before.version;
  return {
    observedGeneration: server.metadata.generation ?? 0,
    replicas: rollout.replicas,
    readyReplicas: rollout.ready,
    selector: selectorText(server),
    endpoint: facts.endpoint,
    keysSecret: facts.keysSecret,
    ...(version === undefined ? {} : { version }),
    ...(storage === undefined ? {} : { storage }),
    ...(facts.usage === undefined ? {} : { usage: facts.usage }),
    conditions: stamp(verdicts, (before.conditions ?? []) as Condition[], server.metadata.generation ?? 0, now),
  };
}

interface Rollout {
  readonly exists: boolean;
  readonly wanted: number;
  readonly replicas: number;
  readonly updated: number;
  readonly ready: number;
  readonly complete: boolean;
  /** The Deployment's own words. */
  readonly failure: string | undefined;
}

function rolloutOf(deployment: KubeObject | undefined): Rollout {
  const wanted = (deployment?.["spec"] as { replicas?: number } | undefined)?.replicas ?? 0;
  const { observedGeneration = 0, replicas = 0, updatedReplicas: updated = 0, readyReplicas: ready = 0, conditions = [] } = (deployment?.["status"] ?? {}) as DeploymentStatus;
  const current = observedGeneration >= (deployment?.metadata.generation ?? 0);
  const failed = conditions.find(({ type, status, reason }) => (type === "ReplicaFailure" && status === "True") || (type === "Progressing" && reason === "ProgressDeadlineExceeded"));
  return {
    exists: deployment !== undefined, wanted, replicas, updated, ready,
    complete: deployment !== undefined && current && updated === wanted && replicas === wanted && ready === wanted,
    failure: current ? failed && (failed.message ?? failed.reason) : undefined,
  };
}

function ready({ server, deployed }: Facts, { exists, wanted, ready: serving }: Rollout): Verdict {
  const say = (reason: Parameters<typeof verdict<"CacheServer", "Ready">>[2], message?: string) => verdict("CacheServer", "Ready", reason, message);
  const enough = exists && serving >= wanted;
  if (!deployed && !enough) return say("Blocked");
  if (exists && wanted === 0 && server.spec.replicas === 0) return say("ScaledToZero");
  const count = `${serving} of ${wanted} replicas serve.`;
  if (enough) return say("Available", count);
  return serving === 0 ? say("Starting", count) : say("ReplicasMissing", count);
}

function progressing({ paused, deployed }: Facts, rollout: Rollout, problems: readonly Problem[]): Verdict {
  const say = (reason: Parameters<typeof verdict<"CacheServer", "Progressing">>[2], message?: string) => verdict("CacheServer", "Progressing", reason, message);
  if (paused) return say("Paused");
  if (!deployed) return say("Blocked", problems[0]?.message);
  if (rollout.failure !== undefined) return say("Stalled", rollout.failure);
  if (rollout.complete) return say("UpToDate");
  const { updated, wanted, replicas } = rollout;
  if (updated < wanted || replicas > updated) return say("RollingOut", `${updated} of ${wanted} replicas are of the latest spec.`);
  return say("Scaling", `${replicas} of ${wanted} replicas are there, ${rollout.ready} of them ready.`);
}

function degraded(problems: readonly Problem[]): Verdict {
  const [first] = problems;
  if (first === undefined) return verdict("CacheServer", "Degraded", "AsExpected");
  return verdict("CacheServer", "Degraded", first.reason, [...new Set(problems.map(({ message }) => message))].join(" "));
}

function stalled({ failure }: Rollout): Problem[] {
  return failure === undefined ? [] : [{ reason: "RolloutStalled", message: failure }];
}

function silent({ unreachable }: Facts): Problem[] {
  return unreachable === undefined ? [] : [{ reason: "ServerUnreachable", message: unreachable }];
}

function monitoring({ monitoring: { wanted, absent } }: Facts): Verdict {
  if (absent.length > 0) {
    return verdict("CacheServer", "MonitoringReady", "MonitoringUnavailable", `${absent.join(" and ")} skipped: the cluster has no monitoring.coreos.com/v1. Install the Prometheus Operator's CRDs, or disable them in spec.monitoring.`);
  }
  return wanted.length === 0 ? verdict("CacheServer", "MonitoringReady", "NotWanted") : verdict("CacheServer", "MonitoringReady", "Created", `${wanted.join(", ")} applied.`);
}

function versionOf(deployment: KubeObject | undefined): string | undefined {
  return deployment?.metadata.labels?.["app.kubernetes.io/version"];
}
