import { KubeError, kubeErrors } from "./kube-error.ts";
import type { ObjectType, Ref } from "./object.ts";

interface Resource {
  readonly plural: string;
  readonly namespaced: boolean;
}

/** The kinds of one API group version; undefined where the cluster doesn't serve it. */
type Kinds = ReadonlyMap<string, Resource> | undefined;

interface Known {
  readonly kinds: Promise<Kinds>;
  readonly until: number;
}

/** CRDs come and go while the operator runs. */
const REFRESH_MS = 5 * 60_000;
/** The same for a group that is missing, and after a failure. */
const AGAIN_MS = 30_000;

/** Where kinds are found in the API. What is known is asked for again every five minutes. */
export class Discovery {
  readonly #fetch: (path: string) => Promise<unknown>;
  readonly #known = new Map<string, Known>();

  /** @param fetch GET of a path; throws a KubeError */
  constructor(fetch: (path: string) => Promise<unknown>) {
    this.#fetch = fetch;
  }

  async has({ apiVersion, kind }: ObjectType): Promise<boolean> {
    return (await this.#kinds(apiVersion))?.has(kind) ?? false;
  }

  /** The path of a kind's collection, or of the one object that is named. @throws KubeError `UnknownKind` */
  async path(type: ObjectType & Partial<Ref>): Promise<string> {
    const { apiVersion, kind, namespace, name } = type;
    const resource = (await this.#kinds(apiVersion))?.get(kind);
    if (resource === undefined) throw kubeErrors.unknownKind(`This cluster has no ${kind} of ${apiVersion}. Its CRD may be missing.`);
    const within = resource.namespaced && namespace !== undefined ? `/namespaces/${encodeURIComponent(namespace)}` : "";
    return `${root(apiVersion)}${within}/${resource.plural}${name === undefined ? "" : `/${encodeURIComponent(name)}`}`;
  }

  /** Asks anew next time: something was not where it should have been. */
  forget(apiVersion: string): void {
    this.#known.delete(apiVersion);
  }

  #kinds(apiVersion: string): Promise<Kinds> {
    const known = this.#known.get(apiVersion);
    if (known !== undefined && known.until > performance.now()) return known.kinds;
    const fresh = this.#ask(apiVersion);
    this.#known.set(apiVersion, { kinds: fresh, until: performance.now() + REFRESH_MS });
    fresh.then(
      (kinds) => kinds === undefined && this.#known.set(apiVersion, { kinds: fresh, until: performance.now() + AGAIN_MS }),
      // While the API server is away, what was known before is better than nothing.
      () => (known === undefined ? this.#known.delete(apiVersion) : this.#known.set(apiVersion, { kinds: known.kinds, until: performance.now() + AGAIN_MS })),
    );
    return known === undefined ? fresh : fresh.catch(() => known.kinds);
  }

  async #ask(apiVersion: string): Promise<Kinds> {
    try {
      const list = (await this.#fetch(root(apiVersion))) as { resources?: { name: string; kind: string; namespaced: boolean }[] };
      // "deployments/status" is a part of a resource, not one of its own.
      const whole = (list.resources ?? []).filter(({ name }) => !name.includes("/"));
      return new Map(whole.map(({ name, kind, namespaced }) => [kind, { plural: name, namespaced }]));
    } catch (error) {
      if (error instanceof KubeError && error.status === 404) return undefined;
      throw error;
    }
  }
}

function root(apiVersion: string): string {
  return apiVersion.includes("/") ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
}
