import { exchange, type Answer } from "./client/exchange.ts";
import type { Patience } from "./client/patience.ts";
import { both, modeOf, READ, rightsOf, type Mode, type Rights, type Situation } from "./event.ts";
import type { Auth, ModeInput, ServerInputs } from "./inputs.ts";
import type { Env, Toolkit } from "./toolkit.ts";

/** Every request here must be answered in this time, ms; a build waits. */
const PATIENCE: Patience = { connect: 2_000, answer: 3_000, stall: 3_000 };
/** For all requests together, ms. */
const ALTOGETHER = 3_500;
/** The whole job, s; servers may give less. */
const LIFETIME = 6 * 60 * 60;
const TEXT_LIMIT = 64 * 1024;

export type Kind = "oidc" | "key" | "runtime-token" | "read-key" | "anonymous";

/** What one server gave this job: a session token, never more than the job deserves. */
export interface Session {
  readonly url: string;
  readonly token: string;
  readonly kind: Kind;
  readonly cache: string;
  readonly rights: Rights;
  /** The scope that is written or, without one, read first. */
  readonly scope: string;
  /** ms */
  readonly expires: number;
}

export interface Identity {
  /** By priority; empty: the job goes on without a cache. */
  readonly sessions: readonly Session[];
  readonly mode: Mode;
  /** Why it is so, for people. */
  readonly reason: string;
  /** Servers that did not answer, or not as a Stowhouse server that is well. */
  readonly dead: readonly string[];
  /** There is no server to ask, which is no refusal: GitHub's cache may stand in. */
  readonly alone: boolean;
}

/** The credentials that are tried, in this order (README.md). */
export function credentials({ auth, key, readKey }: Pick<ServerInputs, "auth" | "key" | "readKey">, env: Env): Kind[] {
  const asks = (...auths: Auth[]) => auths.includes(auth);
  const have: Record<Kind, boolean> = {
    oidc: asks("auto", "oidc", "runtime-token") && Boolean(env["ACTIONS_ID_TOKEN_REQUEST_URL"] && env["ACTIONS_ID_TOKEN_REQUEST_TOKEN"]),
    key: asks("auto", "key", "runtime-token") && key !== undefined,
    "runtime-token": asks("runtime-token") && Boolean(env["ACTIONS_RUNTIME_TOKEN"]),
    "read-key": !asks("anonymous") && readKey !== undefined,
    anonymous: true,
  };
  return (Object.keys(have) as Kind[]).filter((kind) => have[kind]);
}

/** Asks all servers at once what this job may do. Never rejects, and never takes longer than a few seconds. */
export async function authenticate(inputs: ServerInputs, situation: Situation, env: Env, toolkit: Pick<Toolkit, "setSecret">): Promise<Identity> {
  for (const secret of [inputs.key, inputs.readKey]) if (secret !== undefined) toolkit.setSecret(secret);
  const off = (reason: string, dead: readonly string[] = []): Identity => ({ sessions: [], mode: "off", reason, dead, alone: dead.length > 0 || inputs.servers.length === 0 });
  const wanted = both(rightsOf(inputs.mode), situation.cacheMode);
  if (modeOf(wanted) === "off") return { ...off(inputs.mode === "off" ? "mode is off" : "the workflow's cache-mode is none, or allows nothing that mode asks for"), alone: false };
  if (inputs.servers.length === 0) return off("no server is given");

  const asker = new Asker(inputs, situation, wanted, env, toolkit, AbortSignal.timeout(ALTOGETHER));
  const outcomes = await Promise.all(inputs.servers.map((server) => asker.ask(server)));
  const sessions = outcomes.flatMap(({ session }) => session ?? []);
  const dead = outcomes.flatMap(({ dead: silent }, i) => (silent ? inputs.servers[i]! : []));
  const troubles = outcomes.flatMap(({ trouble }) => trouble ?? []).join("; ");
  const [first] = sessions;
  if (!first) return off(troubles, dead);
  // With several servers no more is promised than all of them give.
  const rights = sessions.map((session) => session.rights).reduce(both);
  if (modeOf(rights) === "off") return off("the credential allows nothing here", dead);
  return { sessions, mode: modeOf(rights), reason: [reasonFor(first, situation, inputs.mode), troubles].filter(Boolean).join("; "), dead, alone: false };
}

function reasonFor({ kind, rights }: Session, { event, fork, cacheMode, keyMayWrite }: Situation, mode: ModeInput): string {
  const by: Record<Kind, string> = { oidc: "GitHub's identity of this job", key: "an API key", "runtime-token": "the job's runtime token", "read-key": "the public read key", anonymous: "no credential" };
  if (rights.write) return by[kind];
  const why = mode === "read" ? ", read-only by mode" : !cacheMode.write ? ", read-only by cache-mode" : fork !== undefined ? `, read-only: ${fork}` : kind === "key" && !keyMayWrite ? `, read-only on ${event}` : "";
  return by[kind] + why;
}

interface Outcome {
  readonly session?: Session;
  /** It did not answer. */
  readonly dead?: boolean;
  readonly trouble?: string;
}

interface Granted {
  readonly token: string;
  readonly expires_at: string;
  readonly cache: string;
  readonly read: readonly string[];
  readonly write: string | null;
}

/** A server that is well, and says no. */
class Refusal extends Error {}

class Asker {
  readonly #inputs: ServerInputs;
  readonly #situation: Situation;
  readonly #wanted: Rights;
  readonly #env: Env;
  readonly #toolkit: Pick<Toolkit, "setSecret">;
  readonly #signal: AbortSignal;

