import { chmodSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";

/** What control needs to find a running daemon; only its own user can read it. */
export interface DaemonState {
  readonly pid: number;
  /** Of the parent's control endpoint. */
  readonly control: string;
  readonly secret: string;
}

const FILE = "daemon.json";

/** Makes the directory, for its own user alone. */
export function openStateDir(stateDir: string): void {
  mkdirSync(stateDir, { recursive: true, mode: 0o700 });
  chmodSync(stateDir, 0o700);
}

export function writeState(stateDir: string, state: DaemonState): void {
  const file = path.join(stateDir, FILE);
  writeFileSync(`${file}.new`, JSON.stringify(state), { mode: 0o600 });
  renameSync(`${file}.new`, file);
}

/** Where uploads wait. */
export function spoolOf(stateDir: string): string {
  return path.join(stateDir, "spool");
}

/** Forgets the daemon and what it had not delivered. */
export function clearState(stateDir: string): void {
  rmSync(path.join(stateDir, FILE), { force: true });
  rmSync(spoolOf(stateDir), { recursive: true, force: true });
}

/** Undefined when no daemon was started with this directory. */
export function readState(stateDir: string): DaemonState | undefined {
  try {
    return JSON.parse(readFileSync(path.join(stateDir, FILE), "utf8")) as DaemonState;
  } catch {
    return undefined;
  }
}
