import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Connection } from "./client/archive.ts";
import type { Transfer } from "./archives.ts";
import type { Mode } from "./event.ts";
import type { Env, Toolkit } from "./toolkit.ts";

/** What main leaves for post; the runner keeps it from all other steps. */
export interface State {
  readonly mode: Mode;
  readonly reason: string;
  readonly alone: boolean;
  /** Straight to the servers, for archives; by priority. */
  readonly connections: readonly Connection[];
  /** When the first of their tokens ends, ms. */
  readonly expires: number;
  readonly stateDir: string;
  /** The directory of a daemon that was started, or was about to be. */
  readonly daemon: string | undefined;
  /** Of Nix, when it was pointed at the cache, or was about to be. */
  readonly nix: NixUse | undefined;
  readonly restored: Transfer | undefined;
}

export interface NixUse {
  /** Its files. */
  readonly directory: string;
  /** When it was set up, ms: what it has built later is the job's. */
  readonly since: number;
}

const NAME = "stowhouse";
/** Directories of one use of the action begin so. */
const USES = ["daemon-", "nix-"] as const;

export function leave(toolkit: Toolkit, state: State): void {
  toolkit.saveState(NAME, JSON.stringify(state));
}

/** Undefined when main didn't get so far. */
export function pickUp(toolkit: Toolkit): State | undefined {
  try {
    return JSON.parse(toolkit.getState(NAME)) as State;
  } catch {
    return undefined;
  }
}

/** The job's own directory, for all of its steps; the runner removes it with the rest of RUNNER_TEMP. */
export function jobDir(env: Env): string {
  const directory = join(env["RUNNER_TEMP"] || tmpdir(), "stowhouse");
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  return directory;
}

/** A job may use the set-up action twice. */
export function newUseDir(stateDir: string, of: (typeof USES)[number]): string {
  return mkdtempSync(join(stateDir, of));
}

/** Removes what the job kept, but not what another use of the action still needs. */
export function removeJobDir(stateDir: string, own: readonly (string | undefined)[]): void {
  for (const directory of own) if (directory !== undefined) rmSync(directory, { recursive: true, force: true });
  const others = existsSync(stateDir) && readdirSync(stateDir).some((name) => USES.some((use) => name.startsWith(use)));
  if (!others) rmSync(stateDir, { recursive: true, force: true });
}

export function newSecret(): string {
  return randomBytes(32).toString("base64url");
}