  constructor(inputs: ServerInputs, situation: Situation, wanted: Rights, env: Env, toolkit: Pick<Toolkit, "setSecret">, signal: AbortSignal) {
    this.#inputs = inputs;
    this.#situation = situation;
    this.#wanted = wanted;
    this.#env = env;
    this.#toolkit = toolkit;
    this.#signal = signal;
  }

  /** Tries one credential after the other: who is refused as one may be welcome as another. */
  async ask(server: string): Promise<Outcome> {
    const troubles: string[] = [];
    for (const kind of credentials(this.#inputs, this.#env)) {
      try {
        return { session: await this.#session(server, kind) };
      } catch (error) {
        const { message } = error as Error;
        if (!(error instanceof Refusal)) return { dead: true, trouble: `${server} is of no use now (${message})` };
        troubles.push(`${kind}: ${message}`);
      }
    }
    return { trouble: `${server} gives this job no access (${troubles.join("; ")})` };
  }

  async #session(server: string, kind: Kind): Promise<Session> {
    // What a key could do for somebody else's change, it shall not.
    const wanted = kind === "key" && !this.#situation.keyMayWrite ? both(this.#wanted, READ) : this.#wanted;
    let granted = await this.#exchange(server, kind, wanted);
    const excess = (granted.write !== null && !(wanted.write && this.#mayWrite(granted.write))) || (granted.read.length > 0 && !wanted.read);
    if (excess) granted = await this.#narrow(server, granted.token, { read: wanted.read, write: wanted.write && granted.write !== null && this.#mayWrite(granted.write) });
    const rights = { read: granted.read.length > 0, write: granted.write !== null };
    return { url: server, token: granted.token, kind, cache: granted.cache, rights, scope: granted.write ?? granted.read[0] ?? "", expires: Date.parse(granted.expires_at) };
  }

  /** A fork's job writes nothing but the scope of its own pull request. */
  #mayWrite(scope: string): boolean {
    return this.#situation.fork === undefined || /:refs\/pull\/[1-9]\d*\/merge$/.test(scope);
  }

  async #exchange(server: string, kind: Kind, wanted: Rights): Promise<Granted> {
    switch (kind) {
      case "oidc": return this.#post(server, "github", undefined, { id_token: await this.#idToken(server), lifetime: LIFETIME });
      case "runtime-token": return this.#post(server, "github-runtime", undefined, { token: this.#env["ACTIONS_RUNTIME_TOKEN"], lifetime: LIFETIME });
      case "key": return this.#narrow(server, this.#inputs.key, wanted);
      case "read-key": return this.#narrow(server, this.#inputs.readKey, wanted);
      case "anonymous": return this.#narrow(server, undefined, wanted);
    }
  }

  /** Keys are never used as they are: what goes around in a job is a session, which ends by itself. */
  #narrow(server: string, token: string | undefined, { read, write }: Rights): Promise<Granted> {
    return this.#post(server, "session", token, { ...(read ? {} : { read: [] }), ...(write ? {} : { write: false }), lifetime: LIFETIME });
  }

  async #idToken(server: string): Promise<string> {
    const url = new URL(this.#env["ACTIONS_ID_TOKEN_REQUEST_URL"]!);
    url.searchParams.set("audience", this.#inputs.audience ?? new URL(server).origin);
    const headers = { authorization: `Bearer ${this.#env["ACTIONS_ID_TOKEN_REQUEST_TOKEN"]}`, accept: "application/json" };
    let token: unknown;
    try {
      // GitHub's trouble, not the server's.
      token = (await readJson(await exchange(url, { headers, patience: PATIENCE, signal: this.#signal }))).value;
    } catch (error) {
      throw new Refusal(`GitHub gave no OIDC token: ${(error as Error).message}`);
    }
    if (typeof token !== "string" || token === "") throw new Refusal("GitHub gave no OIDC token");
    this.#toolkit.setSecret(token);
    return token;
  }

  async #post(server: string, route: string, token: string | undefined, body: object): Promise<Granted> {
    const bytes = Buffer.from(JSON.stringify(body));
    const answer = await exchange(new URL(`${server}/v1/auth/${route}`), {
      method: "POST", patience: PATIENCE, signal: this.#signal,
      headers: { "content-type": "application/json", accept: "application/json", ...(token === undefined ? {} : { authorization: `Bearer ${token}` }) },
      upload: { size: bytes.length, chunks: once(bytes) },
    });
    const granted = (await readJson(answer)) as Partial<Granted>;
    if (typeof granted.token !== "string" || !Array.isArray(granted.read) || Number.isNaN(Date.parse(granted.expires_at ?? ""))) throw new Error("its answer is no session");
    this.#toolkit.setSecret(granted.token);
    return granted as Granted;
  }
}

async function readJson(answer: Answer): Promise<Record<string, unknown>> {
  const text = await answer.text(TEXT_LIMIT);
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw new Error(`it answered ${answer.status}, and not as a Stowhouse server does`);
  }
  const message = (json as { error?: { message?: string } } | null)?.error?.message ?? `it answered ${answer.status}`;
  if (answer.status >= 500 || answer.status === 429) throw new Error(message);
  if (answer.status !== 200) throw new Refusal(message);
  return (json ?? {}) as Record<string, unknown>;
}

async function* once(bytes: Buffer): AsyncGenerator<Buffer> {
  yield await Promise.resolve(bytes);
}
