import { finish } from "./finish.ts";
import { run } from "./run.ts";

await run(process.env, finish);
