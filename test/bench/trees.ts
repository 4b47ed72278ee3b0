import { cpSync, lutimesSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { run, tool } from "../fixtures/tools.ts";
import { Random } from "../fixtures/random.ts";

/** Directories as jobs save them, made once a machine from public packages. */
export interface Tree {
  readonly name: "node_modules" | "go";
  readonly directory: string;
}

const PACKAGES = {
  "next": "15.5.29", "webpack": "5.112.2", "typescript": "5.9.3", "eslint": "9.39.5", "date-fns": "4.4.0", "lodash": "4.18.1", "@babel/preset-env": "7.29.14", "jest": "29.7.0",
  "prettier": "3.10.1", "rxjs": "7.8.2", "core-js": "3.51.0", "@angular/core": "18.2.14",
};

/** Many small files, more than 30,000. */
export async function nodeModules(): Promise<Tree> {
  const directory = await tool("bench-node-modules-1", async (making) => {
    writeFileSync(path.join(making, "package.json"), JSON.stringify({ name: "tree", private: true, dependencies: PACKAGES }));
    await run("npm", ["install", "--ignore-scripts", "--no-audit", "--no-fund", "--legacy-peer-deps"], { cwd: making, timeout: 600_000, maxBuffer: 16 * 1024 * 1024 });
  });
  return { name: "node_modules", directory: path.join(directory, "node_modules") };
}

const COMMANDS = ["go", "compile", "link", "vet", "asm", "cgo", "gofmt", "trace", "pprof"].map((name) => `cmd/${name}`);

/** Fewer and larger files: what compiling Go's own tools leaves in its build cache. */
export async function goCache(): Promise<Tree> {
  const directory = await tool("bench-go-cache-1", async (making) => {
    await run("go", ["build", "-o", "/dev/null", "std", ...COMMANDS], { cwd: making, timeout: 1_200_000, env: { ...process.env, GOCACHE: path.join(making, "cache"), GOFLAGS: "" } });
    await run("go", ["vet", "std"], { cwd: making, timeout: 1_200_000, env: { ...process.env, GOCACHE: path.join(making, "cache"), GOFLAGS: "" } });
  });
  return { name: "go", directory: path.join(directory, "cache") };
}

/** All files below a directory, in the order of their names. */
export function files(directory: string): string[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile()).map((entry) => path.join(entry.parentPath, entry.name)).toSorted();
}

/** A copy with all its times. */
export function copy(from: string, to: string): void {
  cpSync(from, to, { recursive: true, preserveTimestamps: true, verbatimSymlinks: true });
}

/**
 * Rewrites some files of the whole tree, every byte of them, with what compresses as they did: noise in their place would
 * have to be sent with all its bytes, by whatever client. @param part of all files, 0 to 1
 */
export function rewrite(list: readonly string[], part: number, seed: number): void {
  const random = new Random(seed);
  for (const file of list) if (random.chance(part)) writeFileSync(file, readFileSync(file).map((byte) => byte ^ (1 + (seed % 255))));
}

/** New times for all files: as a fresh checkout or installation has them. */
export function touch(list: readonly string[], time: number): void {
  for (const [i, file] of list.entries()) lutimesSync(file, time + i / 1000, time + i / 1000);
}
