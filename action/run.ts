import { readFileSync } from "node:fs";
import * as core from "@actions/core";
import { Failure } from "./failure.ts";
import { parts, type Parts } from "./parts.ts";
import type { Env, Payload, Step, Toolkit } from "./toolkit.ts";

const toolkit: Toolkit = {
  ...core,
  setOutput: (name, value) => core.setOutput(name, value),
  exportVariable: (name, value) => core.exportVariable(name, value),
  saveState: (name, value) => core.saveState(name, value),
  setFailed: (message) => core.setFailed(message),
  notice: (message) => core.notice(message),
  warning: (message) => core.warning(message),
  summarize: async (markdown) => void (await core.summary.addRaw(markdown, true).write()),
};

/** Runs a step of the action and ends the process: with failure only for what the workflow's author wants to fail on. */
export async function run(env: Env, body: (step: Step, parts: Parts) => Promise<void>): Promise<void> {
  // What comes loose in some corner must not fail a build that would do without us.
  const shrug = (error: unknown) => core.warning(`Stowhouse: ${(error as Error | null)?.message ?? String(error)}`);
  process.on("uncaughtException", shrug);
  process.on("unhandledRejection", shrug);
  try {
    await body({ toolkit, env, payload: readPayload(env["GITHUB_EVENT_PATH"]), platform: process.platform }, parts);
  } catch (error) {
    if (error instanceof Failure) core.setFailed(error.message);
    else shrug(error);
  }
  // Sockets that linger must not keep the job waiting; what was written must arrive first.
  process.stdout.write("", () => process.exit());
}

function readPayload(path: string | undefined): Payload {
  try {
    return (JSON.parse(readFileSync(path ?? "", "utf8")) ?? {}) as Payload;
  } catch {
    return {};
  }
}
