import type { Server } from "../../../action/client/servers.ts";
import { errors } from "../../core/errors.ts";
import type { Io } from "../io.ts";
import { isLocalKey } from "./local.ts";
import { download, lookUp, metadataOf } from "./remote.ts";
import { retried } from "./retry.ts";
import { Session, settingsFor, type Outcome, type TransferOptions } from "./session.ts";

export interface PullOptions extends TransferOptions {
  /** Fetch what is here already, too. */
  readonly force?: boolean;
}

/** `stowhouse pull`: brings artifacts into nip's local directory. @throws incomplete where a missing one is an error */
export async function pull(keys: readonly string[], options: PullOptions, io: Io): Promise<void> {
  const session = new Session(io, settingsFor(options, io), keys.length, options.quiet ?? false);
  const { policies, enabled } = session.settings;
  void session.local.sweep();
  if (!enabled) session.progress.note("The remote cache is switched off (stowhouse config --enable).");
  else if (!policies.downloadBeforeBuild) session.progress.note("The policy downloadBeforeBuild is off: only the local directory is asked.");
  const remote = enabled && policies.downloadBeforeBuild;
  let unavailable = 0;
  const outcomes = await session.each([...new Set(keys)], async (key): Promise<Outcome> => {
    const local = options.force ? undefined : await session.local.find(key);
    if (local) return { word: "hit", key, detail: "local" };
    if (!isLocalKey(key)) return { word: "miss", key, detail: "(it can't be the name of a directory)" };
    if (!remote) return { word: "miss", key, detail: "" };
    const { found, problems } = await session.first(key, (server, signal) => fetchArtifact(session, server, key, signal));
    if (found) return { word: "hit", key, detail: found.server.url };
    if (problems.length > 0) unavailable++;
    return { word: "miss", key, detail: problems.length > 0 ? "(not every server could be asked)" : "" };
  });
  const missing = outcomes.filter(({ word }) => word !== "hit").length;
  if (options.strict && missing > 0) throw errors.incomplete(`${missing} of ${outcomes.length} keys are missing`);
  if (!policies.fallbackToLocal && unavailable > 0) throw errors.incomplete("servers could not be asked, and the policy fallbackToLocal is off");
}

/** Fetches one artifact from one server into its place; undefined for a miss. */
async function fetchArtifact(session: Session, server: Server, key: string, signal: AbortSignal): Promise<true | undefined> {
  const { settings, local, progress } = session;
  const url = await lookUp(server, key, signal);
  if (!url) return undefined;
  await retried(
    settings.policies, signal,
    async () => {
      const incoming = await local.create(key);
      try {
        const digest = await download(server, url, (chunk) => incoming.write(chunk), signal, progress.meter);
        await incoming.commit(await metadataOf(server, key, digest, signal));
      } catch (error) {
        await incoming.abort();
        throw error;
      }
    },
    (message) => progress.note(`${key}: ${server.url}: ${message}`),
  );
  return true;
}
