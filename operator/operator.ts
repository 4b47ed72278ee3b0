import { randomBytes } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";
import type { Capabilities, Context, Outcome, Settings } from "./context.ts";
import { Controller } from "./controller.ts";
import { Events } from "./events.ts";
import { send } from "./http.ts";
import type { Probes } from "./health.ts";
import { Kube } from "./kube.ts";
import { Lease, LEASE_TIMES } from "./lease.ts";
import type { Log } from "./log.ts";
import type { Metrics } from "./metrics.ts";
import type { Key } from "./object.ts";
import type { Connect } from "./transport.ts";
import { readyOf, startWatchers, type WatcherOptions } from "./watchers.ts";

/** Makes a reconciler of what it needs to know of the world. */
export type MakeReconciler = (context: Context) => (key: Key) => Promise<Outcome>;

export interface OperatorOptions {
  readonly connect: Connect;
  /** Empty: the whole cluster. */
  readonly namespaces: readonly string[];
  readonly lease: { readonly namespace: string; readonly name: string };
  /** Of this process; another one never has the same. */
  readonly identity: string;
  readonly settings: Settings;
  readonly reconcilers: { readonly cacheserver: MakeReconciler; readonly cachekey: MakeReconciler };
  readonly concurrency: number;
  readonly metrics: Metrics;
  readonly log: Log;
  /** Of leases and watches; for tests. */
  readonly times?: { readonly lease?: typeof LEASE_TIMES; readonly watch?: WatcherOptions["times"] };
}

export interface Operator extends Probes {
  /** Gives the lease back and ends everything, in about a second. */
  stop(): Promise<void>;
}

/** Longer without a word from the API server, and the process is started anew: it may be our fault. ms */
const SILENCE_MS = 10 * 60_000;
/** What runs may end before the lease is given back; the next one waits meanwhile. ms */
const GRACE_MS = 500;
/** How long the lists of children are waited for before work starts without them, ms. */
const CHILDREN_MS = 2_000;
/** The shortest of the lease's own times must hold several requests. */
const LEASE_TIMEOUTS = 3;

/** Follows all resources from the start, so that it can take over at once, and reconciles them while it leads. */
export function startOperator(options: OperatorOptions): Operator {
  const { connect, metrics, log, identity, settings } = options;
  const onRequest = (verb: string, kind: string, code: number) => metrics.requested(verb, kind, code);
  const kube = new Kube({ connect, onRequest });
  const leaseTimes = options.times?.lease ?? LEASE_TIMES;
  const ending = new AbortController();
  const leaving = new AbortController();
  let controllers: Record<"server" | "key", Controller> | undefined;

  const lookAgain = () => {
    for (const { metadata } of watchers.servers.list()) controllers?.server.add({ namespace: metadata.namespace ?? "", name: metadata.name });
    for (const { metadata } of watchers.keys.list()) controllers?.key.add({ namespace: metadata.namespace ?? "", name: metadata.name });
  };
  const watchers = startWatchers({
    kube,
    namespaces: options.namespaces,
    log,
    signal: ending.signal,
    onRestart: (kind) => metrics.watchRestarted(kind),
    onServer: (key) => controllers?.server.add(key),
    onKey: (key) => controllers?.key.add(key),
    onAppear: lookAgain,
    ...(options.times?.watch === undefined ? {} : { times: options.times.watch }),
  });

  const lead = async (term: AbortSignal): Promise<void> => {
    await watchers.synced;
    // What isn't listed yet would be asked for one by one.
    await Promise.race([watchers.complete, pause(CHILDREN_MS)]);
    if (term.aborted) return;
    const writing = kube.writingUntil(term);
    const context: Context = {
      kube: writing, children: watchers.children, servers: watchers.servers, keys: watchers.keys,
      events: new Events({ kube: writing, identity, log, onDrop: () => metrics.eventDropped() }),
      log, capabilities: () => capabilitiesOf(kube), random: randomBytes, now: Date.now, chance: Math.random, send, settings,
    };
    const common = { metrics, log, term, concurrency: options.concurrency };
    const mine = {
      server: new Controller({ ...common, name: "cacheserver", reconcile: options.reconcilers.cacheserver(context), exists: ({ namespace, name }) => watchers.servers.get(namespace, name) !== undefined }),
      key: new Controller({ ...common, name: "cachekey", reconcile: options.reconcilers.cachekey(context), exists: ({ namespace, name }) => watchers.keys.get(namespace, name) !== undefined }),
    };
    controllers = mine;
    term.addEventListener("abort", () => {
      if (controllers === mine) controllers = undefined;
      void Promise.all([mine.server.stop(), mine.key.stop()]);
    });
    lookAgain();
  };

  const lease = new Lease({
    kube: new Kube({ connect, onRequest, timeout: leaseTimes.renewDeadline / LEASE_TIMEOUTS }),
    ...options.lease, identity, times: leaseTimes, log,
    onLead: (term) => void lead(term).catch((error: unknown) => log.error("reconciling could not be started", { error: String(error) })),
  });
  const leased = lease.run(leaving.signal);

  metrics.announce(["cacheserver", "cachekey"], watchers.kinds);
  metrics.observe({
    leading: () => lease.leading,
    depths: () => [["cacheserver", controllers?.server.depth ?? 0], ["cachekey", controllers?.key.depth ?? 0]],
    managed: function* () {
      for (const [kind, { list }] of [["CacheServer", watchers.servers], ["CacheKey", watchers.keys]] as const) {
        const states = list().map(readyOf);
        for (const ready of ["True", "False", "Unknown"]) yield [kind, ready, states.filter((state) => state === ready).length];
      }
    },
  });

  let stopping: Promise<void> | undefined;
  const stop = async (): Promise<void> => {
    log.info("stopping");
    const last = controllers;
    controllers = undefined;
    await Promise.race([Promise.all([last?.server.stop(), last?.key.stop()]), pause(GRACE_MS)]);
    leaving.abort();
    await leased;
    ending.abort();
    // A list from an API server that hangs would take longer.
    await Promise.race([watchers.ended, pause(GRACE_MS)]);
  };
  return {
    registry: metrics.registry,
    unhealthy: () => {
      const silent = performance.now() - Math.min(watchers.lastContact, lease.lastContact);
      return silent > SILENCE_MS ? `no answer from the API server for ${Math.round(silent / 1000)} s` : undefined;
    },
    unready: () => {
      if (stopping !== undefined) return "stopping";
      const missing = watchers.unsynced();
      return missing.length > 0 ? `waiting for the first list of ${missing.join(", ")}` : undefined;
    },
    stop: () => (stopping ??= stop()),
  };
}

async function capabilitiesOf(kube: Kube): Promise<Capabilities> {
  const [serviceMonitor, prometheusRule, httpRoute, certificate] = await Promise.all([
    kube.has("monitoring.coreos.com/v1", "ServiceMonitor"),
    kube.has("monitoring.coreos.com/v1", "PrometheusRule"),
    kube.has("gateway.networking.k8s.io/v1", "HTTPRoute"),
    kube.has("cert-manager.io/v1", "Certificate"),
  ]);
  return { serviceMonitor, prometheusRule, httpRoute, certificate };
}
