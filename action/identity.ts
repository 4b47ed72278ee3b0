import { both, modeOf, type Mode, type Situation } from "./event.ts";
import type { Auth, ModeInput, ServerInputs } from "./inputs.ts";
import { applicant, Asker, Refusal, wantedBy, type Kind, type Session } from "./session.ts";
import type { Env, Toolkit } from "./toolkit.ts";

/** For all requests together, ms. */
const ALTOGETHER = 3_500;

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
  const who = applicant(inputs, situation, env);
  if (modeOf(wantedBy(who)) === "off") return { ...off(inputs.mode === "off" ? "mode is off" : "the workflow's cache-mode is none, or allows nothing that mode asks for"), alone: false };
  if (inputs.servers.length === 0) return off("no server is given");

  const asker = new Asker(who, (secret) => toolkit.setSecret(secret), AbortSignal.timeout(ALTOGETHER));
  const kinds = credentials(inputs, env);
  const outcomes = await Promise.all(inputs.servers.map((server) => ask(asker, server, kinds)));
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

/** Tries one credential after the other: who is refused as one may be welcome as another. */
async function ask(asker: Asker, server: string, kinds: readonly Kind[]): Promise<Outcome> {
  const troubles: string[] = [];
  for (const kind of kinds) {
    try {
      return { session: await asker.session(server, kind) };
    } catch (error) {
      const { message } = error as Error;
      if (!(error instanceof Refusal)) return { dead: true, trouble: `${server} is of no use now (${message})` };
      troubles.push(`${kind}: ${message}`);
    }
  }
  return { trouble: `${server} gives this job no access (${troubles.join("; ")})` };
}
