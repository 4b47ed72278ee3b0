import type { Context, Outcome } from "../context.ts";
import { isOwnedBy, isPaused } from "../labels.ts";
import { refOf, type Condition, type Key, type KubeObject, type ObjectType } from "../object.ts";
import { keysSecretName, tlsSecretName } from "../resources/inputs.ts";
import { endpoint } from "../resources/urls.ts";
import { claimName } from "../resources/volume.ts";
import { withLatestStatus, writeStatus, type Written } from "../status.ts";
import { announceChanges, announceConditions } from "./announce.ts";
import { apiOf } from "./api.ts";
import { keepChild, nameOf, type Applied, type Kept } from "./child.ts";
import { gather } from "./inputs.ts";
import { keepKeys, type Keys } from "./keys.ts";
import { problemOf, type Problem } from "./problem.ts";
import { prune } from "./prune.ts";
import type { CacheServer } from "./schema.ts";
import { statusOf } from "./status.ts";
import type { Claim } from "./storage.ts";
import { newUsage, refreshUsage, unreachable, usageStatus, USAGE_TIMEOUT_MS, type UsageMemory } from "./usage.ts";
import { considered, type Considered } from "./wanted.ts";

/** Secrets aren't watched: they are read again this often. */
const PACE_MS = 30_000;
const PRUNE_MS = 10 * 60_000;
const SOONEST_MS = 500;
const DEPLOYMENT: ObjectType = { apiVersion: "apps/v1", kind: "Deployment" };
const CLAIM: ObjectType = { apiVersion: "v1", kind: "PersistentVolumeClaim" };

/** What is remembered of a server between two looks at it. Losing it costs requests, never correctness. */
interface Memory {
  readonly uid: string | undefined;
  readonly children: Map<string, Applied>;
  readonly usage: UsageMemory;
  readonly written: Written;
  readonly considered: Considered;
  /** The names that were wanted when it was pruned last, and how that went. */
  pruned: { readonly names: string; readonly at: number; readonly problem?: Problem };
}

/** The reconciler of CacheServers. It rejects where the API server itself is in trouble, to be called again later. */
export function cacheServerReconciler(context: Context): (key: Key) => Promise<Outcome> {
  const memories = new Map<string, Memory>();
  return async ({ namespace, name }) => {
    const id = `${namespace}/${name}`;
    const seen = context.servers.get(namespace, name) as CacheServer | undefined;
    if (seen === undefined || seen.metadata.deletionTimestamp !== undefined) {
      memories.delete(id);
      return {};
    }
    let memory = memories.get(id);
    if (memory === undefined || memory.uid !== seen.metadata.uid) {
      memory = { uid: seen.metadata.uid, children: new Map(), usage: newUsage(), written: {}, considered: {}, pruned: { names: "", at: -Infinity } };
      memories.set(id, memory);
    }
    return reconcile(context, withLatestStatus(seen, memory.written), memory);
  };
}

async function reconcile(context: Context, server: CacheServer, memory: Memory): Promise<Outcome> {
  const { now } = context;
  const paused = isPaused(server);
  const keys = await readKeys(context, server, paused);
  const gathered = await gather(context, server, keys.secret);
  const { objects, monitoring, problems } = considered(server, gathered.inputs, memory.considered);

  const held = gathered.missing.length > 0;
  const kept = paused || objects === undefined ? [] : await keepAll(context, server, memory, held ? objects.filter(({ kind }) => kind !== "Deployment") : objects);
  if (!paused && objects !== undefined) await pruneRest(context, server, memory, objects, kept);

  const own = kept.find(({ name }) => name === nameIn(DEPLOYMENT, server));
  const deployment = own ? own.object : await findOwn(context, server);
  const claim = await claimOf(context, server, kept);
  const serving = ((deployment?.["status"] ?? {}) as { readyReplicas?: number }).readyReplicas ?? 0;
  if (serving > 0) await refreshUsage(context, memory.usage, apiOf(context, server, keys.secret, gathered.secrets.get(tlsSecretName(server) ?? ""), USAGE_TIMEOUT_MS));

  const pruning = memory.pruned.problem;
  const status = statusOf({
    server, paused, deployment, claim, monitoring,
    deployed: paused || (own !== undefined && (own.problem === undefined || own.problem.reason === "FieldConflict")),
    missing: keys.problem === undefined ? gathered.missing : gathered.missing.filter(({ purpose }) => purpose !== "keys"),
    problems: [keys.problem, ...problems, ...kept.map(({ problem }) => problem), pruning].filter((problem) => problem !== undefined),
    usage: usageStatus(memory.usage, server.status?.usage, now()),
    unreachable: serving > 0 ? unreachable(memory.usage) : undefined,
    endpoint: endpoint(server, context.settings),
    keysSecret: keysSecretName(server),
    now: now(),
  });
  if (await writeStatus(context, server, memory.written, status)) {
    announceConditions(context, server, (server.status?.conditions ?? []) as Condition[], (status.conditions ?? []) as Condition[]);
  }

  const times = [now() + PACE_MS, keys.again, serving > 0 ? memory.usage.next : undefined, ...kept.map(({ again }) => again)].filter((time) => time !== undefined);
  return { after: Math.max(SOONEST_MS, Math.min(...times) - now()) * (0.8 + 0.4 * context.chance()) };
}

