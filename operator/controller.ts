import type { Log, Outcome } from "./context.ts";
import { isConflict, KubeError } from "./kube-error.ts";
import type { Metrics } from "./metrics.ts";
import type { Key } from "./object.ts";
import { Queue } from "./queue.ts";

/** What would be seen by no event is found after this at the latest, ms. */
const RESYNC_MS = 10 * 60_000;
/** A request that will fail again needn't be sent soon, ms. */
const PERMANENT_MS = 5 * 60_000;

export interface ControllerOptions {
  readonly name: string;
  readonly reconcile: (key: Key) => Promise<Outcome>;
  /** Whether there is such a resource: then it is looked at again even if the reconciler doesn't ask for it. */
  readonly exists: (key: Key) => boolean;
  readonly metrics: Pick<Metrics, "reconciled">;
  readonly log: Log;
  /** Once aborted, failures are no news: everything was interrupted. */
  readonly term: AbortSignal;
  readonly concurrency?: number;
}

/** Reconciles resources of one kind, one after the other those of a name. */
export class Controller {
  readonly name: string;
  readonly #options: ControllerOptions;
  readonly #queue: Queue;

  constructor(options: ControllerOptions) {
    this.name = options.name;
    this.#options = options;
    this.#queue = new Queue({
      work: (key) => this.#work(key),
      onError: (key, error, failures) => this.#failed(key, error, failures),
      ...(options.concurrency === undefined ? {} : { concurrency: options.concurrency }),
    });
  }

  get depth(): number {
    return this.#queue.depth;
  }

  add({ namespace, name }: Key): void {
    this.#queue.add(`${namespace}/${name}`);
  }

  /** Resolves when what runs has ended. */
  stop(): Promise<void> {
    return this.#queue.stop();
  }

  async #work(id: string): Promise<Outcome> {
    const { reconcile, exists, metrics, term } = this.#options;
    const key = parse(id);
    const started = performance.now();
    const seconds = () => (performance.now() - started) / 1000;
    try {
      const { after } = await reconcile(key);
      metrics.reconciled(this.name, "success", seconds());
      if (!exists(key)) return {};
      return { after: Math.min(after ?? Infinity, RESYNC_MS * (0.9 + Math.random() / 5)) };
    } catch (error) {
      if (!term.aborted) metrics.reconciled(this.name, isConflict(error) ? "conflict" : "error", seconds());
      throw error;
    }
  }

  #failed(id: string, error: unknown, failures: number): number | undefined {
    const { log, term } = this.#options;
    if (term.aborted) return undefined;
    const told = { controller: this.name, resource: id, failures, error: (error as Error).message };
    if (isConflict(error)) log.info("somebody else was faster; it is tried again", told);
    // An error that isn't the API server's is a bug, and its stack says where.
    else if (error instanceof KubeError) log.warn("reconciling failed; it is tried again", { ...told, reason: error.reason });
    else log.error("reconciling failed; it is tried again", { ...told, stack: (error as Error).stack });
    if (!(error instanceof KubeError)) return undefined;
    return error.permanent ? PERMANENT_MS : error.retryAfter;
  }
}

function parse(id: string): Key {
  const slash = id.indexOf("/");
  return { namespace: id.slice(0, slash), name: id.slice(slash + 1) };
}
