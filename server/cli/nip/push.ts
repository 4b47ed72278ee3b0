import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import type { Server } from "../../../action/client/servers.ts";
import { errors } from "../../core/errors.ts";
import type { Io } from "../io.ts";
import type { LocalArtifact } from "./local.ts";
import { holds, upload } from "./remote.ts";
import { retried } from "./retry.ts";
import { Session, settingsFor, type Outcome, type TransferOptions } from "./session.ts";

export interface PushOptions extends TransferOptions {
  /** Everything in the local directory that a server does not hold yet. */
  readonly all?: boolean;
  /** Send what a server holds already, too, and against the policy. */
  readonly force?: boolean;
}

/** `stowhouse push`: sends artifacts of nip's local directory to the first server that takes them. @throws incomplete in a strict run, badRequest */
export async function push(keys: readonly string[], options: PushOptions, io: Io): Promise<void> {
  if (options.all ? keys.length > 0 : keys.length === 0) throw errors.badRequest("name keys, or --all for everything in the local directory");
  const settings = settingsFor(options, io);
  const local = new Session(io, settings, 0, true).local;
  const names = options.all ? (await local.list()).map(({ key }) => key) : [...new Set(keys)];
  const session = new Session(io, settings, names.length, options.quiet ?? false);
  const why = whyNot(session, options);
  if (why !== undefined) session.progress.note(why);
  const outcomes = await session.each(names, async (key): Promise<Outcome> => {
    const artifact = await session.local.find(key);
    if (!artifact) return { word: "skipped", key, detail: `(not in ${session.local.path})` };
    if (why !== undefined) return { word: "skipped", key, detail: "" };
    const { found, problems } = await session.first(key, (server, signal) => send(session, server, artifact, options, signal));
    if (found) return { word: found.value, key, detail: found.server.url };
    return { word: "failed", key, detail: `(${problems.map(({ message }) => message).join("; ") || "there is no server"})` };
  });
  const undone = outcomes.filter(({ word }) => word === "failed" || word === "skipped").length;
  if (options.strict && undone > 0) throw errors.incomplete(`${undone} of ${outcomes.length} keys were not pushed`);
}

function whyNot(session: Session, options: PushOptions): string | undefined {
  if (!session.settings.enabled) return "The remote cache is switched off (stowhouse config --enable).";
  return session.settings.policies.uploadOnBuild || options.force ? undefined : "The policy uploadOnBuild is off: nothing is sent (--force sends it).";
}

async function send(session: Session, server: Server, artifact: LocalArtifact, options: PushOptions, signal: AbortSignal): Promise<"pushed" | "unchanged"> {
  const { settings, local, progress } = session;
  // A whole directory is pushed again and again; what was named is what its owner has just built.
  if (options.all && !options.force && (await holds(server, artifact.key, await digestOf(artifact), signal))) return "unchanged";
  const metadata = await local.metadata(artifact.key);
  await retried(settings.policies, signal, () => upload(server, artifact, metadata, signal, progress.meter), (message) => progress.note(`${artifact.key}: ${server.url}: ${message}`));
  return "pushed";
}

async function digestOf(artifact: LocalArtifact): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(artifact.path, { highWaterMark: 1024 * 1024 }) as AsyncIterable<Buffer>) hash.update(chunk);
  return hash.digest("hex");
}
