import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import type { ServerSettings } from "../../../action/client/servers.ts";
import { errors } from "../../core/errors.ts";
import type { Io } from "../io.ts";
import { checkUrl, POLICIES, readSettingsFile, settingsPath, type Policies, type SettingsFile } from "./settings-file.ts";

export const LOCAL_SERVER = "http://127.0.0.1:8420";
const TIMEOUT_S = 300;

/** Options every client command has. */
export interface ClientOptions {
  readonly server?: string;
  readonly token?: string;
  readonly settings?: string;
  readonly directory?: string;
}

/** What the client works with: flags come before STOWHOUSE_*, those before NIP_REMOTE_CACHE_*, those before the file. */
export interface Settings {
  readonly enabled: boolean;
  readonly servers: readonly ServerSettings[];
  /** Longest time for one key, all servers and repetitions together, ms. */
  readonly timeout: number;
  readonly policies: Policies;
  /** Where artifacts are kept on this machine. */
  readonly directory: string;
  /** The settings file, whether or not it is there. */
  readonly file: string;
}

/** @throws config for a settings file or a server that is not valid */
export function loadSettings(options: ClientOptions, io: Io): Settings {
  const file = readSettingsFile(pathOf(options, io));
  return { ...around(options, io, file), ...chooseServers(options, io.env, file) };
}

/** What is left when the settings can't be read: the local directory alone. */
export function localSettings(options: ClientOptions, io: Io): Settings {
  return { ...around(options, io, {}), enabled: false, servers: [] };
}

function around(options: ClientOptions, io: Io, file: SettingsFile): Omit<Settings, "servers" | "enabled"> {
  return {
    timeout: (file.timeout ?? TIMEOUT_S) * 1000,
    policies: { ...POLICIES, ...file.policies },
    directory: resolve(options.directory ?? (file.localDirectory || join(homeOf(io), ".cache", "nip", "binary-cache"))),
    file: pathOf(options, io),
  };
}

/** The settings file that counts, whether or not it is there. */
export function pathOf(options: ClientOptions, io: Io): string {
  return options.settings ?? settingsPath(homeOf(io));
}

function homeOf(io: Io): string {
  return io.env["HOME"] || homedir();
}

type Env = Io["env"];

function chooseServers(options: ClientOptions, env: Env, file: SettingsFile): Pick<Settings, "servers" | "enabled"> {
  const ofFile = fileServers(file);
  const switched = env["NIP_REMOTE_CACHE_ENABLED"] ? /^(?:1|true|yes|on)$/i.test(env["NIP_REMOTE_CACHE_ENABLED"]) : undefined;
  const token = options.token ?? (env["STOWHOUSE_TOKEN"] || undefined);
  const nipToken = token ?? (env["NIP_REMOTE_CACHE_API_KEY"] || undefined);
  const named = (urls: string, key: string | undefined) => urls.split(",").map((url, index) => oneServer(url.trim(), index, key, ofFile, env));
  const own = options.server ?? env["STOWHOUSE_SERVER"];
  if (own) return { servers: named(own, token), enabled: options.server !== undefined || (switched ?? true) };
  const nip = env["NIP_REMOTE_CACHE_URL"];
  if (nip) return { servers: named(nip, nipToken), enabled: switched ?? file.enabled ?? false };
  if (ofFile.length > 0) return { servers: ofFile.map((server) => ({ ...server, token: nipToken ?? server.token })), enabled: switched ?? file.enabled ?? false };
  return { servers: named(LOCAL_SERVER, nipToken), enabled: switched ?? file.enabled ?? true };
}

function fileServers(file: SettingsFile): ServerSettings[] {
  const own = file.url ? [{ url: file.url, token: file.apiKey, priority: 0, enabled: true }] : [];
  const others = (file.servers ?? []).map((server, index) => ({
    url: server.url, token: server.apiKey ?? file.apiKey, priority: server.priority ?? index + 1, enabled: server.enabled ?? true,
  }));
  return [...own, ...others];
}

/** A server named outside of the file gets a key of the file only when the file knows it: keys are not for strangers. */
function oneServer(url: string, priority: number, token: string | undefined, known: readonly ServerSettings[], env: Env): ServerSettings {
  const wrong = url === "" ? "expected a URL" : checkUrl(url);
  if (wrong !== undefined) throw errors.config(`server "${url}": ${wrong}`);
  const bare = (one: string) => one.replace(/\/+$/, "");
  return { url, priority, enabled: true, token: token ?? known.find((server) => bare(server.url) === bare(url))?.token ?? localKey(url, env) };
}

/** The write key of a server that was started on this machine, here: then a first push needs no setting at all. */
function localKey(url: string, env: Env): string | undefined {
  if (!["127.0.0.1", "[::1]", "localhost"].includes(new URL(url).hostname)) return undefined;
  if (env["STOWHOUSE_WRITE_KEY"]) return env["STOWHOUSE_WRITE_KEY"];
  try {
    const lines = readFileSync(join(env["STOWHOUSE_DATA"] || "./data", "keys.env"), "utf8").split("\n");
    return lines.find((line) => line.startsWith("STOWHOUSE_WRITE_KEY="))?.slice("STOWHOUSE_WRITE_KEY=".length).trim();
  } catch {
    // No such file, or not for us: the server says what it wants.
    return undefined;
  }
}
