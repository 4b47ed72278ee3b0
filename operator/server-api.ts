import type { Send } from "./http.ts";

/** An API key as the server shows it to administrators. Times in ISO 8601. */
export interface KeyInfo {
  readonly id: string;
  readonly name: string;
  readonly permission: "read" | "write" | "admin";
  readonly caches: readonly string[];
  readonly scope: string | null;
  readonly created: string | null;
  readonly expires: string | null;
  readonly revoked: string | null;
}

export interface KeyRequest {
  readonly name: string;
  readonly permission: "read" | "write";
  readonly caches: readonly string[];
  readonly scope?: string;
  readonly reads?: readonly string[];
  readonly expires?: string;
}

/** Totals of all caches of a server. */
export interface Usage {
  readonly bytes: number;
  readonly entries: number;
  /** 0 to 1, over the last day; undefined when nothing was asked for. */
  readonly hitRate: number | undefined;
}

/** Why a server did not do what was asked. `status` 0: it gave no answer at all. */
export class ServerError extends Error {
  readonly status: number;
  /** The server's own code, like STOW_NOT_FOUND; undefined when something else answered. */
  readonly code: string | undefined;

  constructor(status: number, message: string, options: ErrorOptions & { code?: string | undefined } = {}) {
    super(message, options);
    this.name = "ServerError";
    this.status = status;
    this.code = options.code;
  }

  /** The same request can't do better the next time: the server has understood and refused it. */
  get refused(): boolean {
    return this.code !== undefined && [400, 404, 409, 413].includes(this.status);
  }
}

export interface ServerAddress {
  /** Origin of its HTTP listener. */
  readonly url: string;
  /** Admin keys, tried in this order: while a rotation reaches the pods, the older one is still the right one. */
  readonly adminKeys: readonly string[];
  /** PEM; only with https. */
  readonly trusted?: string;
}

const PAGE = 500;
/** A server with more keys than this is beyond what one operator looks after. */
const MAX_PAGES = 100;
const TIMEOUT_MS = 5_000;

/** The admin API of one server. All methods reject with ServerError. */
export class ServerApi {
  readonly #address: ServerAddress;
  readonly #send: Send;
  readonly #timeout: number;

  /** @param timeout of each request, ms */
  constructor(address: ServerAddress, send: Send, timeout = TIMEOUT_MS) {
    this.#address = address;
    this.#send = send;
    this.#timeout = timeout;
  }

  /** Makes a key; its text is in this answer only. */
  async createKey(request: KeyRequest): Promise<{ key: string; info: KeyInfo }> {
    return (await this.#ask("POST", "/keys", request)) as { key: string; info: KeyInfo };
  }

  /** Undefined for a key the server doesn't know. */
  async key(id: string): Promise<KeyInfo | undefined> {
    return absent(this.#ask("GET", `/keys/${encodeURIComponent(id)}`)) as Promise<KeyInfo | undefined>;
  }

  /** Ends a key at once. One that is ended or unknown is fine. */
  async revokeKey(id: string): Promise<void> {
    await absent(this.#ask("DELETE", `/keys/${encodeURIComponent(id)}`));
  }

  /** Keys made at or after a time (ms) that are not revoked and whose name begins with this. */
  async findKeys(prefix: string, since: number): Promise<KeyInfo[]> {
    const found: KeyInfo[] = [];
    let after = idBefore(since);
    for (let page = 0; page < MAX_PAGES; page++) {
      const { keys, next } = (await this.#ask("GET", `/keys?limit=${PAGE}&after=${after}`)) as { keys: KeyInfo[]; next: string | null };
      for (const key of keys) if (key.revoked === null && key.name.startsWith(prefix)) found.push(key);
      if (next === null) return found;
      after = next;
    }
    throw new ServerError(507, `The server has more than ${PAGE * MAX_PAGES} API keys; remove old ones.`);
  }

  /** Names of all caches that can be used. */
  async caches(): Promise<string[]> {
    const { caches } = (await this.#ask("GET", "/caches")) as { caches: { name: string; state: string }[] };
    return caches.filter(({ state }) => state === "ready").map(({ name }) => name);
  }

  async usage(): Promise<Usage> {
    const { caches } = (await this.#ask("GET", "/stats?days=1")) as { caches: { bytes: number; entries: number; hits: number; misses: number }[] };
    const sum = (field: "bytes" | "entries" | "hits" | "misses") => caches.reduce((total, cache) => total + cache[field], 0);
    const asked = sum("hits") + sum("misses");
    return { bytes: sum("bytes"), entries: sum("entries"), hitRate: asked === 0 ? undefined : sum("hits") / asked };
  }

  async #ask(method: string, path: string, body?: unknown): Promise<unknown> {
    const { adminKeys } = this.#address;
    for (const [index, key] of adminKeys.entries()) {
      const answer = await this.#exchange(method, path, key, body);
      if (answer.status === 401 && index < adminKeys.length - 1) continue;
      return readAnswer(answer.status, answer.text);
    }
    throw new ServerError(401, "There is no admin key for this server.");
  }

  async #exchange(method: string, path: string, key: string, body: unknown): Promise<{ status: number; text: string }> {
    const { url, trusted } = this.#address;
    try {
      return await this.#send({
        method,
        url: `${url}/v1/admin${path}`,
        headers: { authorization: `Bearer ${key}`, ...(body === undefined ? {} : { "content-type": "application/json" }) },
        timeout: this.#timeout,
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        ...(trusted === undefined ? {} : { trusted }),
      });
    } catch (error) {
      throw new ServerError(0, `No answer from ${url}: ${reasonOf(error)}.`, { cause: error });
    }
  }
}

function readAnswer(status: number, text: string): unknown {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // Not the server, but something between it and us.
    throw new ServerError(502, `The answer (${status}) is not one of a Stowhouse server.`);
  }
  if (status < 300 && typeof value === "object" && value !== null) return value;
  const { code, message } = (value as { error?: { code?: string; message?: string } } | null)?.error ?? {};
  throw new ServerError(status < 400 ? 502 : status, message ?? `The server answered ${status}.`, { code });
}

async function absent<T>(asked: Promise<T>): Promise<T | undefined> {
  try {
    return await asked;
  } catch (error) {
    if (error instanceof ServerError && error.code === "STOW_NOT_FOUND") return undefined;
    throw error;
  }
}

function reasonOf(error: unknown): string {
  const { name, code, message } = error as { name?: string; code?: string; message?: string };
  return name === "AbortError" || name === "TimeoutError" ? "it took too long" : (code ?? message ?? String(error));
}

/** The servers' ids of keys begin with the millisecond in nine digits of base 36, so they sort by time of creation. */
function idBefore(ms: number): string {
  return Math.max(0, Math.floor(ms) - 1).toString(36).padStart(9, "0");
}
