import { digest } from "./json.ts";
import { INSTANCE } from "./labels.ts";
import type { Key, KubeObject, ObjectType } from "./object.ts";

export interface ChildKind extends ObjectType {
  /** The cluster may lack its API. */
  readonly optional?: boolean;
  /** Its status matters to a CacheServer's own, so all of it is kept; of the others metadata is enough. */
  readonly whole?: boolean;
}

/** Kinds of which a CacheServer owns objects. Secrets are never watched, nor listed: the operator may not read those of others. */
export const CHILDREN: readonly ChildKind[] = [
  { apiVersion: "apps/v1", kind: "Deployment", whole: true },
  { apiVersion: "v1", kind: "PersistentVolumeClaim", whole: true },
  { apiVersion: "v1", kind: "Service" },
  { apiVersion: "v1", kind: "ConfigMap" },
  { apiVersion: "v1", kind: "ServiceAccount" },
  { apiVersion: "networking.k8s.io/v1", kind: "Ingress" },
  { apiVersion: "networking.k8s.io/v1", kind: "NetworkPolicy" },
  { apiVersion: "policy/v1", kind: "PodDisruptionBudget" },
  { apiVersion: "autoscaling/v2", kind: "HorizontalPodAutoscaler" },
  { apiVersion: "gateway.networking.k8s.io/v1", kind: "HTTPRoute", optional: true },
  { apiVersion: "cert-manager.io/v1", kind: "Certificate", optional: true },
  { apiVersion: "monitoring.coreos.com/v1", kind: "ServiceMonitor", optional: true },
  { apiVersion: "monitoring.coreos.com/v1", kind: "PrometheusRule", optional: true },
];

interface ManagedFields {
  readonly manager?: string;
  readonly time?: string;
  readonly subresource?: string;
}

/** What stays in memory of a child: who wrote to it, but not what; and which state of its spec this is. */
export function keepChildOf({ whole }: ChildKind): (object: KubeObject) => KubeObject {
  return (object) => {
    const { apiVersion, kind, metadata } = object;
    const managedFields = (metadata.managedFields ?? []) as ManagedFields[];
    const writers = managedFields.map(({ manager, time, subresource }) => ({ manager, time, subresource }));
    const kept = { ...metadata, managedFields: writers };
    return whole ? { ...object, metadata: kept } : { apiVersion, kind, metadata: kept, [STATE]: stateOf(object) };
  };
}

const STATE = "state";

/**
 * Whether a change of a child concerns its owner. An autoscaler writes its status every few seconds, for which nobody here
 * needs to get up.
 */
export function concerns({ whole }: ChildKind, object: KubeObject, before: KubeObject | undefined): boolean {
  return whole === true || before === undefined || object[STATE] !== before[STATE];
}

/** The owner of a child, by its labels. */
export function ownerOf({ metadata }: KubeObject): Key | undefined {
  const name = metadata.labels?.[INSTANCE];
  return name === undefined || metadata.namespace === undefined ? undefined : { namespace: metadata.namespace, name };
}

/** Changes with everything but status. Not every kind counts generations, so the fields that each writer owns are looked at. */
function stateOf({ metadata }: KubeObject): string {
  const { labels, annotations, ownerReferences, deletionTimestamp, generation, managedFields = [] } = metadata;
  const writers = generation === undefined ? (managedFields as ManagedFields[]).filter(({ subresource }) => subresource === undefined) : [];
  return digest([labels, annotations, ownerReferences, deletionTimestamp, generation, writers]);
}
