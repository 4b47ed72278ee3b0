import { createHash } from "node:crypto";
import { cacheKeyReconciler } from "../cachekey/reconcile.ts";
import { cacheServerReconciler } from "../cacheserver/reconcile.ts";
import type { Children, Context, Outcome, Seen } from "../context.ts";
import type { Condition, KubeObject } from "../object.ts";
import { FakeCluster } from "./cluster.ts";
import { FakeServer } from "./server.ts";
import { cacheKey, cacheServer } from "./stored.ts";

/** A cluster, a server and an operator, all in RAM and in one time that stands still. */
export class World {
  time = Date.parse("2026-03-01T00:00:00Z");
  readonly now = () => this.time;
  readonly cluster = new FakeCluster();
  readonly server = new FakeServer(this.now);
  /** "Normal Created …" */
  readonly events: string[] = [];
  capabilities = { serviceMonitor: true, prometheusRule: true, httpRoute: true, certificate: true };
  /** Whether children are watched; else every look asks the API server. */
  watched = true;
  #random = 0;
  #frozen: KubeObject[] | undefined;
  #servers: ReturnType<typeof cacheServerReconciler>;
  #keys: ReturnType<typeof cacheKeyReconciler>;

  constructor() {
    this.cluster.now = this.now;
    [this.#servers, this.#keys] = this.#start();
    for (const name of ["ci", "apps"]) this.cluster.put({ apiVersion: "v1", kind: "Namespace", metadata: { name, labels: { "kubernetes.io/metadata.name": name, team: name } } });
  }

  /** Another process takes over: nothing in RAM is left. */
  restart(): void {
    [this.#servers, this.#keys] = this.#start();
  }

  addServer(spec: object = {}): KubeObject {
    return this.cluster.put(withoutUid(cacheServer(spec)));
  }

  addKey(spec: object = {}, metadata: { name?: string; namespace?: string } = {}): KubeObject {
    return this.cluster.put(withoutUid(cacheKey({ serverRef: { name: "cache", namespace: "ci" }, ...spec }, metadata)));
  }

  /** Reconciles the CacheServer once. */
  look(): Promise<Outcome> {
    return this.#servers({ namespace: "ci", name: "cache" });
  }

  lookAtKey(name = "app", namespace = "ci"): Promise<Outcome> {
    return this.#keys({ namespace, name });
  }

  /** Watchers go on showing what there is now, whatever happens. */
  freeze(): void {
    this.#frozen = ["CacheServer", "CacheKey", "Deployment", "Service", "ConfigMap", "PersistentVolumeClaim"].flatMap((kind) => this.cluster.all(kind));
  }

  /** Pods start, and the volume is bound: what controllers of the cluster would do. */
  serve(): void {
    const deployment = this.cluster.find("Deployment", "cache")!;
    const { replicas } = deployment["spec"] as { replicas: number };
    this.cluster.edit("Deployment", "cache", { status: { observedGeneration: deployment.metadata.generation, replicas, updatedReplicas: replicas, readyReplicas: replicas } });
    const claim = this.cluster.find("PersistentVolumeClaim", "cache");
    const size = (claim?.["spec"] as { resources: { requests: { storage: string } } } | undefined)?.resources.requests.storage;
    if (size !== undefined) this.cluster.edit("PersistentVolumeClaim", "cache", { status: { phase: "Bound", capacity: { storage: size } } });
  }

  /** A server with pods that are ready. */
  async running(spec: object = {}): Promise<void> {
    this.addServer(spec);
    await this.look();
    this.serve();
    await this.look();
    this.cluster.take();
    this.events.length = 0;
  }

  condition(type: string, kind = "CacheServer", name = kind === "CacheKey" ? "app" : "cache", namespace = "ci"): string {
    const { conditions = [] } = (this.cluster.find(kind, name, namespace)?.["status"] ?? {}) as { conditions?: Condition[] };
    const found = conditions.find((one) => one.type === type);
    return found === undefined ? "none" : `${found.status} ${found.reason}`;
  }

  message(type: string, kind = "CacheServer", name = kind === "CacheKey" ? "app" : "cache", namespace = "ci"): string {
    const { conditions = [] } = (this.cluster.find(kind, name, namespace)?.["status"] ?? {}) as { conditions?: Condition[] };
    return conditions.find((one) => one.type === type)?.message ?? "";
  }

  /** A field of a Secret. */
  secret(name: string, field: string, namespace = "ci"): string | undefined {
    const value = (this.cluster.find("Secret", name, namespace)?.["data"] as Record<string, string> | undefined)?.[field];
    return value === undefined ? undefined : Buffer.from(value, "base64").toString();
  }

  #start(): [ReturnType<typeof cacheServerReconciler>, ReturnType<typeof cacheKeyReconciler>] {
    const context: Context = {
      kube: this.cluster,
      children: this.#children(),
      servers: this.#seen("CacheServer"),
      keys: this.#seen("CacheKey"),
      events: { record: (_, kind, reason, note) => void this.events.push(`${kind} ${reason} ${note}`) },
      log: { info() {}, warn() {}, error() {} },
      capabilities: async () => this.capabilities,
      random: (bytes) => createHash("sha512").update(String(++this.#random)).digest().subarray(0, bytes),
      now: this.now,
      chance: () => 0.5,
      send: this.server.send,
      settings: { serverImage: "ghcr.io/stowhouse/stowhouse:0.1.0", version: "0.1.0", clusterDomain: "cluster.local" },
    };
    return [cacheServerReconciler(context), cacheKeyReconciler(context)];
  }

  #seen(kind: string): Seen {
    const list = () => this.#frozen?.filter((object) => object.kind === kind) ?? this.cluster.all(kind);
    return { get: (namespace, name) => list().find(({ metadata }) => metadata.namespace === namespace && metadata.name === name), list };
  }

  #children(): Children {
    return { of: ({ kind }) => (this.watched ? this.#seen(kind) : undefined) };
  }
}

function withoutUid(object: KubeObject): KubeObject {
  const { uid: _, generation: __, ...metadata } = object.metadata;
  return { ...object, metadata };
}
