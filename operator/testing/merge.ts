import { canonical, isRecord } from "../json.ts";
import type { KubeObject } from "../object.ts";

/** Paths of fields a manager has applied, with what it applied. */
export type Owned = Map<string, unknown>;

/** Lists whose items have names, as in the API's schema. All others are replaced whole. */
const KEYED: Record<string, string> = { ownerReferences: "uid", conditions: "type", containers: "name", env: "name", volumes: "name" };
/** Not fields of anybody. */
const IDENTITY = new Set(["apiVersion", "kind", "metadata.name", "metadata.namespace"]);

/** Server-side apply: what the manager applied before and applies no more goes, what it applies now is set. */
export function merge(current: KubeObject, applied: object, owned: Map<string, Owned>, manager: string, force: boolean): KubeObject {
  const next = structuredClone(current) as Record<string, unknown>;
  const now: Owned = new Map();
  flatten(applied, [], now);
  const mine = owned.get(manager) ?? new Map<string, unknown>();
  const others = [...owned].filter(([name]) => name !== manager).map(([, fields]) => fields);
  for (const path of mine.keys()) {
    if (!now.has(path) && !others.some((fields) => fields.has(path))) erase(next, JSON.parse(path) as string[]);
  }
  for (const [path, value] of now) {
    if (!force && others.some((fields) => fields.has(path) && canonical(fields.get(path)) !== canonical(value))) throw new Error(`conflict on ${path}`);
    set(next, JSON.parse(path) as string[], value);
  }
  owned.set(manager, now);
  return next as unknown as KubeObject;
}

function flatten(value: unknown, path: readonly string[], into: Owned): void {
  const keyed = KEYED[path.at(-1) ?? ""];
  if (isRecord(value) && Object.keys(value).length > 0) {
    for (const [field, part] of Object.entries(value)) if (part !== undefined && !IDENTITY.has([...path, field].join("."))) flatten(part, [...path, field], into);
  } else if (Array.isArray(value) && keyed !== undefined) {
    for (const item of value as Record<string, unknown>[]) into.set(JSON.stringify([...path, `${keyed}=${String(item[keyed])}`]), item);
    if (value.length === 0) into.set(JSON.stringify(path), []);
  } else into.set(JSON.stringify(path), structuredClone(value));
}

function set(target: Record<string, unknown>, path: readonly string[], value: unknown): void {
  const [field, ...rest] = path as [string, ...string[]];
  const [name, key] = rest[0]?.includes("=") === true && KEYED[field] !== undefined ? rest[0].split(/=(.*)/s) : [];
  if (name !== undefined) {
    const list = (target[field] ??= []) as Record<string, unknown>[];
    const index = list.findIndex((item) => String(item[name]) === key);
    if (index < 0) list.push(value as Record<string, unknown>);
    else list[index] = { ...list[index], ...(value as object) };
  } else if (rest.length === 0) target[field] = structuredClone(value);
  else set((target[field] = isRecord(target[field]) ? target[field] : {}), rest, value);
}

function erase(target: Record<string, unknown>, path: readonly string[]): void {
  const [field, ...rest] = path as [string, ...string[]];
  if (rest.length === 0) delete target[field];
  else if (Array.isArray(target[field])) {
    const [name, key] = rest[0]!.split(/=(.*)/s);
    const left = (target[field] as Record<string, unknown>[]).filter((item) => String(item[name!]) !== key);
    if (left.length === 0) delete target[field];
    else target[field] = left;
  } else if (isRecord(target[field])) {
    erase(target[field], rest);
    if (Object.keys(target[field]).length === 0) delete target[field];
  }
}
