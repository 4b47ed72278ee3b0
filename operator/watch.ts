import { Backoff, sleep } from "./backoff.ts";
import type { Kube, Listed, WatchEvent, Within } from "./kube.ts";
import { isGone, kubeErrors, KubeError } from "./kube-error.ts";
import type { KubeObject, ObjectType } from "./object.ts";

export type Change = "seen" | "removed";

export interface WatchOptions {
  readonly kube: Pick<Kube, "has" | "listed" | "watch">;
  readonly type: ObjectType;
  /** Empty: the whole cluster. */
  readonly namespaces: readonly string[];
  /** A label selector. */
  readonly labels?: string;
  /** Asks for metadata alone. */
  readonly metadataOnly?: boolean;
  /** The cluster may lack this kind: then there are no objects, until it has it. */
  readonly optional?: boolean;
  /** What of an object stays in memory. Default: all but its managedFields. */
  readonly keep?: (object: KubeObject) => KubeObject;
  /** Told of each object that is new or has changed, and of each that is gone. Must not throw, nor wait. */
  readonly onChange: (object: KubeObject, change: Change, before: KubeObject | undefined) => void;
  readonly onRestart?: () => void;
  /** A kind that the cluster lacked is there now. */
  readonly onAppear?: () => void;
  readonly log: { info(text: string, details?: object): void; warn(text: string, details?: object): void };
  readonly signal: AbortSignal;
  readonly times?: Partial<typeof TIMES>;
}

/** What has been seen of a kind. */
export interface Watched {
  /** Resolves when the first lists are complete; never rejects. */
  readonly synced: Promise<void>;
  readonly isSynced: boolean;
  get(namespace: string, name: string): KubeObject | undefined;
  list(): KubeObject[];
  /** When the API server last answered the one of its loops that waits the longest (performance.now()), ms. */
  readonly lastContact: number;
  /** Resolves when the signal has ended all of it. */
  readonly ended: Promise<void>;
}

export const TIMES = {
  /** The API server ends a watch after this and up to `spread` more, s. */
  watchSeconds: 300,
  spreadSeconds: 20,
  /** Bookmarks come every minute: a connection that is silent for so long is dead, ms. */
  quiet: 330_000,
  /** Whatever the watch said, everything is listed again so often, ms. */
  relist: 600_000,
  backoffLeast: 1_000,
  backoffMost: 30_000,
  /** How often a kind that the cluster lacks is looked for, ms. */
  absent: 60_000,
};

/** After so many failures in a row the resourceVersion itself is suspect, e.g. of a time before a restored backup. */
const FAILURES_BEFORE_RELIST = 3;
/** The longest a busy API server is left alone because it asks for it, ms. */
const MOST_ASKED = 60_000;
/** A watch that the API server ends sooner than this, saying nothing, has failed; else a proxy could make us spin. ms */
const SHORTEST_WATCH = 1_000;

/**
 * Follows the objects of one kind, for ever: no error ends it. Changes while it was blind are found by the list that follows,
 * removals among them.
 */
export function watch(options: WatchOptions): Watched {
  const scopes = options.namespaces.length === 0 ? [undefined] : options.namespaces;
  const loops = scopes.map((namespace) => new Loop(options, namespace));
  const ended = Promise.all(loops.map((loop) => loop.run())).then(() => {});
  const loopOf = (namespace: string) => (options.namespaces.length === 0 ? loops[0] : loops[options.namespaces.indexOf(namespace)]);
  return {
    synced: Promise.all(loops.map((loop) => loop.synced)).then(() => {}),
    get isSynced() {
      return loops.every((loop) => loop.isSynced);
    },
    get: (namespace, name) => loopOf(namespace)?.objects.get(`${namespace}/${name}`),
    list: () => loops.flatMap((loop) => [...loop.objects.values()]),
    get lastContact() {
      return Math.min(...loops.map((loop) => loop.lastContact));
    },
    ended,
  };
}

class Loop {
  readonly objects = new Map<string, KubeObject>();
  readonly synced: Promise<void>;
  isSynced = false;
  lastContact = performance.now();
  readonly #options: WatchOptions;
  readonly #within: Within;
  readonly #times: typeof TIMES;
  readonly #backoff: Backoff;
  #markSynced: () => void = () => {};
  /** Where the next watch goes on; undefined: list first. */
  #version: string | undefined;
  #relistAt = 0;
  #absent = false;

