import type { Cluster } from "../context.ts";
import { canonical, isRecord } from "../json.ts";
import { KubeError } from "../kube-error.ts";
import { MANAGER, refOf, type KubeObject, type ObjectType, type Ref } from "../object.ts";
import { merge, type Owned } from "./merge.ts";

type Verb = "get" | "list" | "apply" | "create" | "patch" | "delete";

interface Stored {
  object: KubeObject;
  /** What each manager has applied last, by its name. */
  owned: Map<string, Owned>;
}

export interface Fault {
  readonly verb: Verb;
  readonly kind: string;
  readonly name?: string;
  readonly error: Error;
  /** How often; default: always. */
  times?: number;
}

const DEFAULTS: Record<string, unknown> = { Deployment: { status: {} }, PersistentVolumeClaim: { status: { phase: "Pending" } } };

/**
 * A cluster in RAM: resource versions that stay when nothing changes, field managers, generations, finalizers, garbage
 * collection of what has lost its owner. Enough of one for reconcilers; test/cluster has the real thing.
 */
export class FakeCluster implements Cluster {
  /** Changes that reached the store, as "apply Deployment/name". */
  readonly writes: string[] = [];
  /** All calls. */
  readonly calls: string[] = [];
  readonly faults: Fault[] = [];
  readonly absent = new Set<string>();
  now: () => number = () => Date.now();
  readonly #stored = new Map<string, Stored>();
  #version = 100;
  #uid = 0;

