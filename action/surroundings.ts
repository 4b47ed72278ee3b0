import { accessSync, constants, existsSync, readdirSync } from "node:fs";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Surroundings } from "./tools.ts";
import type { Step } from "./toolkit.ts";

/** What `tools: auto` looks at: names at the top of the workspace, and programs in PATH. */
export function surroundings({ env, platform }: Pick<Step, "env" | "platform">): Surroundings {
  const workspace = env["GITHUB_WORKSPACE"] ?? ".";
  const folders = (env["PATH"] ?? "").split(delimiter).filter(Boolean);
  const endings = platform === "win32" ? [".exe", ".cmd"] : [""];
  const extension = import.meta.url.endsWith(".ts") ? "ts" : "mjs";
  return {
    env,
    goHelper: [process.execPath, fileURLToPath(new URL(`./gocacheprog.${extension}`, import.meta.url))],
    has: (name) => existsSync(join(workspace, name)),
    hasLike: (pattern) => names(workspace).some((name) => pattern.test(name)),
    runs: (program) => folders.some((folder) => endings.some((ending) => executable(join(folder, program + ending)))),
  };
}

function names(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

function executable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
