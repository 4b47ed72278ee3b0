import { accessOf } from "./access.ts";
import { isExact, restore, save, type Access, type Transfer } from "./archives.ts";
import { Failure } from "./failure.ts";
import { archiveInputs, serverInputs, transferInputs, type ArchiveInputs, type TransferInputs } from "./inputs.ts";
import type { Parts } from "./parts.ts";
import { jobDir } from "./state.ts";
import type { Step } from "./toolkit.ts";

/** The twins of actions/cache: their inputs, outputs and messages are those of its version 5. */

const PRIMARY = "CACHE_KEY";
const MATCHED = "CACHE_RESULT";

/** actions/cache/restore: says in outputs what was found. @throws Failure */
export async function restoreStep(step: Step, parts: Parts): Promise<void> {
  const { inputs, access } = await prepare(step);
  step.toolkit.setOutput("cache-primary-key", inputs.key);
  const restored = await restoreAndReport(step, parts, access, inputs);
  if (restored.status === "hit") step.toolkit.setOutput("cache-matched-key", restored.matchedKey ?? "");
}

/** actions/cache, before the job: leaves for post what was found. @throws Failure */
export async function cacheStep(step: Step, parts: Parts): Promise<void> {
  const { inputs, access } = await prepare(step);
  step.toolkit.saveState(PRIMARY, inputs.key);
  const restored = await restoreAndReport(step, parts, access, inputs);
  if (restored.status === "hit") step.toolkit.saveState(MATCHED, restored.matchedKey ?? "");
}

/** actions/cache/save, and actions/cache after the job. @throws Failure for inputs that can't be meant */
export async function saveStep(step: Step, parts: Parts): Promise<void> {
  const key = step.toolkit.getState(PRIMARY) || step.toolkit.getInput("key");
  if (isExact(key, step.toolkit.getState(MATCHED) || undefined)) return step.toolkit.info(`Cache hit occurred on the primary key ${key}, not saving cache.`);
  const { inputs, access } = await prepare(step, key);
  reportSaved(step, inputs, await save(step, parts, access, inputs));
}

async function prepare(step: Step, key = step.toolkit.getInput("key")): Promise<{ inputs: ArchiveInputs & TransferInputs; access: Access }> {
  const get = (name: string) => step.toolkit.getInput(name);
  const inputs = { ...archiveInputs(get, key), ...transferInputs(get) };
  return { inputs, access: await accessOf(step, serverInputs(get, "api-key"), jobDir(step.env)) };
}

/** Restores, and says so as actions/cache does. @throws Failure for what the workflow wants to fail on */
export async function restoreAndReport(step: Step, parts: Parts, access: Access, inputs: ArchiveInputs & TransferInputs): Promise<Transfer> {
  const { toolkit } = step;
  const restored = await restore(step, parts, access, inputs);
  const { status, matchedKey, reason } = restored;
  if (status === "hit") {
    toolkit.setOutput("cache-hit", String(isExact(inputs.key, matchedKey)));
    toolkit.info(inputs.lookupOnly ? `Cache found and can be restored from key: ${matchedKey}` : `Cache restored from key: ${matchedKey}`);
    return restored;
  }
  if (status === "unavailable" && inputs.failOnError) throw new Failure(`The cache could not be asked: ${reason}`);
  // `cache-hit` stays empty on a miss, as in actions/cache.
  if (inputs.failOnMiss) throw new Failure(`Failed to restore cache entry. Exiting as fail-on-cache-miss is set. Input key: ${inputs.key}`);
  toolkit.info(`Cache not found for input keys: ${[inputs.key, ...inputs.restoreKeys].join(", ")}${reason ? ` (${reason})` : ""}`);
  return restored;
}

/** @throws Failure with fail-on-error */
export function reportSaved({ toolkit }: Step, { key, failOnError }: ArchiveInputs & TransferInputs, { status, reason, unchanged }: Transfer): void {
  switch (status) {
    case "saved": return toolkit.info(`Cache saved with key: ${key}${unchanged ? " (nothing had changed)" : ""}`);
    case "exists": return toolkit.info(`Failed to save: Unable to reserve cache with key ${key}, another job may be creating this cache.`);
    case "denied": return toolkit.info(`Cache not saved: cache write denied: ${reason ?? "the credential may not write"}`);
    case "unavailable":
      if (failOnError) throw new Failure(`The cache could not be saved: ${reason}`);
      return toolkit.info(`Cache not saved: ${reason}`);
    default: return toolkit.warning(reason ?? "Cache not saved");
  }
}
