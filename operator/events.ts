import { randomBytes } from "node:crypto";
import { LRUCache } from "lru-cache";
import type { Events as EventsInterface, Log } from "./context.ts";
import type { Kube } from "./kube.ts";
import { microTime } from "./lease.ts";
import { GROUP, MANAGER, type KubeObject, type Metadata } from "./object.ts";

/** Objects whose events are remembered. */
const OBJECTS = 1_000;
/** Events an object may have at once, and the time after which it may have one more, ms. */
const BURST = 20;
const EVERY = 60_000;
/** The same said twice within this time is said once, ms. */
const SAME = 60_000;
/** Events that wait for the API server; beyond it they are dropped. */
const WAITING = 100;
const LONGEST_NOTE = 1_000;

interface Told {
  allowed: number;
  at: number;
  /** When each was said last. */
  readonly last: LRUCache<string, number>;
}

type About = { apiVersion: string; kind: string; metadata: Metadata };

/** Tells users what happened, as events.k8s.io/v1 has it. Losing an event is no failure, flooding the cluster with them is. */
export class Events implements EventsInterface {
  readonly #kube: Pick<Kube, "create">;
  readonly #identity: string;
  readonly #log: Log;
  readonly #onDrop: () => void;
  readonly #told = new LRUCache<string, Told>({ max: OBJECTS });
  #waiting = 0;
  #last: Promise<unknown> = Promise.resolve();

  constructor(parts: { kube: Pick<Kube, "create">; identity: string; log: Log; onDrop: () => void }) {
    this.#kube = parts.kube;
    this.#identity = parts.identity;
    this.#log = parts.log;
    this.#onDrop = parts.onDrop;
  }

  record(about: About, kind: "Normal" | "Warning", reason: string, note: string): void {
    if (!this.#mayTell(about, `${reason}: ${note}`) || this.#waiting >= WAITING) return this.#onDrop();
    this.#waiting++;
    this.#last = this.#last
      .then(() => this.#kube.create(this.#event(about, kind, reason, note)))
      .catch((error: unknown) => this.#log.warn("an event was not taken", { reason, error: (error as Error).message }))
      .finally(() => this.#waiting--);
  }

  #mayTell({ metadata }: About, text: string): boolean {
    const now = performance.now();
    const id = metadata.uid ?? `${metadata.namespace}/${metadata.name}`;
    const told = this.#told.get(id) ?? { allowed: BURST, at: now, last: new LRUCache<string, number>({ max: BURST }) };
    this.#told.set(id, told);
    const before = told.last.get(text);
    if (before !== undefined && now - before < SAME) return false;
    told.allowed = Math.min(BURST, told.allowed + (now - told.at) / EVERY);
    told.at = now;
    if (told.allowed < 1) return false;
    told.allowed -= 1;
    told.last.set(text, now);
    return true;
  }

  #event({ apiVersion, kind: regardingKind, metadata }: About, type: "Normal" | "Warning", reason: string, note: string): KubeObject {
    const { namespace, name, uid, resourceVersion } = metadata;
    return {
      apiVersion: "events.k8s.io/v1",
      kind: "Event",
      // Names end at 253 characters.
      metadata: { name: `${name.slice(0, 230)}.${randomBytes(8).toString("hex")}`, namespace: namespace ?? "default" },
      eventTime: microTime(),
      reportingController: `${GROUP}/${MANAGER}`,
      reportingInstance: this.#identity.slice(0, 128),
      action: "Reconcile",
      type,
      reason,
      note: note.length > LONGEST_NOTE ? `${note.slice(0, LONGEST_NOTE - 1)}…` : note,
      regarding: { apiVersion, kind: regardingKind, namespace, name, uid, resourceVersion },
    };
  }
}
