import { cacheStep } from "../cache-steps.ts";
import { run } from "../run.ts";

await run(process.env, cacheStep);
