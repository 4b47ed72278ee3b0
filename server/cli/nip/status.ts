import { Servers, LOOKUP, type Server } from "../../../action/client/servers.ts";
import { errors } from "../../core/errors.ts";
import { HEALTH_PATH } from "../../protocols/nip/wire.ts";
import type { Io } from "../io.ts";
import { printable } from "../table.ts";
import { millisecondWords, sizeWords, spanWords } from "../words.ts";
import { LocalDirectory } from "./local.ts";
import { refusal } from "./remote.ts";
import { loadSettings, type ClientOptions, type Settings } from "./settings.ts";
import { expiryNotice, whoAmI, type Identity } from "./whoami.ts";

export interface StatusOptions extends ClientOptions {
  readonly json?: boolean;
  readonly strict?: boolean;
}

interface ServerStatus {
  readonly server: Server;
  /** Time of a healthy answer, ms. */
  readonly ms: number | undefined;
  /** Why it is of no use. */
  readonly problem: string | undefined;
  readonly identity: Identity | undefined;
  readonly notice: string | undefined;
}

/** `stowhouse status`: which servers there are, whether they answer, and what they let us do. @throws incomplete in a strict run, config */
export async function status(options: StatusOptions, io: Io): Promise<void> {
  const settings = loadSettings(options, io);
  const servers = await Promise.all(new Servers(settings.servers).all.map(probe));
  const artifacts = await new LocalDirectory(settings.directory).list();
  const size = artifacts.reduce((sum, artifact) => sum + artifact.size, 0);
  if (options.json) io.stdout.write(`${JSON.stringify(asJson(settings, servers, { artifacts: artifacts.length, bytes: size }), null, 2)}\n`);
  else io.stdout.write(asText(settings, servers, `${artifacts.length} ${artifacts.length === 1 ? "artifact" : "artifacts"}, ${sizeWords(size)}`));
  const bad = servers.filter(({ problem }) => problem !== undefined).length;
  if (options.strict && (bad > 0 || servers.length === 0)) throw errors.incomplete(`${bad} of ${servers.length} servers are of no use`);
}

async function probe(server: Server): Promise<ServerStatus> {
  const none = { server, ms: undefined, identity: undefined, notice: undefined };
  try {
    const started = performance.now();
    const health = await server.request(HEALTH_PATH, { patience: LOOKUP });
    const ms = performance.now() - started;
    if (health.status !== 200) return { ...none, problem: (await refusal(health)).message };
    health.discard();
    const identity = await whoAmI(server).catch((error: Error) => error);
    if (identity instanceof Error) return { ...none, ms, problem: identity.message };
    return { server, ms, problem: undefined, identity, notice: expiryNotice(server, identity) };
  } catch (error) {
    return { ...none, problem: (error as Error).message };
  }
}

function asText(settings: Settings, servers: readonly ServerStatus[], local: string): string {
  const { policies } = settings;
  const lines = [
    `Remote cache   ${settings.enabled ? "on" : "off (stowhouse config --enable)"}`,
    `Settings       ${settings.file}`,
    `Local cache    ${settings.directory} (${local})`,
    `Timeout        ${settings.timeout / 1000} s; ${policies.retryAttempts} retries, ${policies.retryDelay} s apart`,
    `Policies       ${(["uploadOnBuild", "downloadBeforeBuild", "fallbackToLocal"] as const).map((name) => `${name} ${policies[name] ? "on" : "off"}`).join(", ")}`,
    ...servers.flatMap((one) => ["", ...serverLines(one)]),
  ];
  return lines.map((line) => `${printable(line)}\n`).join("");
}

function serverLines({ server, ms, problem, identity, notice }: ServerStatus): string[] {
  const lines = [`${server.url} (priority ${server.priority})`];
  if (ms !== undefined) lines.push(`  answers      in ${millisecondWords(ms)}`);
  if (problem !== undefined) lines.push(`  problem      ${problem}`);
  if (ms !== undefined && problem === undefined && !identity) lines.push("  key          the server does not say what it may do");
  if (identity) {
    const { actor, permission, cache, read, write, expires } = identity;
    lines.push(
      `  key          ${actor}, ${permission}, cache ${cache}`,
      `  reads        ${read.join(", ") || "nothing"}`,
      `  writes       ${write ?? "nothing"}`,
      `  ends         ${expires === null ? "never" : `in ${spanWords(expires - Date.now())} (${new Date(expires).toISOString()})`}`,
    );
  }
  if (notice !== undefined) lines.push(`  notice       ${notice}`);
  return lines;
}

function asJson(settings: Settings, servers: readonly ServerStatus[], local: { artifacts: number; bytes: number }) {
  const { enabled, timeout, policies, directory, file } = settings;
  return {
    enabled, settings: file, timeout: timeout / 1000, policies, local: { directory, ...local },
    servers: servers.map(({ server, ms, problem, identity, notice }) => ({
      url: server.url, priority: server.priority, reachable: ms !== undefined, ms: ms ?? null, problem: problem ?? null,
      identity: identity ? { ...identity, expires: identity.expires === null ? null : new Date(identity.expires).toISOString() } : null, notice: notice ?? null,
    })),
  };
}
