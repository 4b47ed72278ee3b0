import { Discovery } from "./discovery.ts";
import { KubeError, kubeErrors } from "./kube-error.ts";
import { MANAGER, refOf, type KubeObject, type ObjectType, type Ref } from "./object.ts";
import { readLines } from "./lines.ts";
import { exchange, openStream, type Call, type Connect } from "./transport.ts";

export interface KubeOptions {
  readonly connect: Connect;
  /** Told of every request; code 0 where there was no answer. */
  readonly onRequest?: (verb: string, kind: string, code: number) => void;
  /** For each request, ms. */
  readonly timeout?: number;
}

/** What a list holds: everything of a kind, or one namespace's, or what has these labels (a label selector). */
export interface Within {
  readonly namespace?: string | undefined;
  readonly labels?: string | undefined;
  /** Leaves spec and status with the API server: `metadata` is all that comes. */
  readonly metadataOnly?: boolean;
}

export interface Listed {
  readonly items: KubeObject[];
  /** Where a watch goes on from. */
  readonly resourceVersion: string;
}

export interface WatchEvent {
  readonly type: "ADDED" | "MODIFIED" | "DELETED" | "BOOKMARK";
  readonly object: KubeObject;
}

const TIMEOUT_MS = 30_000;
const PAGE = 500;
const METADATA = "application/json;g=meta.k8s.io;v=v1;as=";
const APPLY = "application/apply-patch+yaml";
const MERGE = "application/merge-patch+json";

/**
 * A thin client of the API server. It knows no kind: objects travel as they are, so no field is lost on the way. All its
 * methods throw KubeError and nothing else.
 */
export class Kube {
  readonly #options: KubeOptions;
  readonly #discovery: Discovery;
  /** Once aborted, nothing is written any more. */
  readonly #writing: AbortSignal | undefined;

  constructor(options: KubeOptions, shared: { discovery?: Discovery; writing?: AbortSignal } = {}) {
    this.#options = options;
    this.#discovery = shared.discovery ?? new Discovery(async (path) => this.#json("discover", "APIResourceList", { method: "GET", path }));
    this.#writing = shared.writing;
  }

  /** The same client, whose writes end and are refused (`NotLeading`) as soon as the signal is aborted. */
  writingUntil(signal: AbortSignal): Kube {
    return new Kube(this.#options, { discovery: this.#discovery, writing: signal });
  }

  /** Whether the cluster serves this kind; known for five minutes. */
  has(apiVersion: string, kind: string): Promise<boolean> {
    return this.#discovery.has({ apiVersion, kind });
  }

  /** Undefined if there is no such object, or no such kind. */
  async get(ref: Ref): Promise<KubeObject | undefined> {
    try {
      return await this.#object("get", ref, { method: "GET", path: await this.#discovery.path(ref) });
    } catch (error) {
      if (error instanceof KubeError && error.status === 404) return undefined;
      throw error;
    }
  }

  async list(type: ObjectType, within: Within = {}): Promise<KubeObject[]> {
    return (await this.listed(type, within)).items;
  }

  /** All objects, asked for in pages. */
  async listed(type: ObjectType, within: Within = {}): Promise<Listed> {
    try {
      return await this.#pages(type, within);
    } catch (error) {
      // The snapshot behind the pages has been compacted away: once more from the start.
      if (error instanceof KubeError && error.status === 410) return this.#pages(type, within);
      throw error;
    }
  }

  /**
   * Server-side apply as our field manager, taking over what others own. An unchanged resourceVersion in the reply says that
   * nothing was to be changed.
   */
  async apply(object: KubeObject, options: { force?: boolean; subresource?: "status" } = {}): Promise<KubeObject> {
    const { force = true, subresource } = options;
    const query = new URLSearchParams({ fieldManager: subresource === undefined ? MANAGER : `${MANAGER}-${subresource}`, force: String(force) });
    const path = `${await this.#discovery.path(refOf(object))}${subresource === undefined ? "" : `/${subresource}`}`;
    try {
      return await this.#write("apply", object, { method: "PATCH", path: `${path}?${query.toString()}`, contentType: APPLY, body: object });
    } catch (error) {
      if (error instanceof KubeError && error.status === 404) this.#discovery.forget(object.apiVersion);
      throw error;
    }
  }

  async create(object: KubeObject): Promise<KubeObject> {
    const { name: _, ...collection } = refOf(object);
    return this.#write("create", object, { method: "POST", path: `${await this.#discovery.path(collection)}?fieldManager=${MANAGER}`, body: object });
  }

  /** Writes the whole object; 409 if its resourceVersion is no longer the latest. */
  async replace(object: KubeObject): Promise<KubeObject> {
    return this.#write("replace", object, { method: "PUT", path: `${await this.#discovery.path(refOf(object))}?fieldManager=${MANAGER}`, body: object });
  }

  /** JSON merge patch; with metadata.resourceVersion in it, 409 when somebody was faster. */
  async patch(ref: Ref, body: Record<string, unknown>): Promise<KubeObject> {
    return this.#write("patch", ref, { method: "PATCH", path: `${await this.#discovery.path(ref)}?fieldManager=${MANAGER}`, contentType: MERGE, body });
  }

  /** What isn't there is fine. @param options `uid`: only this very object, not one that has its name since */
  async delete(ref: Ref, options: { uid?: string; propagation?: "Background" | "Foreground" | "Orphan" } = {}): Promise<void> {
    const { uid, propagation = "Background" } = options;
    const body = { propagationPolicy: propagation, ...(uid === undefined ? {} : { preconditions: { uid } }) };
    try {
      await this.#write("delete", ref, { method: "DELETE", path: await this.#discovery.path(ref), body });
    } catch (error) {
      if (error instanceof KubeError && error.status === 404) return;
      throw error;
    }
  }

  /**
   * What happens after a resourceVersion, until the API server ends it.
   * @param seconds when it should end it
   * @param quiet the connection is given up when nothing came for so long, ms
   * @throws KubeError also for the stream's own errors; 410 when the resourceVersion is too old
   */
  async *watch(type: ObjectType, within: Within, how: { resourceVersion: string; seconds: number; quiet: number; signal: AbortSignal }): AsyncGenerator<WatchEvent> {
    const { resourceVersion, seconds, quiet, signal } = how;
    const query = selection(within, { watch: "true", allowWatchBookmarks: "true", resourceVersion, timeoutSeconds: String(seconds) });
    const call = { method: "GET", path: `${await this.#collection(type, within)}?${query.toString()}`, ...accept(within, "PartialObjectMetadata"), timeout: this.#timeout, signal };
    const response = await this.#counted("watch", type.kind, () => openStream(this.#options.connect, call), (opened) => opened.statusCode ?? 0);
    if (response.statusCode !== 200) {
      let text = "";
      for await (const line of readLines(response, quiet)) text += line;
      throw kubeErrors.answer(response.statusCode ?? 0, text, response.headers["retry-after"]);
    }
    for await (const line of readLines(response, quiet)) {
      const event = parse(line) as WatchEvent | { type: "ERROR"; object: unknown };
      if (event.type === "ERROR") throw kubeErrors.event(event.object);
      yield { type: event.type, object: typed(event.object, type) };
    }
  }

  get #timeout(): number {
    return this.#options.timeout ?? TIMEOUT_MS;
  }

  #collection(type: ObjectType, { namespace }: Within): Promise<string> {
    return this.#discovery.path({ apiVersion: type.apiVersion, kind: type.kind, ...(namespace === undefined ? {} : { namespace }) });
  }

