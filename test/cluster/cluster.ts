import { randomBytes } from "node:crypto";
import { PROXY } from "./rig/control-plane.ts";
import { until } from "./rig/processes.ts";

/** What `kubectl` does, for tests: the real API, as administrator. */

// eslint-disable-next-line typescript/no-explicit-any
export type Thing = { apiVersion: string; kind: string; metadata: { name: string; namespace?: string; [field: string]: any }; [field: string]: any };

/** Kind → API and name in the path. */
const KINDS = {
  Namespace: ["v1", "namespaces"], Pod: ["v1", "pods"], Service: ["v1", "services"], Secret: ["v1", "secrets"], ConfigMap: ["v1", "configmaps"], ServiceAccount: ["v1", "serviceaccounts"],
  PersistentVolumeClaim: ["v1", "persistentvolumeclaims"], PersistentVolume: ["v1", "persistentvolumes"], Event: ["events.k8s.io/v1", "events"],
  Deployment: ["apps/v1", "deployments"], ReplicaSet: ["apps/v1", "replicasets"], Lease: ["coordination.k8s.io/v1", "leases"],
  PodDisruptionBudget: ["policy/v1", "poddisruptionbudgets"], HorizontalPodAutoscaler: ["autoscaling/v2", "horizontalpodautoscalers"],
  NetworkPolicy: ["networking.k8s.io/v1", "networkpolicies"], Ingress: ["networking.k8s.io/v1", "ingresses"], HTTPRoute: ["gateway.networking.k8s.io/v1", "httproutes"],
  Certificate: ["cert-manager.io/v1", "certificates"], ServiceMonitor: ["monitoring.coreos.com/v1", "servicemonitors"], PrometheusRule: ["monitoring.coreos.com/v1", "prometheusrules"],
  ClusterRole: ["rbac.authorization.k8s.io/v1", "clusterroles"], ClusterRoleBinding: ["rbac.authorization.k8s.io/v1", "clusterrolebindings"],
  Role: ["rbac.authorization.k8s.io/v1", "roles"], RoleBinding: ["rbac.authorization.k8s.io/v1", "rolebindings"],
  CustomResourceDefinition: ["apiextensions.k8s.io/v1", "customresourcedefinitions"],
  CacheServer: ["stowhouse.dev/v1alpha1", "cacheservers"], CacheKey: ["stowhouse.dev/v1alpha1", "cachekeys"],
} as const;
export type Kind = keyof typeof KINDS;

export class Refused extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

function pathOf(kind: Kind, namespace: string | undefined, name = ""): string {
  const [version, plural] = KINDS[kind];
  return `/${version.includes("/") ? "apis" : "api"}/${version}${namespace === undefined ? "" : `/namespaces/${namespace}`}/${plural}${name === "" ? "" : `/${name}`}`;
}

/** Any request. @throws Refused with the API's own message */
export async function request(method: string, path: string, body?: unknown, type = "application/json"): Promise<Thing> {
  const answer = await fetch(PROXY + path, { method, signal: AbortSignal.timeout(30_000), ...(body === undefined ? {} : { body: JSON.stringify(body), headers: { "content-type": type } }) });
  const said = await answer.text();
  if (!answer.ok) throw new Refused(answer.status, `${answer.status} ${said.startsWith("{") ? (JSON.parse(said) as { message: string }).message : said}`);
  return JSON.parse(said) as Thing;
}

export async function get(kind: Kind, namespace: string | undefined, name: string): Promise<Thing | undefined> {
  try {
    return await request("GET", pathOf(kind, namespace, name));
  } catch (error) {
    if (error instanceof Refused && error.status === 404) return undefined;
    throw error;
  }
}

/** @param labels a selector, e.g. `app=x` */
export async function list(kind: Kind, namespace?: string, labels = ""): Promise<Thing[]> {
  const { items } = await request("GET", `${pathOf(kind, namespace)}?limit=0&labelSelector=${encodeURIComponent(labels)}`);
  return (items as Thing[]).map((item) => ({ ...item, kind }));
}

