import path from "node:path";
import { run, tool } from "../fixtures/tools.ts";

const MINUTES = 60_000;

/** A Go program by its version, built once a machine. */
async function goProgram(name: string, module: string, version: string): Promise<string> {
  const directory = await tool(`${name}-${version}`, async (making) => {
    await run("go", ["install", `${module}@${version}`], { env: { ...process.env, GOBIN: making, GOFLAGS: "-trimpath" }, timeout: 15 * MINUTES });
  });
  return path.join(directory, name);
}

/** Runs workflows on this machine, without containers. */
export function act(): Promise<string> {
  return goProgram("act", "github.com/nektos/act", "v0.2.89");
}

/** Checks workflows, and what they give to actions. */
export function actionlint(): Promise<string> {
  return goProgram("actionlint", "github.com/rhysd/actionlint/cmd/actionlint", "v1.7.12");
}

const CHECK_JSONSCHEMA = "0.39.0";

/** Checks action.yml files against GitHub's schema: a command and its first arguments. */
export async function checkJsonschema(): Promise<readonly [command: string, ...args: string[]]> {
  const directory = await tool(`check-jsonschema-${CHECK_JSONSCHEMA}`, async (making) => {
    await run("python3", ["-m", "venv", making], { timeout: 2 * MINUTES });
    await run(path.join(making, "bin", "python"), ["-m", "pip", "install", "--quiet", `check-jsonschema==${CHECK_JSONSCHEMA}`], { timeout: 5 * MINUTES });
  });
  // Not its script: that names the directory it was installed in, and this one was moved.
  return [path.join(directory, "bin", "python"), "-m", "check_jsonschema"];
}
