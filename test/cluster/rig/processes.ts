import { spawn, type ChildProcess } from "node:child_process";
import { existsSync, mkdirSync, openSync, closeSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { setTimeout } from "node:timers/promises";

/** Where a rig keeps everything; enter.sh makes it and removes it. */
export function rigHome(): string {
  const home = process.env["RIG"];
  if (home === undefined) throw new Error("the cluster tests run in namespaces of their own: npm run test:cluster");
  return home;
}

const file = (directory: string, name: string) => path.join(rigHome(), directory, name);

/** The components, each started again when it dies, as an init system would. */
export class Keeper {
  readonly #running = new Map<string, ChildProcess>();
  #stopping = false;

  /** Starts `command` for good; what it says goes to log/NAME. */
  keep(name: string, command: string, args: readonly string[], env: Record<string, string> = {}): void {
    for (const directory of ["log", "pid", "held"]) mkdirSync(file(directory, ""), { recursive: true });
    const log = openSync(file("log", name), "a");
    const child = spawn(command, args, { stdio: ["ignore", log, log], env: { ...process.env, ...env } });
    closeSync(log);
    this.#running.set(name, child);
    writeFileSync(file("pid", name), String(child.pid));
    child.once("error", (error) => writeFileSync(file("log", name), String(error), { flag: "a" }));
    child.once("exit", () => void this.#again(name, command, args, env));
  }

  async #again(name: string, command: string, args: readonly string[], env: Record<string, string>): Promise<void> {
    do await setTimeout(100); while (existsSync(file("held", name)) && !this.#stopping);
    if (!this.#stopping) this.keep(name, command, args, env);
  }

  /** Ends all of them at once. */
  stop(): void {
    this.#stopping = true;
    for (const child of this.#running.values()) child.kill("SIGKILL");
  }
}

/** Kills a component (SIGKILL) from any process of the rig; it stays away until `release`, or comes back at once. */
export function kill(name: string, { hold = false } = {}): void {
  if (hold) writeFileSync(file("held", name), "");
  process.kill(Number(readFileSync(file("pid", name), "utf8")), "SIGKILL");
}

export function release(name: string): void {
  rmSync(file("held", name), { force: true });
}

/** The end of what a component said. */
export function said(name: string, characters = 3000): string {
  return readFileSync(file("log", name), "utf8").slice(-characters);
}

/** Repeats a question until its answer is neither false nor undefined. @throws after `seconds`, with the last error or `why()` */
export async function until<T>(what: string, seconds: number, ask: () => Promise<T | false | undefined>, why: () => unknown = () => ""): Promise<T> {
  let last: unknown;
  for (const deadline = Date.now() + seconds * 1000; ; await setTimeout(100)) {
    try {
      const answer = await ask();
      if (answer !== false && answer !== undefined) return answer;
      last = undefined;
    } catch (error) {
      last = error;
    }
    if (Date.now() > deadline) throw new Error(`not within ${seconds} s: ${what}\n${String(last ?? (await why()))}`);
  }
}
