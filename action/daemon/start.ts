import { spawn } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { Env } from "../toolkit.ts";
import type { Started } from "./parent.ts";
import type { DaemonSettings } from "./settings.ts";
import { openStateDir } from "./state.ts";

export type { DaemonSettings } from "./settings.ts";

export interface Daemon {
  /** Where tools reach it: `http://127.0.0.1:P`. */
  readonly url: string;
  readonly pid: number;
  /** The certificate authority tools must trust, when it intercepts. */
  readonly caFile?: string;
}

/** A start takes a fraction of a second; on a machine this slow the job is better off without, ms. */
const START_MS = 10_000;

/**
 * Starts the daemon as a process of its own, which outlives this one. It ends by `stopDaemon`, or when nobody has used it for
 * hours. @param env of the job @throws Error when it doesn't serve within ten seconds
 */
export async function startDaemon(settings: DaemonSettings, env: Env): Promise<Daemon> {
  openStateDir(settings.stateDir);
  const log = openSync(settings.logFile, "a", 0o600);
  const extension = import.meta.url.endsWith(".ts") ? "ts" : "mjs";
  const child = spawn(process.execPath, [fileURLToPath(new URL(`./parent.${extension}`, import.meta.url))], {
    detached: true, windowsHide: true, stdio: ["ignore", log, log, "ipc"], env: withoutCredentials(env),
  });
  closeSync(log);
  let timer: NodeJS.Timeout | undefined;
  try {
    const started = await new Promise<Started>((resolve, reject) => {
      timer = setTimeout(() => reject(new Error(`it did not start within ${START_MS / 1000} s`)), START_MS);
      child.once("error", reject);
      child.once("exit", (code, signal) => reject(new Error(`it ended at once (${signal ?? code}); see ${settings.logFile}`)));
      child.once("message", resolve);
      child.send(settings);
    });
    if ("error" in started) throw new Error(started.error);
    return { ...started, pid: child.pid! };
  } catch (error) {
    child.kill("SIGKILL");
    throw error;
  } finally {
    clearTimeout(timer);
    if (child.connected) child.disconnect();
    child.unref();
  }
}

/** Every later step can read the environment of a process of its user: inputs and what the runner gave this step alone stay out of it. */
function withoutCredentials(env: Env): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !/^(INPUT|ACTIONS|STATE)_/i.test(name)));
}
