import { execFile } from "node:child_process";
import { chmodSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { buildAction } from "../../action/build.mjs";
import type { FakeIssuer } from "../fixtures/issuer.ts";
import { run } from "../fixtures/tools.ts";
import { EVENTS, type EventName } from "./events.ts";
import { act } from "./tools.ts";

const root = path.resolve(import.meta.dirname, "../..");

export interface RunOptions {
  readonly event?: EventName;
  /** For all steps, as the runner's machine would have them. */
  readonly env?: Readonly<Record<string, string>>;
  readonly secrets?: Readonly<Record<string, string>>;
  /** Who gives OIDC tokens to jobs that may have one. */
  readonly issuer?: FakeIssuer;
  /** What the runner forces on every JavaScript action, whatever GITHUB_ENV says. */
  readonly forced?: Readonly<Record<string, string>>;
  /** Other actions, `owner/name@ref`, and the directories they lie in. */
  readonly actions?: Readonly<Record<string, string>>;
  readonly patience?: number;
}

export interface Ran {
  readonly exit: number;
  /** As act shows it, secrets masked. */
  readonly log: string;
  /** What steps have written into files of this name in $RESULTS. */
  result(name: string): string;
  /** The same as JSON object. */
  json(name: string): Record<string, string>;
  readonly seconds: number;
}

/** A repository and a machine on which its workflows run, by act without containers. */
export class Machine {
  readonly home: string;
  /** The repository; the workspace of each job is a new and empty one. */
  readonly #repository: string;
  readonly #results: string;
  readonly #action: string;
  readonly #act: string;
  #runs = 0;

  constructor(home: string, program: string) {
    this.home = home;
    this.#repository = path.join(home, "app");
    this.#results = path.join(home, "results");
    this.#action = path.join(home, "action");
    this.#act = program;
  }

  /** The action is what the sources give now. */
  static async start(): Promise<Machine> {
    const machine = new Machine(mkdtempSync(path.join(tmpdir(), "stowhouse-act-")), await act());
    await buildAction(path.join(machine.#action, "dist"));
    for (const file of ["action.yml", ...["restore", "save", "cache"].map((name) => `action/${name}/action.yml`)]) cpSync(path.join(root, file), path.join(machine.#action, file));
    mkdirSync(path.join(machine.#repository, ".github/workflows"), { recursive: true });
    const git = (...args: string[]) => run("git", ["-C", machine.#repository, "-c", "user.name=octocat", "-c", "user.email=octocat@example.com", ...args]);
    await git("init", "--quiet", "--initial-branch=main");
    await git("remote", "add", "origin", "https://github.com/acme/app");
    await git("commit", "--quiet", "--allow-empty", "--message=Begin");
    return machine;
  }

  /** Runs one workflow. @param steps lines of YAML below `steps:`, without indentation @param job further keys of the job */
  async run(steps: string, options: RunOptions = {}, job = ""): Promise<Ran> {
    const number = ++this.#runs;
    const results = path.join(this.#results, String(number));
    const shim = path.join(this.home, `bin-${number}`);
    const temp = path.join(this.home, `temp-${number}`);
    for (const directory of [results, shim, temp]) mkdirSync(directory, { recursive: true });
    const { name, payload, actor, claims } = EVENTS[options.event ?? "push"];
    const idToken: Record<string, string> = {};
    if (options.issuer && claims) {
      Object.assign(idToken, { ACTIONS_ID_TOKEN_REQUEST_URL: options.issuer.requestUrl, ACTIONS_ID_TOKEN_REQUEST_TOKEN: options.issuer.requestToken });
      options.issuer.idClaims = claims;
    }
    writeShim(path.join(shim, "node"), { ...idToken, ...options.forced });
    const indent = (text: string, by: number) => text.trim().split("\n").map((line) => " ".repeat(by) + line).join("\n");
    // A file of its own for each, because several may run at once.
    const workflow = `.github/workflows/ci-${number}.yml`;
    writeFileSync(path.join(this.#repository, workflow), `name: ci\non: [${name}]\njobs:\n  build:\n    runs-on: ubuntu-latest\n${job === "" ? "" : `${indent(job, 4)}\n`}    steps:\n${indent(steps, 6)}\n`);
    const event = path.join(results, "event.json");
    writeFileSync(event, JSON.stringify(payload));
    const env = { ...idToken, ...options.env, RESULTS: results, STEP_NODE: process.execPath };
    const args = [
      name, "--eventpath", event, "--actor", actor, "--platform", "ubuntu-latest=-self-hosted", "--pull=false", "--no-cache-server", "--workflows", workflow,
      "--local-repository", `stowhouse/stowhouse@v1=${this.#action}`,
      ...Object.entries(options.actions ?? {}).flatMap(([action, directory]) => ["--local-repository", `${action}=${directory}`]),
      ...Object.entries(env).flatMap(([key, value]) => ["--env", `${key}=${value}`]),
      ...Object.entries(options.secrets ?? {}).flatMap(([key, value]) => ["--secret", `${key}=${value}`]),
    ];
    const began = performance.now();
    const { exit, log } = await spawned(this.#act, args, {
      cwd: this.#repository, timeout: options.patience ?? 120_000,
      env: { PATH: `${shim}:${path.dirname(process.execPath)}:${process.env["PATH"]}`, HOME: path.join(this.home, `user-${number}`), TMPDIR: temp, RUNNER_TEMP: temp, NO_COLOR: "1" },
    });
    const result = (file: string) => readFileSync(path.join(results, file), "utf8");
    return { exit, log, result, json: (file) => JSON.parse(result(file)) as Record<string, string>, seconds: (performance.now() - began) / 1000 };
  }

  stop(): void {
    rmSync(this.home, { recursive: true, force: true });
  }
}

/**
 * The runner's rules, which act doesn't have: actions get forced values, `run:` steps get what GITHUB_ENV says. act takes the
 * path of node from node itself. In bash, because sh forgets variables with a dash in their names.
 */
function writeShim(file: string, forced: Readonly<Record<string, string>>): void {
  const lines = Object.entries(forced).map(([name, value]) => `    export ${name}='${value.replaceAll("'", "'\\''")}'`);
  writeFileSync(file, `#!/bin/bash
case "$*" in
  *process.execPath*) echo "$0"; exit ;;
  */dist/*)
${lines.join("\n")}
    ;;
esac
exec '${process.execPath}' "$@"
`);
  chmodSync(file, 0o755);
}

function spawned(command: string, args: readonly string[], options: { cwd: string; timeout: number; env: Record<string, string> }): Promise<{ exit: number; log: string }> {
  return new Promise((resolve) => {
    execFile(command, args, { ...options, maxBuffer: 32 * 1024 * 1024, killSignal: "SIGKILL" }, (error, stdout, stderr) => {
      const code = error ? (typeof error.code === "number" ? error.code : 128) : 0;
      resolve({ exit: code, log: `${stdout}${stderr}` });
    });
  });
}
