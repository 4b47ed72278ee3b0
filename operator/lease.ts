import { sleep } from "./backoff.ts";
import { isConflict } from "./kube-error.ts";
import type { Kube } from "./kube.ts";
import type { KubeObject, Ref } from "./object.ts";

export const LEASE_TIMES = {
  /** Others take a lease that was not renewed for so long, ms. */
  duration: 15_000,
  /** Who could not renew for so long leads no longer, ms. Less than `duration`, so that never two lead. */
  renewDeadline: 10_000,
  /** From one renewal to the next; who waits looks twice as often, so that a released lease is taken within this time. ms */
  retry: 2_000,
};

export interface LeaseOptions {
  /** Its timeout must be well below `renewDeadline`. */
  readonly kube: Pick<Kube, "get" | "create" | "replace">;
  readonly namespace: string;
  readonly name: string;
  /** Of this process; another one never has the same. */
  readonly identity: string;
  /** This process leads, until the signal is aborted. */
  readonly onLead: (term: AbortSignal) => void;
  readonly log: { info(text: string, details?: object): void; warn(text: string, details?: object): void };
  readonly times?: typeof LEASE_TIMES;
}

interface Spec {
  holderIdentity?: string;
  leaseDurationSeconds?: number;
  acquireTime?: string;
  renewTime?: string;
  leaseTransitions?: number;
}

/**
 * Decides which of several operators works. Whether a lease has expired is judged by how long this process has seen it
 * unchanged, never by comparing clocks of two machines.
 */
export class Lease {
  readonly #options: LeaseOptions;
  readonly #times: typeof LEASE_TIMES;
  readonly #ref: Ref;
  /** As it was written last by us, which spares reading it before the next renewal. */
  #own: KubeObject | undefined;
  #observed = { version: "", at: 0 };
  #term: AbortController | undefined;
  #deadline: NodeJS.Timeout | undefined;
  #failing = false;
  /** When the lease could be read or written last (performance.now()), ms. */
  lastContact = performance.now();

  constructor(options: LeaseOptions) {
    this.#options = options;
    this.#times = options.times ?? LEASE_TIMES;
    this.#ref = { apiVersion: "coordination.k8s.io/v1", kind: "Lease", namespace: options.namespace, name: options.name };
  }

  get leading(): boolean {
    return this.#term !== undefined;
  }

  /** Seeks and holds the lease until the signal is aborted, then gives it back. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.#attempt();
      await sleep(this.leading ? this.#times.retry : this.#times.retry / 2, signal);
    }
    await this.#release();
  }

  async #attempt(): Promise<void> {
    const { log } = this.#options;
    try {
      await (this.#own !== undefined && this.leading ? this.#renew(this.#own) : this.#seek());
      this.lastContact = performance.now();
      this.#failing = false;
    } catch (error) {
      // Somebody else was faster, or has changed it: the next attempt reads it.
      this.#own = undefined;
      if (isConflict(error)) return;
      if (!this.#failing) log.warn("the lease could not be read or renewed", { lease: this.#options.name, error: (error as Error).message });
      this.#failing = true;
    }
  }

  async #seek(): Promise<void> {
    const { kube, identity } = this.#options;
    const lease = await kube.get(this.#ref);
    if (lease === undefined) return this.#hold(() => kube.create({ ...this.#ref, metadata: { namespace: this.#ref.namespace!, name: this.#ref.name }, spec: this.#spec({}) } as KubeObject));
    const now = performance.now();
    const version = lease.metadata.resourceVersion ?? "";
    if (version !== this.#observed.version) this.#observed = { version, at: now };
    const spec = (lease["spec"] ?? {}) as Spec;
    const held = (spec.holderIdentity ?? "") !== "";
    const fresh = now - this.#observed.at < (spec.leaseDurationSeconds ?? 0) * 1000;
    if (spec.holderIdentity === identity) return this.#renew(lease);
    if (held && fresh) return this.#lose(`${spec.holderIdentity} holds the lease`);
    return this.#hold(() => kube.replace({ ...lease, spec: this.#spec(spec) }));
  }

  async #renew(lease: KubeObject): Promise<void> {
    return this.#hold(() => this.#options.kube.replace({ ...lease, spec: { ...(lease["spec"] as Spec), renewTime: microTime() } }));
  }

  #spec({ leaseTransitions = 0 }: Spec): Spec {
    const now = microTime();
    const seconds = Math.max(1, Math.ceil(this.#times.duration / 1000));
    return { holderIdentity: this.#options.identity, leaseDurationSeconds: seconds, acquireTime: now, renewTime: now, leaseTransitions: leaseTransitions + 1 };
  }

  async #hold(write: () => Promise<KubeObject>): Promise<void> {
    // Counted from before it was sent: others count from when it arrived.
    const since = performance.now();
    this.#own = await write();
    const left = this.#times.renewDeadline - (performance.now() - since);
    if (left <= 0) return this.#lose("it was renewed too late");
    clearTimeout(this.#deadline);
    this.#deadline = setTimeout(() => this.#lose("it could not be renewed in time"), left);
    if (this.#term !== undefined) return;
    this.#term = new AbortController();
    this.#options.log.info("this operator leads", { lease: this.#options.name, identity: this.#options.identity });
    this.#options.onLead(this.#term.signal);
  }

  #lose(reason: string): void {
    clearTimeout(this.#deadline);
    if (this.#term === undefined) return;
    this.#options.log.warn("this operator leads no longer", { reason });
    this.#end();
  }

  #end(): void {
    const term = this.#term;
    this.#term = undefined;
    term?.abort();
  }

  /** Without waiting for anybody: the next one may start at once. */
  async #release(): Promise<void> {
    const { kube, log } = this.#options;
    clearTimeout(this.#deadline);
    const held = this.leading;
    this.#end();
    if (!held) return;
    try {
      const lease = this.#own ?? (await kube.get(this.#ref));
      const { holderIdentity, ...spec } = (lease?.["spec"] ?? {}) as Spec;
      if (lease === undefined || holderIdentity !== this.#options.identity) return;
      await kube.replace({ ...lease, spec: { ...spec, leaseDurationSeconds: 1, renewTime: microTime() } });
      log.info("the lease was released", { lease: this.#options.name });
    } catch (error) {
      log.warn("the lease could not be released; it expires", { error: (error as Error).message });
    }
  }
}

/** As `metav1.MicroTime` wants it: the API server refuses milliseconds. */
export function microTime(date = new Date()): string {
  return date.toISOString().replace("Z", "000Z");
}
