import type { Send } from "./http.ts";
import type { Condition, Key, KubeObject, Metadata, ObjectType, Ref } from "./object.ts";

/** The calls of Kube that reconcilers make; tests put a cluster in RAM in its place. */
export interface Cluster {
  get(ref: Ref): Promise<KubeObject | undefined>;
  list(type: ObjectType, within?: { namespace?: string; labels?: string }): Promise<KubeObject[]>;
  /** Server-side apply as our field manager; the reply's resourceVersion is unchanged when nothing was to change. */
  apply(object: KubeObject, options?: { force?: boolean; subresource?: "status" }): Promise<KubeObject>;
  create(object: KubeObject): Promise<KubeObject>;
  /** JSON merge patch; with metadata.resourceVersion in it, it conflicts (409) when somebody was faster. */
  patch(ref: Ref, body: Record<string, unknown>): Promise<KubeObject>;
  /** What isn't there is fine. */
  delete(ref: Ref, options?: { uid?: string; propagation?: "Background" | "Foreground" | "Orphan" }): Promise<void>;
  has(apiVersion: string, kind: string): Promise<boolean>;
}

/** What a watcher has seen last. */
export interface Seen<T extends KubeObject = KubeObject> {
  get(namespace: string, name: string): T | undefined;
  list(): Iterable<T>;
}

/** The watchers of the kinds our resources own, by label. Secrets are never among them. */
export interface Children {
  /** Undefined for a kind that isn't watched, or not listed yet: then nothing can be concluded from absence. */
  of(type: ObjectType): Seen | undefined;
}

export interface Events {
  /** Tells users of a change. Never rejects, and drops what comes too often. */
  record(about: { apiVersion: string; kind: string; metadata: Metadata }, kind: "Normal" | "Warning", reason: string, note: string): void;
}

export interface Log {
  info(text: string, details?: object): void;
  warn(text: string, details?: object): void;
  error(text: string, details?: object): void;
}

/** APIs that a cluster may lack. */
export interface Capabilities {
  readonly serviceMonitor: boolean;
  readonly prometheusRule: boolean;
  readonly httpRoute: boolean;
  readonly certificate: boolean;
}

export interface Settings {
  /** Image of servers whose resource names none. */
  readonly serverImage: string;
  /** Of the operator; servers of the default image have the same. */
  readonly version: string;
  /** Suffix of the names of Services. */
  readonly clusterDomain: string;
}

/** All that reconcilers know of the world. */
export interface Context {
  readonly kube: Cluster;
  readonly children: Children;
  /** The CacheServers seen, everywhere the operator looks. */
  readonly servers: Seen;
  readonly keys: Seen;
  readonly events: Events;
  readonly log: Log;
  capabilities(): Promise<Capabilities>;
  /** Random bytes for keys. */
  random(bytes: number): Buffer;
  /** Milliseconds since the epoch. */
  now(): number;
  /** 0 to 1, for the spread of timers. */
  chance(): number;
  readonly send: Send;
  /** Origin of a server's HTTP listener as this process reaches it. Default: its Service. */
  readonly urlOf?: (server: KubeObject, url: string) => string;
  readonly settings: Settings;
}

/** When to look at a resource again although nothing was seen to change, ms. */
export interface Outcome {
  readonly after?: number;
}

export type Reconcile = (context: Context, key: Key) => Promise<Outcome>;
export type { Condition };