  constructor(options: WatchOptions, namespace: string | undefined) {
    this.#options = options;
    this.#within = { namespace, labels: options.labels, metadataOnly: options.metadataOnly ?? false };
    this.#times = { ...TIMES, ...options.times };
    this.#backoff = new Backoff(this.#times.backoffLeast, this.#times.backoffMost);
    this.synced = new Promise((resolve) => (this.#markSynced = resolve));
  }

  async run(): Promise<void> {
    const { signal } = this.#options;
    while (!signal.aborted) {
      try {
        if (await this.#isAbsent()) await sleep(this.#times.absent, signal);
        else await this.#once();
      } catch (error) {
        if (signal.aborted) break;
        await this.#recover(error);
      }
    }
    this.#markSynced();
  }

  /** A list where one is due, then a watch to its end. */
  async #once(): Promise<void> {
    const { kube, type, signal } = this.#options;
    if (this.#version === undefined || performance.now() >= this.#relistAt) {
      this.#take(await kube.listed(type, this.#within));
      // Spread, so that the lists of all kinds don't meet every time.
      this.#relistAt = performance.now() + this.#times.relist * (0.9 + Math.random() / 5);
    }
    const untilRelist = Math.ceil((this.#relistAt - performance.now()) / 1000);
    const seconds = Math.max(1, Math.min(untilRelist, Math.round(this.#times.watchSeconds + Math.random() * this.#times.spreadSeconds)));
    const started = performance.now();
    let events = 0;
    for await (const event of kube.watch(type, this.#within, { resourceVersion: this.#version!, seconds, quiet: this.#times.quiet, signal })) {
      events++;
      this.#contact();
      this.#backoff.reset();
      this.#handle(event);
    }
    this.#contact();
    if (events === 0 && performance.now() - started < Math.min(SHORTEST_WATCH, seconds * 500)) throw kubeErrors.badAnswer("The API server ended a watch at once.");
    this.#backoff.reset();
  }

  /** No error is the last: all of them are waited out. */
  async #recover(error: unknown): Promise<void> {
    const { type, log, signal, onRestart } = this.#options;
    onRestart?.();
    // Whoever answers 403 is there: starting anew would help nobody.
    if (error instanceof KubeError && error.status > 0) this.#contact();
    // Nothing is wrong but that we were away for long: the list needn't wait.
    const soon = isGone(error) && this.#backoff.failures === 0;
    const backoff = this.#backoff.next();
    const asked = error instanceof KubeError ? (error.retryAfter ?? 0) : 0;
    const wait = soon ? 0 : Math.max(backoff, Math.min(asked, MOST_ASKED));
    if (isGone(error) || this.#backoff.failures >= FAILURES_BEFORE_RELIST) this.#version = undefined;
    const told = { kind: type.kind, namespace: this.#within.namespace, error: (error as Error).message, again_ms: Math.round(wait) };
    // A dead API server is worth a line, not one for each try.
    if (this.#backoff.failures === 1 || this.#backoff.failures % 20 === 0) log.warn("watch broke off; it goes on", told);
    await sleep(wait, signal);
  }

  async #isAbsent(): Promise<boolean> {
    const { kube, type, optional, onAppear } = this.#options;
    const before = this.#absent;
    this.#absent = optional === true && !(await kube.has(type.apiVersion, type.kind));
    if (before && !this.#absent) onAppear?.();
    if (!this.#absent) return false;
    this.#take({ items: [], resourceVersion: "" });
    this.#version = undefined;
    this.#backoff.reset();
    return true;
  }

  #take(listed: Listed): void {
    const gone = new Map(this.objects);
    for (const object of listed.items) {
      gone.delete(keyOf(object));
      this.#seen(object);
    }
    for (const object of gone.values()) this.#removed(object);
    this.#version = listed.resourceVersion;
    this.#contact();
    this.isSynced = true;
    this.#markSynced();
  }

  #handle({ type, object }: WatchEvent): void {
    this.#version = object.metadata.resourceVersion ?? this.#version;
    if (type === "DELETED") this.#removed(object);
    else if (type !== "BOOKMARK") this.#seen(object);
  }

  #seen(object: KubeObject): void {
    const key = keyOf(object);
    let before = this.objects.get(key);
    if (before?.metadata.resourceVersion === object.metadata.resourceVersion) return;
    if (before !== undefined && before.metadata.uid !== object.metadata.uid) {
      // One was deleted and another took its name while nobody looked.
      this.#removed(before);
      before = undefined;
    }
    const kept = (this.#options.keep ?? withoutManagedFields)(object);
    this.objects.set(key, kept);
    this.#tell(kept, "seen", before);
  }

  #removed(object: KubeObject): void {
    const before = this.objects.get(keyOf(object));
    if (this.objects.delete(keyOf(object))) this.#tell(object, "removed", before);
  }

  #tell(object: KubeObject, change: Change, before: KubeObject | undefined): void {
    try {
      this.#options.onChange(object, change, before);
    } catch (error) {
      this.#options.log.warn("a change could not be handled", { kind: object.kind, name: object.metadata.name, error: String(error) });
    }
  }

  #contact(): void {
    this.lastContact = performance.now();
  }
}

const keyOf = ({ metadata }: KubeObject) => `${metadata.namespace ?? ""}/${metadata.name}`;

/** They are as large as the rest of the object, and nobody here reads them. */
function withoutManagedFields(object: KubeObject): KubeObject {
  const { managedFields: _, ...metadata } = object.metadata;
  return { ...object, metadata };
}
