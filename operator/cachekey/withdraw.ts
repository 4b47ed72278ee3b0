import { endpoint } from "../resources/urls.ts";
import { ServerError } from "../server-api.ts";
import { revokeStrays } from "./issue.ts";
import { secretFor } from "./secret.ts";
import { stateOf } from "./state.ts";
import { write, type Result, type Subject } from "./subject.ts";

/** Takes away what a CacheKey has: its Secret's key at once, and its keys on the server as soon as that can be told. @throws KubeError */
export async function withdraw(subject: Subject, message: string): Promise<Result> {
  const { context, key, server, open, secret, memory } = subject;
  const url = endpoint(server, context.settings);
  const state = stateOf(secret);
  if (secret === undefined && key.status?.keyId === undefined && memory.checked > -Infinity) return { standing: { reason: "Refused", message }, secret };
  const blank = secret && (await write(subject, secretFor(key, url, undefined, state)));
  try {
    if (state !== undefined || memory.checked === -Infinity) {
      const api = await open();
      const ids = state === undefined ? [] : [state.id, ...state.previous.map(({ id }) => id)];
      for (const id of ids) await api.revokeKey(id);
      const strays = await revokeStrays(key, api, ids);
      if (ids.length + strays > 0) context.events.record(key, "Normal", "Revoked", `Its keys have ended: ${message}`);
      memory.checked = context.now();
    }
  } catch (error) {
    if (!(error instanceof ServerError)) throw error;
    return { standing: { reason: "Refused", message: `${message} What it had can't be revoked yet: ${error.message}` }, secret: blank, retry: true };
  }
  return { standing: { reason: "Refused", message }, secret: blank && (state === undefined ? blank : await context.kube.apply(secretFor(key, url, undefined, undefined))) };
}
