import { exchange, type Answer } from "./client/exchange.ts";
import type { Patience } from "./client/patience.ts";
import { both, READ, rightsOf, type Rights, type Situation } from "./event.ts";
import type { ServerInputs } from "./inputs.ts";
import type { Env } from "./toolkit.ts";

/** Every request here must be answered in this time, ms; a build waits. */
const PATIENCE: Patience = { connect: 2_000, answer: 3_000, stall: 3_000 };
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

interface Granted {
  readonly token: string;
  readonly expires_at: string;
  readonly cache: string;
  readonly read: readonly string[];
  readonly write: string | null;
}

/** A server that is well, and says no. */
export class Refusal extends Error {}

/** Who asks: the credentials of a job, and what it may do at most. */
export interface Applicant {
  readonly inputs: ServerInputs;
  readonly situation: Situation;
  /** Those of `VARIABLES` that there are. */
  readonly env: Env;
}

/** Credentials the runner gives to a job. */
export const VARIABLES = ["ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN", "ACTIONS_RUNTIME_TOKEN"] as const;

export function applicant(inputs: ServerInputs, situation: Situation, env: Env): Applicant {
  return { inputs, situation, env: Object.fromEntries(VARIABLES.flatMap((name) => (env[name] ? [[name, env[name]]] : []))) };
}

/** What the workflow asks for. */
export function wantedBy({ inputs, situation }: Applicant): Rights {
  return both(rightsOf(inputs.mode), situation.cacheMode);
}

/** Asks servers for sessions. */
export class Asker {
  readonly #applicant: Applicant;
  readonly #setSecret: (value: string) => void;
  readonly #signal: AbortSignal;

  /** @param setSecret told about every token before it is used */
  constructor(applicant: Applicant, setSecret: (value: string) => void, signal: AbortSignal) {
    this.#applicant = applicant;
    this.#setSecret = setSecret;
    this.#signal = signal;
  }

  /** What this server gives for this credential. @throws Refusal when it is well and says no; Error when it is not well */
  async session(server: string, kind: Kind): Promise<Session> {
    // What a key could do for somebody else's change, it shall not.
    const asked = wantedBy(this.#applicant);
    const wanted = kind === "key" && !this.#applicant.situation.keyMayWrite ? both(asked, READ) : asked;
    let granted = await this.#exchange(server, kind, wanted);
    const excess = (granted.write !== null && !(wanted.write && this.#mayWrite(granted.write))) || (granted.read.length > 0 && !wanted.read);
    if (excess) granted = await this.#narrow(server, granted.token, { read: wanted.read, write: wanted.write && granted.write !== null && this.#mayWrite(granted.write) });
    const rights = { read: granted.read.length > 0, write: granted.write !== null };
    return { url: server, token: granted.token, kind, cache: granted.cache, rights, scope: granted.write ?? granted.read[0] ?? "", expires: Date.parse(granted.expires_at) };
  }

  /** A fork's job writes nothing but the scope of its own pull request. */
  #mayWrite(scope: string): boolean {
    return this.#applicant.situation.fork === undefined || /:refs\/pull\/[1-9]\d*\/merge$/.test(scope);
  }

  async #exchange(server: string, kind: Kind, wanted: Rights): Promise<Granted> {
    switch (kind) {
      case "oidc": return this.#post(server, "github", undefined, { id_token: await this.#idToken(server), lifetime: LIFETIME });
      case "runtime-token": return this.#post(server, "github-runtime", undefined, { token: this.#applicant.env["ACTIONS_RUNTIME_TOKEN"], lifetime: LIFETIME });
      case "key": return this.#narrow(server, this.#applicant.inputs.key, wanted);
      case "read-key": return this.#narrow(server, this.#applicant.inputs.readKey, wanted);
      case "anonymous": return this.#narrow(server, undefined, wanted);
    }
  }

  /** Keys are never used as they are: what goes around in a job is a session, which ends by itself. */
  #narrow(server: string, token: string | undefined, { read, write }: Rights): Promise<Granted> {
    return this.#post(server, "session", token, { ...(read ? {} : { read: [] }), ...(write ? {} : { write: false }), lifetime: LIFETIME });
  }

  async #idToken(server: string): Promise<string> {
    const url = new URL(this.#applicant.env["ACTIONS_ID_TOKEN_REQUEST_URL"]!);
    url.searchParams.set("audience", this.#applicant.inputs.audience ?? new URL(server).origin);
    const headers = { authorization: `Bearer ${this.#applicant.env["ACTIONS_ID_TOKEN_REQUEST_TOKEN"]}`, accept: "application/json" };
    let token: unknown;
    try {
      // GitHub's trouble, not the server's.
      token = (await readJson(await exchange(url, { headers, patience: PATIENCE, signal: this.#signal }))).value;
    } catch (error) {
      throw new Refusal(`GitHub gave no OIDC token: ${(error as Error).message}`);
    }
    if (typeof token !== "string" || token === "") throw new Refusal("GitHub gave no OIDC token");
    this.#setSecret(token);
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
    this.#setSecret(granted.token);
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
