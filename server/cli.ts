import cluster from "node:cluster";
import { Command } from "commander";
import { registerAdminCommands } from "./cli/admin-commands.ts";
import { registerClientCommands, registerLocalListing, type ClientIo } from "./cli/client-commands.ts";
import { listEntries, type LsOptions } from "./cli/ls.ts";
import { registerMigrateCommand } from "./cli/migrate-config.ts";
import { StowError } from "./core/errors.ts";
import { VERSION } from "./version.ts";

const program = new Command("stowhouse")
  .description("One self-hosted remote build cache for every build tool.")
  .version(VERSION)
  .showHelpAfterError();

program
  .command("serve")
  .description("Run the server. Without any setting: 127.0.0.1:8420, SQLite and files under ./data.")
  .option("-c, --config <file>", "configuration file (YAML, JSON or TOML; also STOWHOUSE_CONFIG)")
  .option("-l, --listen <host:port>", "where to listen (also STOWHOUSE_LISTEN)")
  .option("-d, --data <directory>", "where to keep data (also STOWHOUSE_DATA)")
  .option("-u, --url <url>", "public URL of the server (also STOWHOUSE_URL)")
  .option("--log-level <level>", "debug, info, warn, error or silent (also STOWHOUSE_LOG_LEVEL)")
  .action(async (options: { config?: string; listen?: string; data?: string; url?: string; logLevel?: string }) => {
    const { config: file, ...flags } = options;
    // Only here: a build that asks for one artifact must not wait until a whole server was loaded.
    if (cluster.isWorker) return (await import("./worker.ts")).work();
    const [{ protocolOptions }, { ConfigFiles, onHangup, watchConfig }, { lastResort, serve, shutDown }] = await Promise.all([import("./app.ts"), import("./reload.ts"), import("./serve.ts")]);
    const files = new ConfigFiles({ file, flags, env: process.env, protocols: protocolOptions() });
    const config = files.load();
    const print = (text: string) => console.log(text);
    if (config.processes > 1) process.exit(await (await import("./cluster.ts")).supervise(config, files, print));
    const server = await serve(config, print);
    const { reconfiguration } = server;
    const watcher = watchConfig(files, (next) => void reconfiguration.take(next), (problem) => reconfiguration.refuse(problem));
    onHangup(() => watcher.now());
    let stopping = false;
    const stop = () => {
      // Who sends a second signal does not want to wait.
      if (stopping) process.exit(1);
      stopping = true;
      watcher.stop();
      setTimeout(() => process.exit(1), lastResort(reconfiguration.current)).unref();
      void shutDown(server, reconfiguration.current).then(() => process.exit(0));
    };
    process.on("SIGTERM", stop);
    process.on("SIGINT", stop);
  });

program
  .command("gocacheprog")
  .description("Go's build cache: GOCACHEPROG=\"stowhouse gocacheprog\" go build ./... (--help tells its options)")
  .argument("[options...]")
  .allowUnknownOption()
  .helpOption(false)
  .action(async (args: string[]) => {
    const { run } = await import("../action/client/gocache/run.ts");
    // A helper that dies takes the build with it.
    for (const event of ["uncaughtException", "unhandledRejection"] as const) process.on(event, (error: unknown) => console.error(`stowhouse: ${String(error)}`));
    process.exit(await run({ args, env: process.env, stdin: process.stdin, stdout: process.stdout, parent: process.ppid }));
  });

// A reader that has seen enough (`stowhouse ls | head`) is no failure.
process.stdout.on("error", (error: NodeJS.ErrnoException) => process.exit(error.code === "EPIPE" ? 0 : 1));

const io: ClientIo = { env: process.env, stdout: process.stdout, stderr: process.stderr, stdin: process.stdin };
const { ls } = registerAdminCommands(program, io);
registerLocalListing(ls, io, (options: LsOptions) => listEntries(options, io));
registerClientCommands(program, io);
registerMigrateCommand(program, io);

try {
  await program.parseAsync();
} catch (error) {
  const { code, message } = error as NodeJS.ErrnoException;
  if (error instanceof StowError) console.error(message);
  else if (code === "EADDRINUSE") console.error(`${message}: another process listens there. Stop it, or choose another address with --listen host:port.`);
  else if (code === "EACCES" || code === "EROFS") console.error(`${message}: choose a directory you may write to with --data.`);
  else console.error(error);
  process.exitCode = 1;
  // The channel to its parent would keep a worker alive.
  if (cluster.isWorker) process.exit();
}