/** Server-side apply, as a user would with kubectl. */
export function apply(object: Thing, manager = "kubectl"): Promise<Thing> {
  const { namespace, name } = object.metadata;
  return request("PATCH", `${pathOf(object.kind as Kind, namespace, name)}?fieldManager=${manager}&force=true&fieldValidation=Strict`, object, "application/apply-patch+yaml");
}

export function create(object: Thing): Promise<Thing> {
  return request("POST", `${pathOf(object.kind as Kind, object.metadata.namespace)}?fieldValidation=Strict`, object);
}

/** A merge patch. @param sub e.g. `/status` */
export function patch(kind: Kind, namespace: string | undefined, name: string, change: object, sub = ""): Promise<Thing> {
  return request("PATCH", `${pathOf(kind, namespace, name)}${sub}?fieldManager=kubectl-edit`, change, "application/merge-patch+json");
}

export async function remove(kind: Kind, namespace: string | undefined, name: string): Promise<void> {
  await request("DELETE", `${pathOf(kind, namespace, name)}?propagationPolicy=Background`);
}

export function gone(kind: Kind, namespace: string | undefined, name: string, seconds = 60): Promise<boolean> {
  return until(`${kind} ${name} is gone`, seconds, async () => (await get(kind, namespace, name)) === undefined);
}

/** A namespace that lets restricted pods in and no others. */
export async function freshNamespace(prefix: string): Promise<string> {
  const name = `${prefix}-${randomBytes(3).toString("hex")}`;
  await create({ apiVersion: "v1", kind: "Namespace", metadata: { name, labels: { "pod-security.kubernetes.io/enforce": "restricted" } } });
  await until("the namespace has its service account", 30, () => get("ServiceAccount", name, "default"));
  return name;
}

export interface Condition {
  readonly type: string;
  readonly status: string;
  readonly reason: string;
  readonly message: string;
  readonly observedGeneration?: number;
}

export function condition(object: Thing | undefined, type: string): Condition | undefined {
  return (object?.["status"]?.conditions as Condition[] | undefined)?.find((one) => one.type === type);
}

/** Waits until a condition says this about the object's newest generation. Returns the object. */
export async function reaches(kind: Kind, namespace: string, name: string, type: string, status: string, seconds = 120, reason?: string): Promise<Thing> {
  let last: Thing | undefined;
  return until(`${kind} ${name}: ${type}=${status}${reason === undefined ? "" : ` (${reason})`}`, seconds, async () => {
    last = await get(kind, namespace, name);
    const found = condition(last, type);
    const current = (found?.observedGeneration ?? last?.["status"]?.observedGeneration) === last?.metadata["generation"];
    return current && found?.status === status && (reason === undefined || found.reason === reason) ? last : undefined;
  }, async () => `${JSON.stringify(last?.["status"], null, 1)}\n${await trouble(namespace)}`);
}

/** What one wants to know of a namespace where something did not happen. */
export async function trouble(namespace: string): Promise<string> {
  const pods = await list("Pod", namespace);
  const states = pods.map((pod) => `${pod.metadata.name}: ${pod["status"].phase} ${JSON.stringify(pod["status"].containerStatuses?.map((one: Thing) => one["state"]))}`);
  const events = (await list("Event", namespace)).map((event) => `${event["type"]} ${event["reason"]} ${event["regarding"]?.kind}/${event["regarding"]?.name}: ${event["note"]}`);
  const logs = await Promise.all(pods.map(async (pod) => {
    const answer = await fetch(`${PROXY}${pathOf("Pod", namespace, pod.metadata.name)}/log?tailLines=15`, { signal: AbortSignal.timeout(5000) }).then((reply) => reply.text(), String);
    return `--- ${pod.metadata.name}\n${answer}`;
  }));
  return [...states, ...events.slice(-15), ...logs].join("\n");
}
