import { endpoint } from "../resources/urls.ts";
import { ServerError, type ServerApi } from "../server-api.ts";
import type { Allowed } from "./access.ts";
import { issue, revokeStrays } from "./issue.ts";
import type { Memory } from "./memory.ts";
import { grantOf, plan } from "./plan.ts";
import type { CacheKey } from "./schema.ts";
import { secretFor } from "./secret.ts";
import { stateOf, tokenOf, type KeyState } from "./state.ts";
import type { Standing } from "./status.ts";
import { write, type Result, type Subject } from "./subject.ts";

/** How often the server is asked whether it still has the key. */
const CHECK_MS = 60_000;
/** Keys that are lost more often than this in an hour are replaced once an hour. */
const MOST_LOST = 3;
const HOUR = 60 * 60_000;
/** A server that restarts is no news. */
const PATIENCE = 3;

/** Sees to it that a CacheKey that is allowed has the key it asks for. @throws ServerError, KubeError */
export async function keep(subject: Subject, allowed: Allowed): Promise<Result> {
  const { context, key, server, open, secret, memory } = subject;
  const now = context.now();
  const url = endpoint(server, context.settings);
  const state = stateOf(secret);
  const token = tokenOf(secret, state);
  const alive = await check(subject, state);
  const next = plan(key, state, grantOf(key, allowed), token !== undefined, alive, now);

  if (next.action === "expire") {
    return { standing: { reason: "Expired" }, secret: secret && (await write(subject, secretFor(key, url, undefined, state && { ...state, previous: [] }))) };
  }
  if (next.action === "issue") {
    if (next.why === "lost" && contested(memory, now)) return { standing: { reason: "SecretContested" }, secret };
    const api = await open();
    const missing = await missingCaches(key, api);
    if (missing.length > 0) return { standing: cacheMissing(missing), secret };
    const issued = await issue(context, key, api, { why: next.why, allowed, endpoint: url, state });
    if (next.why === "lost") Object.assign(memory, { lost: memory.lost + 1, replaced: now });
    const word = { first: "Issued", lost: "Reissued", changed: "Reissued", rotation: "Rotated" }[next.why];
    context.events.record(key, "Normal", word, `Key ${stateOf(issued)!.id} of CacheServer ${server.metadata.namespace}/${server.metadata.name} is in Secret/${issued.metadata.name}.`);
    return settle({ ...subject, secret: issued });
  }
  const kept = await write(subject, secretFor(key, url, token, state));
  return memory.missing.length > 0 ? { standing: cacheMissing(memory.missing), secret: kept } : settle({ ...subject, secret: kept });
}

/** Ends the keys whose overlap is over. */
async function settle(subject: Subject): Promise<Result> {
  const { context, key, server, open, secret, memory } = subject;
  const state = stateOf(secret)!;
  const ended = state.previous.filter(({ ends }) => ends <= context.now());
  let settled = secret;
  if (ended.length > 0) {
    const api = await open();
    for (const { id } of ended) await api.revokeKey(id);
    const rest = { ...state, previous: state.previous.filter((one) => !ended.includes(one)) };
    settled = await write(subject, secretFor(key, endpoint(server, context.settings), tokenOf(secret, state), rest));
  }
  if (memory.silent >= PATIENCE) return { standing: { reason: "ServerUnavailable" }, secret: settled, retry: true };
  return { standing: { reason: (stateOf(settled)?.previous.length ?? 0) > 0 ? "Overlapping" : "Issued" }, secret: settled };
}

/** Whether the server still has the key; undefined when it wasn't asked or didn't say. At first it is also asked for strays. */
async function check({ context, key, open, memory }: Subject, state: KeyState | undefined): Promise<boolean | undefined> {
  const now = context.now();
  if (state === undefined || now < memory.checked + CHECK_MS) return undefined;
  try {
    const api = await open();
    const info = await api.key(state.id);
    if (memory.checked === -Infinity) await revokeStrays(key, api, [state.id, ...state.previous.map(({ id }) => id)]);
    memory.missing = await missingCaches(key, api);
    memory.checked = now;
    memory.silent = 0;
    return info !== undefined && info.revoked === null;
  } catch (error) {
    if (!(error instanceof ServerError)) throw error;
    memory.silent++;
    return undefined;
  }
}

function contested(memory: Memory, now: number): boolean {
  if (now - memory.replaced > HOUR) memory.lost = 0;
  return memory.lost >= MOST_LOST;
}

async function missingCaches({ spec }: CacheKey, api: ServerApi): Promise<string[]> {
  const wanted = spec.caches.filter((cache) => cache !== "*");
  if (wanted.length === 0) return [];
  const known = await api.caches();
  return wanted.filter((cache) => !known.includes(cache));
}

function cacheMissing(names: readonly string[]): Standing {
  return { reason: "CacheMissing", message: `The server has no cache named ${names.join(", ")}. Add it to the CacheServer's spec.caches, or ask for another.` };
}
