import { chmodSync, existsSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Env } from "../toolkit.ts";
import { asRoot } from "./command.ts";
import { machineConf } from "./settings.ts";

/**
 * nix-daemon takes nothing from users it doesn't trust, and reads its settings once. So the machine's nix.conf gets a line for
 * the time of the job, and the daemon is started again, before and after.
 */

/** What was done to a file; written down before it is done. */
interface Change {
  readonly file: string;
  readonly added: string;
  readonly existed: boolean;
  /** What is included, and its directory, which every user can enter: Nix fails on what it may not look for. */
  readonly home: string;
}

const RECORD = "machine.json";
const RESTART_MS = 30_000;
const RESTARTS: readonly (readonly [program: string, ...args: string[]])[] = [
  ["systemctl", "restart", "nix-daemon.service"],
  ["launchctl", "kickstart", "-k", "system/org.nixos.nix-daemon"],
  ["launchctl", "kickstart", "-k", "system/systems.determinate.nix-daemon"],
];

/** Gives the machine's nix.conf these settings until the job ends. @param directory where it is remembered @throws Error when that is not possible; then all is as it was */
export async function includeForAll(env: Env, settings: string, directory: string): Promise<void> {
  const file = machineConf(env);
  if (!existsSync(dirname(file))) throw new Error(`${dirname(file)} is not there`);
  const existed = existsSync(file);
  // NixOS makes it; what lies in the store must not be changed.
  if (existed && realpathSync(file).startsWith("/nix/store/")) throw new Error(`${file} is made by Nix itself`);
  const before = existed ? readFileSync(file, "latin1") : "";
  const home = mkdtempSync("/tmp/stowhouse-nix-");
  const conf = join(home, "nix.conf");
  const added = `${before === "" || before.endsWith("\n") ? "" : "\n"}!include ${conf}\n`;
  writeFileSync(join(directory, RECORD), JSON.stringify({ file, added, existed, home } satisfies Change), { mode: 0o600 });
  try {
    chmodSync(home, 0o755);
    writeFileSync(conf, settings, { mode: 0o644 });
    await asRoot(env, "tee", [file], { input: before + added });
    await restart(env);
  } catch (error) {
    await undoInclude(env, directory);
    throw error;
  }
}

/** Takes the line out again; what others have changed meanwhile stays. Does nothing where nothing was done. @throws Error */
export async function undoInclude(env: Env, directory: string): Promise<void> {
  const record = join(directory, RECORD);
  if (!existsSync(record)) return;
  const { file, added, existed, home } = JSON.parse(readFileSync(record, "utf8")) as Change;
  rmSync(home, { recursive: true, force: true });
  const now = existsSync(file) ? readFileSync(file, "latin1") : "";
  const at = now.indexOf(added);
  if (at < 0) return;
  const rest = now.slice(0, at) + now.slice(at + added.length);
  if (rest === "" && !existed) await asRoot(env, "rm", ["-f", file]);
  else await asRoot(env, "tee", [file], { input: rest });
  await restart(env).catch(() => {});
}

async function restart(env: Env): Promise<void> {
  const problems: string[] = [];
  for (const [program, ...args] of RESTARTS) {
    try {
      return void (await asRoot(env, program, args, { patience: RESTART_MS }));
    } catch (error) {
      problems.push((error as Error).message);
    }
  }
  throw new Error(`nix-daemon can't be started again (${problems[process.platform === "darwin" ? 1 : 0]})`);
}
