import { CHILDREN, concerns, keepChildOf, ownerOf } from "./children.ts";
import type { Children, Log } from "./context.ts";
import type { Kube } from "./kube.ts";
import { MANAGED_BY } from "./labels.ts";
import { GROUP, MANAGER, VERSION, type Condition, type Key, type KubeObject, type ObjectType } from "./object.ts";
import { watch, type Watched, type WatchOptions } from "./watch.ts";

const SERVERS: ObjectType = { apiVersion: `${GROUP}/${VERSION}`, kind: "CacheServer" };
const KEYS: ObjectType = { apiVersion: `${GROUP}/${VERSION}`, kind: "CacheKey" };

export interface WatcherOptions {
  readonly kube: Kube;
  readonly namespaces: readonly string[];
  readonly log: Log;
  readonly signal: AbortSignal;
  readonly onRestart: (kind: string) => void;
  /** Something about this CacheServer, or what belongs to it, has changed. */
  readonly onServer: (key: Key) => void;
  readonly onKey: (key: Key) => void;
  /** An API that may be absent came: whoever wanted it can have it now. */
  readonly onAppear: () => void;
  readonly times?: WatchOptions["times"];
}

/** Everything the operator follows. */
export interface Watchers {
  readonly servers: Watched;
  readonly keys: Watched;
  readonly children: Children;
  readonly kinds: readonly string[];
  /** Resolves when resources can be reconciled. */
  readonly synced: Promise<void>;
  /** Resolves when all first lists are complete. */
  readonly complete: Promise<void>;
  /** Kinds whose first lists are missing. */
  unsynced(): string[];
  readonly lastContact: number;
  readonly ended: Promise<void>;
}

export function startWatchers(options: WatcherOptions): Watchers {
  const { kube, namespaces, log, signal, onServer, onKey } = options;
  const start = (type: ObjectType, more: Pick<WatchOptions, "onChange"> & Partial<WatchOptions>): Watched =>
    watch({
      kube, type, namespaces, log, signal, onRestart: () => options.onRestart(type.kind), onAppear: options.onAppear,
      ...(options.times === undefined ? {} : { times: options.times }), ...more,
    });

  const keys = start(KEYS, { onChange: (object, _, before) => isNews(object, before) && onKey(keyOf(object)) });
  const servers = start(SERVERS, {
    onChange: (object, change, before) => {
      if (change === "removed" || isNews(object, before)) onServer(keyOf(object));
      // A key waits for its server, and what it may be is for the server to say.
      if (change === "removed" || isNews(object, before) || readyOf(object) !== readyOf(before)) for (const key of keys.list()) if (isFor(key, object)) onKey(keyOf(key));
    },
  });
  const children = CHILDREN.map((kind) => {
    const watched = start(kind, {
      labels: `${MANAGED_BY}=${MANAGER}`,
      metadataOnly: kind.whole !== true,
      optional: kind.optional ?? false,
      keep: keepChildOf(kind),
      onChange: (object, change, before) => {
        const owner = ownerOf(object);
        if (owner !== undefined && (change === "removed" || concerns(kind, object, before))) onServer(owner);
      },
    });
    return { kind, watched };
  });
  const all = [{ kind: SERVERS, watched: servers }, { kind: KEYS, watched: keys }, ...children];
  return {
    servers,
    keys,
    children: {
      of: ({ apiVersion, kind }) => {
        const watched = children.find((one) => one.kind.kind === kind && one.kind.apiVersion === apiVersion)?.watched;
        return watched?.isSynced ? watched : undefined;
      },
    },
    kinds: all.map(({ kind }) => kind.kind),
    synced: Promise.all([servers.synced, keys.synced]).then(() => {}),
    complete: Promise.all(all.map(({ watched }) => watched.synced)).then(() => {}),
    unsynced: () => all.filter(({ watched }) => !watched.isSynced).map(({ kind }) => kind.kind),
    get lastContact() {
      return Math.min(...all.map(({ watched }) => watched.lastContact));
    },
    ended: Promise.all(all.map(({ watched }) => watched.ended)).then(() => {}),
  };
}

/** Whether a change isn't only of the status, which we write ourselves. */
function isNews({ metadata }: KubeObject, before: KubeObject | undefined): boolean {
  const facts = ({ generation, uid, labels, annotations, deletionTimestamp, finalizers }: KubeObject["metadata"]) => JSON.stringify([generation, uid, labels, annotations, deletionTimestamp, finalizers]);
  return before === undefined || facts(metadata) !== facts(before.metadata);
}

/** The status of a resource's condition Ready. */
export function readyOf(object: KubeObject | undefined): string {
  const { conditions = [] } = (object?.["status"] ?? {}) as { conditions?: Condition[] };
  return conditions.find(({ type }) => type === "Ready")?.status ?? "Unknown";
}

function isFor(key: KubeObject, server: KubeObject): boolean {
  const { serverRef } = (key["spec"] ?? {}) as { serverRef?: { name?: string; namespace?: string } };
  return serverRef?.name === server.metadata.name && (serverRef.namespace ?? key.metadata.namespace) === server.metadata.namespace;
}

function keyOf({ metadata }: KubeObject): Key {
  return { namespace: metadata.namespace ?? "", name: metadata.name };
}
