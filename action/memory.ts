import { createHash } from "node:crypto";
import { statSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/**
 * Servers that cost a step time for nothing are left alone by the following steps of the job, which are processes of their
 * own: a marker in the job's directory for each.
 */

/** How long, ms. */
const REST = 5 * 60_000;
/** What failed faster may be tried again, ms. */
const CHEAP = 500;

const marker = (stateDir: string, url: string) => join(stateDir, `dead-${createHash("sha256").update(url).digest("hex").slice(0, 16)}`);

export function noteDead(stateDir: string, url: string): void {
  try {
    writeFileSync(marker(stateDir, url), "");
  } catch {
    // Then it is found out again.
  }
}

/** @param ms what the failure took */
export function noteCost({ stateDir }: { readonly stateDir: string }, url: string, ms: number): void {
  if (ms > CHEAP) noteDead(stateDir, url);
}

export function isDead(stateDir: string, url: string, now = Date.now()): boolean {
  const since = statSync(marker(stateDir, url), { throwIfNoEntry: false })?.mtimeMs;
  return since !== undefined && now - since < REST;
}
