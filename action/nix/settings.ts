import { accessSync, constants, existsSync } from "node:fs";
import { userInfo } from "node:os";
import { join } from "node:path";
import type { Env } from "../toolkit.ts";
import { nix, run } from "./command.ts";

type Shown = Readonly<Record<string, { readonly value?: unknown; readonly defaultValue?: unknown } | undefined>>;

/** The settings of Nix, as all its files and variables together make them: Nix is asked. */
export class Settings {
  readonly #all: Shown;

  /** @param json as `nix config show --json` prints it @throws SyntaxError */
  constructor(json: string) {
    this.#all = JSON.parse(json) as Shown;
  }

  text(name: string): string {
    const value = this.#all[name]?.value;
    return typeof value === "string" ? value : "";
  }

  list(name: string): readonly string[] {
    const value = this.#all[name]?.value;
    return Array.isArray(value) ? value.map(String) : [];
  }

  /** Whether its user has decided it. */
  isSet(name: string): boolean {
    const one = this.#all[name];
    return one !== undefined && JSON.stringify(one.value) !== JSON.stringify(one.defaultValue);
  }
}

/** @throws Error when Nix can't be asked */
export async function readSettings(env: Env): Promise<Settings> {
  // The second is its name up to Nix 2.19.
  const json = await nix(env, ["config", "show", "--json"]).catch(() => nix(env, ["show-config", "--json"]));
  return new Settings(json);
}

/** Where the settings of the whole machine lie. */
export function machineConf(env: Env): string {
  return join(env["NIX_CONF_DIR"] || "/etc/nix", "nix.conf");
}

/** Whether this user reaches the store through nix-daemon only: as Nix decides it (its `openStore`). */
export function isMultiUser(env: Env, settings: Settings): boolean {
  const remote = env["NIX_REMOTE"] || settings.text("store") || "auto";
  if (remote === "daemon" || remote.startsWith("unix://")) return true;
  if (remote !== "auto") return false;
  const state = env["NIX_STATE_DIR"] || "/nix/var/nix";
  try {
    accessSync(state, constants.R_OK | constants.W_OK);
    return false;
  } catch {
    return existsSync(env["NIX_DAEMON_SOCKET_PATH"] || join(state, "daemon-socket/socket"));
  }
}

/** Whether nix-daemon takes this user's word for substituters, keys and netrc. */
export async function isTrusted(env: Env, settings: Settings): Promise<boolean> {
  const trusted = settings.list("trusted-users");
  if (trusted.includes("*") || trusted.includes(userInfo().username)) return true;
  if (!trusted.some((name) => name.startsWith("@"))) return false;
  const groups = await run(env, "id", ["-Gn"]).catch(() => "");
  return groups.trim().split(" ").some((group) => trusted.includes(`@${group}`));
}