  async get(ref: Ref): Promise<KubeObject | undefined> {
    this.#enter("get", ref.kind, ref.name);
    return structuredClone(this.#stored.get(idOf(ref))?.object);
  }

  async list(type: ObjectType, within: { namespace?: string; labels?: string } = {}): Promise<KubeObject[]> {
    this.#enter("list", type.kind, "");
    if (type.kind === "Secret") throw refusal(403, "Forbidden", "secrets is forbidden: cannot list");
    const wanted = (within.labels ?? "").split(",").filter((label) => label !== "").map((label) => label.split("="));
    return this.all(type.kind)
      .filter(({ metadata }) => within.namespace === undefined || metadata.namespace === within.namespace)
      .filter(({ metadata }) => wanted.every(([name, value]) => metadata.labels?.[name!] === value));
  }

  async apply(object: KubeObject, { subresource, force = true }: { subresource?: "status"; force?: boolean } = {}): Promise<KubeObject> {
    const { kind, metadata } = object;
    this.#enter("apply", kind, metadata.name);
    if (this.absent.has(kind)) throw refusal(404, "NotFound", `the server could not find ${kind}`);
    const id = idOf(refOf(object));
    const manager = subresource === undefined ? MANAGER : `${MANAGER}-status`;
    const stored = this.#stored.get(id);
    if (subresource === "status") {
      if (!stored) throw refusal(404, "NotFound", `${kind} ${metadata.name} not found`);
      return this.#put(id, stored, merge(stored.object, { status: object["status"] }, stored.owned, manager, force), `apply ${kind}/${metadata.name}/status`);
    }
    const { status: _, ...rest } = structuredClone(object);
    const { resourceVersion: __, uid: ___, ...meta } = rest.metadata;
    const fresh = stored ?? this.#fresh(object);
    return this.#put(id, fresh, merge(fresh.object, { ...rest, metadata: meta }, fresh.owned, manager, force), `apply ${kind}/${metadata.name}`, stored === undefined);
  }

  async create(object: KubeObject): Promise<KubeObject> {
    const { kind, metadata } = object;
    this.#enter("create", kind, metadata.name);
    const id = idOf(refOf(object));
    if (this.#stored.has(id)) throw refusal(409, "AlreadyExists", `${kind} "${metadata.name}" already exists`);
    const fresh = this.#fresh(object);
    return this.#put(id, fresh, merge(fresh.object, structuredClone(object), fresh.owned, "create", true), `create ${kind}/${metadata.name}`, true);
  }

  async patch(ref: Ref, body: Record<string, unknown>): Promise<KubeObject> {
    this.#enter("patch", ref.kind, ref.name);
    const stored = this.#stored.get(idOf(ref));
    if (!stored) throw refusal(404, "NotFound", `${ref.kind} "${ref.name}" not found`);
    const expected = isRecord(body["metadata"]) ? body["metadata"]["resourceVersion"] : undefined;
    if (expected !== undefined && expected !== stored.object.metadata.resourceVersion) throw refusal(409, "Conflict", "the object has been modified");
    return this.#put(idOf(ref), stored, mergePatch(structuredClone(stored.object), body) as KubeObject, `patch ${ref.kind}/${ref.name}`);
  }

  async delete(ref: Ref, options: { uid?: string } = {}): Promise<void> {
    this.#enter("delete", ref.kind, ref.name);
    const stored = this.#stored.get(idOf(ref));
    if (!stored) return;
    if (options.uid !== undefined && options.uid !== stored.object.metadata.uid) throw refusal(409, "Conflict", "the UID in the precondition does not match");
    this.writes.push(`delete ${ref.kind}/${ref.name}`);
    if ((stored.object.metadata.finalizers ?? []).length > 0) {
      stored.object.metadata.deletionTimestamp ??= new Date(this.now()).toISOString();
      stored.object.metadata.resourceVersion = String(++this.#version);
    } else this.#remove(idOf(ref));
  }

  async has(_: string, kind: string): Promise<boolean> {
    return !this.absent.has(kind);
  }

  // What tests do and look at; none of it counts as a call.

  all(kind: string): KubeObject[] {
    return [...this.#stored.values()].map(({ object }) => structuredClone(object)).filter((object) => object.kind === kind);
  }

  find(kind: string, name: string, namespace = "ci"): KubeObject | undefined {
    return this.all(kind).find(({ metadata }) => metadata.name === name && (metadata.namespace ?? namespace) === namespace);
  }

  /** As a user with kubectl would: merges the fields over what is there. */
  edit(kind: string, name: string, change: Record<string, unknown>, namespace = "ci"): void {
    const [id, stored] = [...this.#stored].find(([, { object }]) => object.kind === kind && object.metadata.name === name && (object.metadata.namespace ?? namespace) === namespace)!;
    this.#put(id, stored, mergePatch(structuredClone(stored.object), change) as KubeObject, undefined);
  }

  put(object: KubeObject): KubeObject {
    const id = idOf(refOf(object));
    const stored = this.#stored.get(id) ?? this.#fresh(object);
    return this.#put(id, stored, merge(stored.object, structuredClone(object), new Map(), "test", true), undefined, !this.#stored.has(id));
  }

  /** Deletes as a user does: objects with finalizers stay, marked. */
  async remove(kind: string, name: string, namespace = "ci"): Promise<void> {
    const object = this.find(kind, name, namespace)!;
    await this.delete(refOf(object));
    this.writes.pop();
    this.calls.pop();
  }

  /** Calls and writes since the last look. */
  take(): { calls: string[]; writes: string[] } {
    return { calls: this.calls.splice(0), writes: this.writes.splice(0) };
  }

  #enter(verb: Verb, kind: string, name: string): void {
    this.calls.push(`${verb} ${kind}/${name}`);
    const found = this.faults.find((one) => one.verb === verb && one.kind === kind && (one.name ?? name) === name && (one.times ?? 1) > 0);
    if (!found) return;
    if (found.times !== undefined) found.times--;
    throw found.error;
  }

  #fresh({ apiVersion, kind, metadata }: KubeObject): Stored {
    const born = { creationTimestamp: new Date(this.now()).toISOString().replace(/\.\d+Z$/, "Z"), uid: `uid-${++this.#uid}`, generation: 1 };
    const { name, namespace } = metadata;
    return {
      object: { apiVersion, kind, metadata: { name, ...(namespace === undefined ? {} : { namespace }), ...born }, ...structuredClone(DEFAULTS[kind] ?? {}) },
      owned: new Map(),
    };
  }

  #put(id: string, stored: Stored, next: KubeObject, write: string | undefined, isNew = false): KubeObject {
    if (!isNew && canonical(next) === canonical(stored.object)) return structuredClone(stored.object);
    if (!isNew && canonical(next["spec"]) !== canonical(stored.object["spec"])) next.metadata.generation = (next.metadata.generation ?? 1) + 1;
    next.metadata.resourceVersion = String(++this.#version);
    stored.object = next;
    this.#stored.set(id, stored);
    if (write !== undefined) this.writes.push(write);
    if (next.metadata.deletionTimestamp !== undefined && (next.metadata.finalizers ?? []).length === 0) this.#remove(id);
    return structuredClone(next);
  }

  #remove(id: string): void {
    const uid = this.#stored.get(id)?.object.metadata.uid;
    this.#stored.delete(id);
    for (const [other, { object }] of this.#stored) {
      const owners = object.metadata.ownerReferences ?? [];
      if (!owners.some((owner) => owner.uid === uid)) continue;
      object.metadata.ownerReferences = owners.filter((owner) => owner.uid !== uid);
      if (object.metadata.ownerReferences.length === 0) this.#remove(other);
    }
  }
}

/** An answer of the API server that is no success. */
export function refusal(status: number, reason: string, message: string): KubeError {
  return new KubeError({ status, reason, message, permanent: status === 422 });
}

function idOf({ kind, namespace, name }: Ref): string {
  return `${kind}/${namespace ?? ""}/${name}`;
}

function mergePatch(target: unknown, patch: unknown): unknown {
  if (!isRecord(patch)) return patch;
  const result: Record<string, unknown> = isRecord(target) ? { ...target } : {};
  for (const [field, value] of Object.entries(patch)) {
    if (value === null) delete result[field];
    else result[field] = mergePatch(result[field], value);
  }
  return result;
}