/** A denied look at the keys is for the status to tell, as everything else that concerns this server alone. */
async function readKeys(context: Context, server: CacheServer, paused: boolean): Promise<Keys> {
  const name = keysSecretName(server);
  try {
    const keys = await keepKeys(context, server, paused);
    const { change } = keys;
    if (change !== undefined) context.events.record(server, "Normal", change, `${change === "CreatedKeys" ? "Made" : "Rotated"} the keys in Secret/${name}.`);
    return keys;
  } catch (error) {
    const problem = problemOf(error, `Secret/${name}`);
    if (problem === undefined) throw error;
    return { secret: undefined, problem };
  }
}

type Named = Kept & { readonly name: string };

async function keepAll(context: Context, server: CacheServer, memory: Memory, objects: readonly KubeObject[]): Promise<Named[]> {
  const kept: Named[] = [];
  for (const object of objects) kept.push({ ...(await keepChild(context, server, memory.children, object)), name: nameOf(object) });
  return kept;
}

/** Removes what isn't wanted any more, when that has changed and now and then; then tells of all that was changed. */
async function pruneRest(context: Context, server: CacheServer, memory: Memory, objects: readonly KubeObject[], kept: readonly Kept[]): Promise<void> {
  const names = objects.map(nameOf).join();
  const at = context.now();
  let removed: string[] = [];
  if (names !== memory.pruned.names || at - memory.pruned.at > PRUNE_MS) {
    try {
      removed = await prune(context, server, objects);
      memory.pruned = { names, at };
      for (const name of memory.children.keys()) if (!objects.some((object) => nameOf(object) === name)) memory.children.delete(name);
    } catch (error) {
      const problem = problemOf(error, "What the spec doesn't want any more can't be removed");
      if (problem === undefined) throw error;
      memory.pruned = { names, at, problem };
    }
  }
  announceChanges(context, server, kept, removed);
}

/** Undefined for a server without a volume. */
async function claimOf(context: Context, server: CacheServer, kept: readonly Named[]): Promise<Claim | undefined> {
  const name = claimName(server);
  if (name === undefined) return undefined;
  const own = kept.find((one) => one.name === nameIn(CLAIM, server));
  return own ? { name, object: own.object, problem: own.problem } : { name, object: await find(context, server, CLAIM, name) };
}

async function findOwn(context: Context, server: CacheServer): Promise<KubeObject | undefined> {
  const deployment = await find(context, server, DEPLOYMENT);
  return deployment && isOwnedBy(deployment, server) ? deployment : undefined;
}

async function find(context: Context, server: CacheServer, type: ObjectType, name = server.metadata.name): Promise<KubeObject | undefined> {
  const { namespace } = server.metadata;
  return context.children.of(type)?.get(namespace!, name) ?? context.kube.get(refOf({ ...type, metadata: { name, namespace: namespace! } }));
}

function nameIn({ kind }: ObjectType, { metadata }: CacheServer): string {
  return `${kind}/${metadata.name}`;
}
