import { execFile } from "node:child_process";
import type { Env } from "../toolkit.ts";

/** Nix answers in a tenth of a second; a machine this slow is better off without, ms. */
const PATIENCE = 10_000;
const OUTPUT_LIMIT = 64 * 1024 * 1024;

export interface RunOptions {
  /** What it reads, one byte a character. */
  readonly input?: string;
  readonly signal?: AbortSignal;
  readonly patience?: number;
}

/** What a program writes to its output. @throws Error with the end of what it complained about */
export function run(env: Env, program: string, args: readonly string[], { input, signal, patience = PATIENCE }: RunOptions = {}): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = execFile(program, [...args], { env, timeout: patience, killSignal: "SIGKILL", maxBuffer: OUTPUT_LIMIT, ...(signal && { signal }) }, (error, stdout, stderr) => {
      if (error === null) return resolve(stdout);
      if (error.code === "ENOENT") return reject(new Error(`there is no ${program} in PATH`));
      const said = stderr.trim().split("\n").at(-1);
      reject(new Error(`${program}: ${said || (error.killed ? `no end within ${patience / 1000} s` : error.message)}`, { cause: error }));
    });
    // Whoever does not read its input says so by how it ends.
    child.stdin?.on("error", () => {});
    child.stdin?.end(input, "latin1");
  });
}

/** The command `nix`, which is still called experimental. @throws Error */
export function nix(env: Env, args: readonly string[], options?: RunOptions): Promise<string> {
  return run(env, "nix", ["--extra-experimental-features", "nix-command", ...args], options);
}

/** The same with the rights of root: as who is it, or by a sudo that asks nothing. @throws Error */
export function asRoot(env: Env, program: string, args: readonly string[], options?: RunOptions): Promise<string> {
  return process.getuid?.() === 0 ? run(env, program, args, options) : run(env, "sudo", ["-n", program, ...args], options);
}
