import type { Context, Outcome } from "../context.ts";
import { KubeError } from "../kube-error.ts";
import { secretRef } from "../secret.ts";
import { ServerError } from "../server-api.ts";
import { dropFinalizer, FINALIZER, revokeStrays } from "./issue.ts";
import type { CacheKey } from "./schema.ts";
import { findServer, openApi, serverOf } from "./server.ts";
import { secretNameOf } from "./secret.ts";
import { stateOf } from "./state.ts";

/** A server that is away may come back; nobody should wait for that longer. */
const PATIENCE_MS = 5 * 60_000;
const RETRY_MS = 5_000;

/**
 * Ends the keys of a CacheKey that is being deleted, and lets it go: at once if its server is gone too, after five minutes if the
 * server can't be told.
 */
export async function finalize(context: Context, key: CacheKey): Promise<Outcome> {
  if (!(key.metadata.finalizers ?? []).includes(FINALIZER)) return {};
  const { events, now } = context;
  try {
    const server = await findServer(context, serverOf(key));
    if (server !== undefined) {
      const api = await openApi(context, server);
      const state = stateOf(await context.kube.get(secretRef(key.metadata.namespace!, secretNameOf(key))));
      for (const id of state === undefined ? [] : [state.id, ...state.previous.map((one) => one.id)]) await api.revokeKey(id);
      await revokeStrays(key, api, []);
      events.record(key, "Normal", "Revoked", "Its keys have ended.");
    }
  } catch (error) {
    if (!(error instanceof ServerError) && !(error instanceof KubeError && error.status === 403)) throw error;
    if (now() - Date.parse(key.metadata.deletionTimestamp!) < PATIENCE_MS) return { after: RETRY_MS * (0.8 + 0.4 * context.chance()) };
    events.record(key, "Warning", "RevocationGaveUp", `Its key ${key.status?.keyId ?? ""} could not be ended: ${error.message} Revoke it on the server (stowhouse key revoke) if it still exists.`);
  }
  await dropFinalizer(context, key);
  return {};
}
