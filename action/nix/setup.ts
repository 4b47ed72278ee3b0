import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { netrcEntry, nixConf } from "../../server/protocols/nix/client.ts";
import type { Endpoint } from "../../server/protocols/client.ts";
import type { Connection } from "../client/archive.ts";
import type { Step } from "../toolkit.ts";
import { asRoot } from "./command.ts";
import { publicKeys } from "./keys.ts";
import { includeForAll, undoInclude } from "./machine.ts";
import { isMultiUser, isTrusted, readSettings, type Settings } from "./settings.ts";

export interface NixRequest {
  /** What Nix talks to. */
  readonly endpoint: Endpoint;
  /** Whether that is the server itself, and not the daemon. */
  readonly direct: boolean;
  /** Straight to the servers, for their keys. */
  readonly connections: readonly Connection[];
  /** The job's own, which only its user can read; what is in it ends with it. */
  readonly directory: string;
}

/** What a user may have decided otherwise. */
const OURS_UNLESS_SET = /^(fallback|connect-timeout|download-attempts) /;

/**
 * Makes Nix look into the cache beside those it knows: for this user by NIX_CONFIG or, where nix-daemon doesn't trust them, in
 * the machine's nix.conf until the job ends. Both include a file of the job, so what is left over says nothing.
 *
 * A netrc knows hosts and no ports: on the runner's loopback it would give the daemon's secret to whatever else the user has
 * there. So the secret is in the path, unless other users can read the file.
 * @throws Error when it can't be done; then nothing is changed
 */
export async function setUpNix({ toolkit, env }: Pick<Step, "toolkit" | "env">, { endpoint, direct, connections, directory }: NixRequest): Promise<void> {
  if (/[\s#]/.test(directory)) throw new Error(`nix.conf can't name ${directory}`);
  const [settings, keys] = await Promise.all([readSettings(env), publicKeys(connections)]);
  const forAll = isMultiUser(env, settings) && !(await isTrusted(env, settings));
  // What a pull request pushed is for its own jobs, not for everybody on the machine.
  const trusting = forAll ? keys.trusted : [...keys.trusted, ...keys.untrusted];
  const url = endpoint.url.replace(/\/+$/, "");
  const cache = direct || forAll || endpoint.token === undefined ? { ...endpoint, url: `${url}/nix` } : { url: `${url}/s/${endpoint.token}/nix` };
  const entry = netrcEntry(cache);
  const netrcFile = entry === undefined ? undefined : join(directory, "netrc");
  if (netrcFile !== undefined) writeFileSync(netrcFile, withEntry(await existingNetrc(env, settings), entry!), { mode: 0o600 });
  const lines = nixConf(cache, { publicKeys: [...new Set(trusting)], netrcFile }).filter((line) => !(OURS_UNLESS_SET.test(line) && settings.isSet(line.split(" ")[0]!)));
  const text = `${lines.join("\n")}\n`;
  if (!forAll) {
    const conf = join(directory, "nix.conf");
    writeFileSync(conf, text, { mode: 0o600 });
    return toolkit.exportVariable("NIX_CONFIG", [env["NIX_CONFIG"], `!include ${conf}`].filter(Boolean).join("\n"));
  }
  try {
    await includeForAll(env, text, directory);
  } catch (error) {
    throw new Error(`nix-daemon does not trust this user, and its settings can't be changed: ${(error as Error).message}. Add the user to trusted-users in the machine's nix.conf`, { cause: error });
  }
}

/** A netrc with one entry more: after those of its user, which decide, and before `default`, below which nothing is found. */
export function withEntry(netrc: string, entry: string): string {
  const [, before = "", rest = ""] = /^(.*?)((?:^|(?<=\s))default(?:\s.*)?)?$/s.exec(netrc) ?? [];
  return `${before}${before === "" || before.endsWith("\n") ? "" : "\n"}${entry}${rest}`;
}

/** Takes back what set-up did outside the job's directory. Never rejects. */
export async function undoNix({ toolkit, env }: Pick<Step, "toolkit" | "env">, directory: string): Promise<void> {
  try {
    await undoInclude(env, directory);
  } catch (error) {
    toolkit.warning(`Nix's settings could not be put back: ${(error as Error).message}`);
  }
}

/** The credentials Nix has so far, which a netrc-file of ours would hide. @throws Error when they can't be read */
async function existingNetrc(env: Step["env"], settings: Settings): Promise<string> {
  const file = settings.text("netrc-file");
  if (file === "" || !existsSync(file)) return "";
  try {
    return readFileSync(file, "utf8");
  } catch {
    return asRoot(env, "cat", [file]);
  }
}
