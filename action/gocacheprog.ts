import { run } from "./client/gocache/run.ts";

/** GOCACHEPROG: go starts it, and speaks with it over standard input and output. */
const say = (error: unknown) => process.stderr.write(`stowhouse: ${(error as Error)?.stack ?? String(error)}\n`);
// A helper that dies takes the build with it: whatever was forgotten is said, and the build goes on.
process.on("uncaughtException", say);
process.on("unhandledRejection", say);
// go has ended.
process.stdout.on("error", () => process.exit(0));

process.exitCode = await run({ args: process.argv.slice(2), env: process.env, stdin: process.stdin, stdout: process.stdout, parent: process.ppid });
process.exit();
