import type { Call, Send } from "../http.ts";
import type { KeyInfo } from "../server-api.ts";

/** A server of ours as its admin API looks from outside: keys, caches, statistics. */
export class FakeServer {
  readonly keys = new Map<string, KeyInfo & { readonly key: string }>();
  caches = ["default"];
  stats = { bytes: 3 * 2 ** 30, entries: 1200, hits: 87, misses: 13 };
  /** Admin keys it takes; undefined: any. */
  adminKeys: readonly string[] | undefined;
  /** Nobody answers. */
  away = false;
  /** "METHOD /path" of each request that was answered. */
  readonly requests: string[] = [];
  /** Runs after a request took effect; what it throws is a lost answer. */
  after: ((request: string) => void) | undefined;
  readonly #now: () => number;
  #count = 0;

  constructor(now: () => number) {
    this.#now = now;
  }

  /** Those that work now. */
  get alive(): (KeyInfo & { readonly key: string })[] {
    return [...this.keys.values()].filter(({ revoked, expires }) => revoked === null && (expires === null || Date.parse(expires) > this.#now()));
  }

  works(token: string): boolean {
    return this.alive.some(({ key }) => key === token);
  }

  readonly send: Send = async (call) => {
    if (this.away) throw Object.assign(new Error("connect ECONNREFUSED"), { code: "ECONNREFUSED" });
    const { pathname, searchParams } = new URL(call.url);
    const path = pathname.replace("/v1/admin", "");
    const admin = call.headers["authorization"]?.replace("Bearer ", "") ?? "";
    if (this.adminKeys && !this.adminKeys.includes(admin)) return refuse(401, "STOW_UNAUTHORIZED", "No valid credential.");
    const request = `${call.method} ${path}`;
    this.requests.push(request);
    const answer = this.#answer(request, call, searchParams);
    this.after?.(request);
    return answer;
  };

  #answer(request: string, call: Call, query: URLSearchParams): { status: number; text: string } {
    const [, id = ""] = /^\w+ \/keys\/(\w+)$/.exec(request) ?? [];
    const known = this.keys.get(id);
    if (request === "GET /stats") return say(200, { days: 1, since: "", caches: [{ cache: "default", ...this.stats }] });
    if (request === "GET /caches") return say(200, { caches: this.caches.map((name) => ({ name, state: "ready" })) });
    if (request === "POST /keys") return this.#create(JSON.parse(call.body!) as Partial<KeyInfo>);
    if (request === "GET /keys") {
      const keys = [...this.keys.values()].filter((one) => one.id > query.get("after")!).slice(0, Number(query.get("limit")));
      return say(200, { keys, next: keys.length < Number(query.get("limit")) ? null : keys.at(-1)!.id });
    }
    if (known === undefined) return refuse(404, "STOW_NOT_FOUND", "Nothing is stored under this name.");
    if (request.startsWith("DELETE")) this.keys.set(id, { ...known, revoked: known.revoked ?? new Date(this.#now()).toISOString() });
    return say(200, this.keys.get(id));
  }

  #create({ name = "", permission = "read", caches = [], scope = null, expires = null }: Partial<KeyInfo>): { status: number; text: string } {
    if (scope?.includes(":refs/") === true) return refuse(400, "STOW_BAD_REQUEST", `The request is not valid: "${scope}" is not a scope; write it like team:ci.`);
    const id = this.#now().toString(36).padStart(9, "0") + (++this.#count).toString(36).padStart(6, "0");
    const info: KeyInfo = { id, name, permission, caches, scope, created: new Date(this.#now()).toISOString(), expires, revoked: null };
    const key = `stow_${permission === "write" ? "rw" : "ro"}_${this.#count}`;
    this.keys.set(id, { ...info, key });
    return say(201, { key, info });
  }
}

function say(status: number, value: unknown): { status: number; text: string } {
  return { status, text: JSON.stringify(value) };
}

function refuse(status: number, code: string, message: string): { status: number; text: string } {
  return say(status, { error: { code, message } });
}