  async #pages(type: ObjectType, within: Within): Promise<Listed> {
    const path = await this.#collection(type, within);
    const items: KubeObject[] = [];
    let token: string | undefined;
    for (;;) {
      const query = selection(within, { limit: String(PAGE), ...(token === undefined ? {} : { continue: token }) });
      const page = (await this.#json("list", type.kind, { method: "GET", path: `${path}?${query.toString()}`, ...accept(within, "PartialObjectMetadataList") })) as {
        items?: KubeObject[];
        metadata?: { continue?: string; resourceVersion?: string };
      };
      for (const item of page.items ?? []) items.push(typed(item, type));
      token = page.metadata?.continue;
      if (!token) return { items, resourceVersion: page.metadata?.resourceVersion ?? "" };
    }
  }

  async #write(verb: string, what: ObjectType, call: Omit<Call, "timeout" | "signal">): Promise<KubeObject> {
    if (this.#writing?.aborted) throw kubeErrors.notLeading(`This operator no longer leads: it left ${call.method} ${call.path.split("?")[0]} to the one that does.`);
    return this.#object(verb, what, { ...call, signal: this.#writing });
  }

  async #object(verb: string, { kind }: ObjectType, call: Omit<Call, "timeout">): Promise<KubeObject> {
    return (await this.#json(verb, kind, call)) as KubeObject;
  }

  async #json(verb: string, kind: string, call: Omit<Call, "timeout">): Promise<unknown> {
    const answer = await this.#counted(verb, kind, () => exchange(this.#options.connect, { ...call, timeout: this.#timeout }), ({ status }) => status);
    if (answer.status < 200 || answer.status > 299) throw kubeErrors.answer(answer.status, answer.text, answer.retryAfter);
    return parse(answer.text);
  }

  async #counted<T>(verb: string, kind: string, run: () => Promise<T>, code: (answer: T) => number): Promise<T> {
    try {
      const answer = await run();
      this.#options.onRequest?.(verb, kind, code(answer));
      return answer;
    } catch (error) {
      this.#options.onRequest?.(verb, kind, 0);
      throw error instanceof KubeError ? error : kubeErrors.unreachable(`The API server can't be asked: ${(error as Error).message}`, error);
    }
  }
}

function selection({ labels }: Within, query: Record<string, string>): URLSearchParams {
  return new URLSearchParams({ ...query, ...(labels === undefined ? {} : { labelSelector: labels }) });
}

function accept({ metadataOnly }: Within, as: string): { accept?: string } {
  return metadataOnly ? { accept: `${METADATA}${as}` } : {};
}

/** Objects of a list don't say what they are, and those whose metadata was asked for say something else. */
function typed(object: KubeObject, { apiVersion, kind }: ObjectType): KubeObject {
  return { ...object, apiVersion, kind };
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw kubeErrors.badAnswer(`The API server's answer is no JSON: ${text.slice(0, 100)}`, error);
  }
}
