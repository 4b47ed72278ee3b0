import { errors } from "../../core/errors.ts";
import type { Io } from "../io.ts";
import { printable } from "../table.ts";
import { loadSettings, pathOf, type ClientOptions, type Settings } from "./settings.ts";
import { checkSettings, POLICIES, readSettingsFile, writeSettingsFile, type SettingsFile } from "./settings-file.ts";

export interface ConfigOptions extends ClientOptions {
  readonly url?: string;
  /** `-` reads it from standard input, where no process list shows it. */
  readonly apiKey?: string;
  readonly enable?: boolean;
  readonly disable?: boolean;
  readonly timeout?: number;
  readonly localDirectory?: string;
  readonly addServer?: string;
  readonly priority?: number;
  readonly removeServer?: string;
  /** `name=value`. */
  readonly policy?: readonly string[];
  readonly json?: boolean;
}

export interface ClientIo extends Io {
  readonly stdin: AsyncIterable<Buffer | string> & { readonly isTTY?: boolean };
}

/** `stowhouse config`: shows nip's remote-cache.json as it is understood, after changing it where options say so. @throws config, badRequest */
export async function configure(options: ConfigOptions, io: ClientIo): Promise<void> {
  const path = pathOf(options, io);
  const file = readSettingsFile(path);
  const changed = await change(file, options, io);
  if (changed) {
    const wrong = checkSettings(changed);
    if (wrong !== undefined) throw errors.badRequest(wrong);
    writeSettingsFile(path, changed);
    io.stderr.write(`Written to ${path}.\n`);
  }
  show(loadSettings(options, io), options, io);
}

/** The file with the options applied; undefined when they change nothing. */
async function change(file: SettingsFile, options: ConfigOptions, io: ClientIo): Promise<SettingsFile | undefined> {
  const { url, enable, disable, timeout, localDirectory, addServer, priority, removeServer, policy = [] } = options;
  if (enable && disable) throw errors.badRequest("say --enable or --disable, not both");
  const apiKey = options.apiKey === "-" ? await readLine(io) : options.apiKey;
  const enabled = enable ? true : disable ? false : undefined;
  // With --add-server, a key is that server's own.
  const given = { url, apiKey: addServer === undefined ? apiKey : undefined, timeout, enabled, localDirectory };
  const changed: SettingsFile = { ...file, ...Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)) };
  if (addServer !== undefined) {
    const others = (file.servers ?? []).filter((server) => server.url !== addServer);
    changed.servers = [...others, { url: addServer, priority: priority ?? others.length + 1, ...(apiKey === undefined ? {} : { apiKey }) }];
  }
  if (removeServer !== undefined) changed.servers = without(file.servers ?? [], removeServer);
  if (policy.length > 0) changed.policies = { ...file.policies, ...Object.fromEntries(policy.map(onePolicy)) };
  return JSON.stringify(changed) === JSON.stringify(file) ? undefined : changed;
}

async function readLine(io: ClientIo): Promise<string> {
  if (io.stdin.isTTY) io.stderr.write("API key: ");
  let line = "";
  for await (const chunk of io.stdin) {
    line += chunk.toString();
    if (line.includes("\n")) break;
  }
  return line.split("\n")[0]!.trim();
}

function without(servers: NonNullable<SettingsFile["servers"]>, url: string): NonNullable<SettingsFile["servers"]> {
  if (!servers.some((server) => server.url === url)) throw errors.badRequest(`${url} is not among the servers`);
  return servers.filter((server) => server.url !== url);
}

function onePolicy(pair: string): [string, unknown] {
  const [, name = "", value = ""] = /^(\w+)=(.*)$/.exec(pair) ?? [];
  if (!Object.hasOwn(POLICIES, name)) throw errors.badRequest(`the policies are ${Object.keys(POLICIES).join(", ")}; write --policy retryAttempts=5`);
  return [name, value === "true" ? true : value === "false" ? false : Number(value || NaN)];
}

function show(settings: Settings, options: ConfigOptions, io: Io): void {
  const { enabled, timeout, policies, directory, file } = settings;
  // A key is never shown: what it begins with tells its owner which one it is.
  const servers = settings.servers.map(({ token, ...server }) => ({ ...server, apiKey: token === undefined ? null : masked(token) }));
  if (options.json) return void io.stdout.write(`${JSON.stringify({ file, enabled, timeout: timeout / 1000, policies, localDirectory: directory, servers }, null, 2)}\n`);
  const lines = [
    `file            ${file}`,
    `enabled         ${enabled}`,
    `timeout         ${timeout / 1000} s`,
    `localDirectory  ${directory}`,
    ...Object.entries(policies).map(([name, value]) => `${name}  ${value}`),
    ...servers.map(({ url, priority, enabled: used, apiKey }) => `server ${priority}  ${url}  ${apiKey ?? "no key"}${used ? "" : "  off"}`),
  ];
  io.stdout.write(lines.map((line) => `${printable(line)}\n`).join(""));
}

function masked(token: string): string {
  return token.length > 16 ? `${token.slice(0, 10)}…` : "…";
}
