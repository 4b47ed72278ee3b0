import { createHash } from "node:crypto";
import { statSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/**
 * Servers that cost a step time for nothing are left alone by the following steps of the job, which are processes of their
 * own: a marker in the job's directory for each.
 */

/** Name of whatever the set-up step found, be it reached straight or through the daemon. */
export const SET_UP = "set-up";

/** How long, ms. */
const REST = 5 * 60_000;
/** What failed faster may be tried again, ms. */
const CHEAP = 500;

const marker = (stateDir: string, name: string) => join(stateDir, `dead-${createHash("sha256").update(name).digest("hex").slice(0, 16)}`);

export function noteDead(stateDir: string, name: string): void {
  try {
    writeFileSync(marker(stateDir, name), "");
  } catch {
    // Then it is found out again.
  }
}

/** @param ms what the failure took */
export function noteCost({ stateDir, name }: { readonly stateDir: string; readonly name: string }, ms: number): void {
  if (ms > CHEAP) noteDead(stateDir, name);
}

export function isDead(stateDir: string, name: string, now = Date.now()): boolean {
  const since = statSync(marker(stateDir, name), { throwIfNoEntry: false })?.mtimeMs;
  return since !== undefined && now - since < REST;
}
