import { setup } from "./setup.ts";
import { run } from "./run.ts";

await run(process.env, setup);
