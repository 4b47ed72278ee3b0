import { env } from "../server/protocols/archive/client.ts";
import type { Endpoint } from "../server/protocols/client.ts";
import type { Access } from "./archives.ts";
import { NONE, rightsOf, situationOf, type Mode } from "./event.ts";
import { authenticate, type Identity } from "./identity.ts";
import type { ServerInputs } from "./inputs.ts";
import { isDead, noteDead, SET_UP } from "./memory.ts";
import type { Env, Step } from "./toolkit.ts";

/** What the job may do, asked of those servers that no step before found dead. Never rejects. */
export async function identify(step: Step, inputs: ServerInputs, stateDir: string): Promise<Identity> {
  const resting = inputs.servers.filter((url) => isDead(stateDir, url));
  if (resting.length > 0 && resting.length === inputs.servers.length) {
    return { sessions: [], mode: "off", reason: `${resting.join(", ")} was of no use a moment ago`, dead: resting, alone: true };
  }
  const servers = inputs.servers.filter((url) => !resting.includes(url));
  const identity = await authenticate({ ...inputs, servers }, situationOf(step.env, step.payload), step.env, step.toolkit);
  for (const url of identity.dead) noteDead(stateDir, url);
  return identity;
}

/** The variables by which the set-up step tells the steps after it what they work with. */
export function exported(endpoint: Endpoint | undefined, { mode, reason, alone }: Identity): Record<string, string> {
  return { ...env(endpoint ?? { url: "" }), STOWHOUSE_MODE: alone ? "unavailable" : mode, STOWHOUSE_REASON: reason };
}

/** For restore and save: a server of their own, else what the set-up step before them left. */
export async function accessOf(step: Step, inputs: ServerInputs, stateDir: string): Promise<Access> {
  if (inputs.servers.length === 0) return inherited(step.env, stateDir);
  const { sessions, mode, reason, alone } = await identify(step, inputs, stateDir);
  return { connections: sessions.map(({ url, token }) => ({ url, token })), rights: rightsOf(mode), reason, alone, stateDir, name: sessions[0]?.url ?? "" };
}

function inherited(env: Env, stateDir: string): Access {
  const { STOWHOUSE_SERVER: url, STOWHOUSE_TOKEN: token, STOWHOUSE_MODE: mode, STOWHOUSE_REASON: why } = env;
  const none = { connections: [], rights: NONE, stateDir, name: SET_UP };
  if (mode === "unavailable") return { ...none, reason: why ?? "", alone: true };
  if (mode === "off") return { ...none, reason: why ?? "", alone: false };
  if (!url) return { ...none, reason: "no server is given, here or by a set-up step before", alone: true };
  if (isDead(stateDir, SET_UP)) return { ...none, reason: "the server was of no use a moment ago", alone: true };
  return { connections: [{ url, token: token || undefined }], rights: rightsOf((mode as Mode | undefined) ?? "write"), reason: why ?? "", alone: false, stateDir, name: SET_UP };
}
