import { appendFileSync } from "node:fs";
// The bundler puts one of the major versions here.
import { isFeatureAvailable, restoreCache, saveCache } from "@actions/cache";

const { INPUT_OP, INPUT_PATH, INPUT_KEY, GITHUB_OUTPUT } = process.env;
if (!isFeatureAvailable()) throw new Error("the toolkit finds no cache service");
if (INPUT_OP === "save") console.log(`saved as ${await saveCache([INPUT_PATH], INPUT_KEY)}`);
else appendFileSync(GITHUB_OUTPUT, `hit=${(await restoreCache([INPUT_PATH], INPUT_KEY)) ?? ""}\n`);
