/** What every Kubernetes object looks like to the operator: the few fields it reads, the rest as it came. */

/** The API group of our resources, its version, and the field manager that owns what we apply. */
export const GROUP = "stowhouse.dev";
export const VERSION = "v1alpha1";
export const MANAGER = "stowhouse-operator";

export interface OwnerReference {
  apiVersion: string;
  kind: string;
  name: string;
  uid: string;
  controller?: boolean;
  blockOwnerDeletion?: boolean;
}

export interface Metadata {
  name: string;
  namespace?: string;
  uid?: string;
  resourceVersion?: string;
  generation?: number;
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
  ownerReferences?: OwnerReference[];
  /** RFC 3339. */
  creationTimestamp?: string;
  deletionTimestamp?: string;
  finalizers?: string[];
  managedFields?: unknown[];
}

export interface KubeObject {
  apiVersion: string;
  kind: string;
  metadata: Metadata;
  [field: string]: unknown;
}

/** A kind as a request names it. */
export interface ObjectType {
  apiVersion: string;
  kind: string;
}

/** One object by name; without namespace for kinds that have none. */
export interface Ref extends ObjectType {
  namespace?: string;
  name: string;
}

/** A namespaced object's name, as queues and reconcilers pass it on. */
export interface Key {
  namespace: string;
  name: string;
}

/** As in `metav1.Condition`. */
export interface Condition {
  type: string;
  status: "True" | "False" | "Unknown";
  /** One word in UpperCamelCase, for machines. */
  reason: string;
  message: string;
  /** RFC 3339; changes with status only. */
  lastTransitionTime: string;
  observedGeneration: number;
}

/** The reference under which an object is asked for. */
export function refOf(object: KubeObject): Ref {
  const { namespace, name } = object.metadata;
  return { apiVersion: object.apiVersion, kind: object.kind, name, ...(namespace === undefined ? {} : { namespace }) };
}
