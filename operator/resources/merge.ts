import { isRecord } from "../json.ts";

/**
 * Merges one part of a pod template over another by the rules of a strategic merge patch: objects field by field, lists that
 * have a merge key item by item, everything else is replaced, and null takes away. Where an object may have one of several
 * members only (a volume's source, a probe's handler), the patch's choice replaces ours, as nobody wants both.
 */

/** Lists whose items are known by a field (k8s.io/api/core/v1, patchMergeKey); all others are replaced as a whole. */
const MERGE_KEYS: Readonly<Record<string, readonly string[]>> = {
  containers: ["name"],
  initContainers: ["name"],
  volumes: ["name"],
  env: ["name"],
  ports: ["containerPort", "protocol"],
  volumeMounts: ["mountPath"],
  volumeDevices: ["devicePath"],
  imagePullSecrets: ["name"],
  hostAliases: ["ip"],
  topologySpreadConstraints: ["topologyKey", "whenUnsatisfiable"],
  resourceClaims: ["name"],
};
const DEFAULTS: Readonly<Record<string, unknown>> = { protocol: "TCP" };

/** Lists whose items are a choice among members, which the item of the patch has made. */
const REPLACED_ITEMS = new Set(["volumes", "env"]);
const HANDLERS = ["exec", "httpGet", "tcpSocket", "grpc", "sleep"];
const WITH_HANDLER = new Set(["livenessProbe", "readinessProbe", "startupProbe", "preStop", "postStart"]);

/** Neither argument is changed. */
export function merge<T>(ours: T, patch: unknown): T {
  return mergeValue(ours, patch, "") as T;
}

function mergeValue(ours: unknown, patch: unknown, field: string): unknown {
  if (isRecord(patch)) return mergeObject(isRecord(ours) ? ours : {}, patch, field);
  const keys = MERGE_KEYS[field];
  if (Array.isArray(patch) && keys !== undefined && patch.every(isRecord)) return mergeList(Array.isArray(ours) ? ours : [], patch, field, keys);
  return patch;
}

function mergeObject(ours: Record<string, unknown>, patch: Record<string, unknown>, field: string): Record<string, unknown> {
  const { $patch: directive, ...fields } = patch;
  const chosen = WITH_HANDLER.has(field) && HANDLERS.some((name) => isRecord(fields[name]));
  const merged = new Map(directive === "replace" ? [] : Object.entries(ours).filter(([name]) => !(chosen && HANDLERS.includes(name))));
  for (const [name, value] of Object.entries(fields)) {
    if (value === null) merged.delete(name);
    else merged.set(name, mergeValue(ours[name] !== undefined && merged.has(name) ? ours[name] : undefined, value, name));
  }
  return Object.fromEntries(merged);
}

function mergeList(ours: readonly unknown[], patch: readonly Record<string, unknown>[], field: string, keys: readonly string[]): unknown[] {
  const merged = [...ours];
  for (const item of patch) {
    const index = merged.findIndex((one) => isRecord(one) && keys.every((key) => (one[key] ?? DEFAULTS[key]) === (item[key] ?? DEFAULTS[key])));
    const { $patch: directive, ...fields } = item;
    if (directive === "delete") {
      if (index >= 0) merged.splice(index, 1);
      continue;
    }
    const replaced = index < 0 || directive === "replace" || REPLACED_ITEMS.has(field);
    const result = mergeObject(replaced ? {} : (merged[index] as Record<string, unknown>), fields, "");
    if (index < 0) merged.push(result);
    else merged[index] = result;
  }
  return merged;
}
