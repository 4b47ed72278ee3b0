import { readFileSync } from "node:fs";
import http from "node:http";
import { setTimeout } from "node:timers/promises";
import { noMetrics, type JobMetrics, type ProtocolMetrics } from "./settings.ts";
import { readState, type DaemonState } from "./state.ts";

export type { JobMetrics, ProtocolMetrics } from "./settings.ts";

/** The longest a metrics push and the daemon's own end may take on top of the drain, ms. */
const END_MS = 5_000;

export interface StopOptions {
  readonly drainMs: number;
  /** What else belongs to the job's metrics. */
  readonly also?: readonly ProtocolMetrics[];
}

/**
 * Lets the daemon deliver what waits, for `drainMs` at most, and ends it. Returns what it did in this job; zeros when it is
 * gone already. Never throws.
 */
export async function stopDaemon(stateDir: string, { drainMs, also = [] }: StopOptions): Promise<JobMetrics> {
  const state = readState(stateDir);
  if (!state) return noMetrics();
  const metrics = (await call(state, "/stop", { drainMs, also }, drainMs + END_MS)) as JobMetrics | undefined;
  // Only a daemon that answered is known to be behind this number.
  if (metrics) await gone(state.pid);
  return metrics ?? noMetrics();
}

/** Gives the daemon a new token for one of its servers (default the first). False when it is gone, or has no such server. Never throws. */
export async function renewToken(stateDir: string, token: string, url?: string): Promise<boolean> {
  const state = readState(stateDir);
  return state !== undefined && (await call(state, "/token", { token, url }, 2_000)) !== undefined;
}

/** What the daemon did so far; undefined when it is gone. Never throws. */
export async function jobMetrics(stateDir: string): Promise<JobMetrics | undefined> {
  const state = readState(stateDir);
  return state && ((await call(state, "/metrics", undefined, 2_000)) as JobMetrics | undefined);
}

async function gone(pid: number): Promise<void> {
  for (let left = 40; left > 0; left--) {
    try {
      process.kill(pid, left === 1 ? "SIGKILL" : 0);
    } catch {
      return;
    }
    if (ended(pid)) return;
    await setTimeout(50);
  }
}

/** Process 1 of a container may take seconds to bury who has ended, or never do it. */
function ended(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    return stat.startsWith(" Z", stat.lastIndexOf(")") + 1);
  } catch {
    return false;
  }
}

/** node:http, not fetch: a proxy setting of the job must not come between. */
function call({ control, secret }: DaemonState, path: string, body: object | undefined, patience: number): Promise<unknown> {
  return new Promise((resolve) => {
    const request = http.request(`${control}${path}`, {
      method: body ? "POST" : "GET", agent: false, signal: AbortSignal.timeout(patience), headers: { authorization: `Bearer ${secret}` },
    });
    request.on("error", () => resolve(undefined));
    request.on("response", (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
      response.on("error", () => resolve(undefined));
      response.on("end", () => {
        try {
          resolve(response.statusCode === 200 ? JSON.parse(text) : undefined);
        } catch {
          resolve(undefined);
        }
      });
    });
    request.end(body && JSON.stringify(body));
  });
}
