import { InvalidArgumentError, type Command } from "commander";
import { configure, type ClientIo, type ConfigOptions } from "./nip/configure.ts";
import { listLocal, type ListOptions } from "./nip/list.ts";
import { pull, type PullOptions } from "./nip/pull.ts";
import { push, type PushOptions } from "./nip/push.ts";
import { status, type StatusOptions } from "./nip/status.ts";

export type { ClientIo } from "./nip/configure.ts";

/** The client side of the command line: `push`, `pull`, `status` and `config`, which know several servers and nip's local directory. */
export function registerClientCommands(program: Command, io: ClientIo): void {
  client(program, "pull", "Bring artifacts into nip's local directory: from there if they are there, else from a server. Prints hit or miss for each.")
    .argument("<keys...>", "keys of artifacts")
    .option("--force", "fetch what is in the local directory already, too")
    .option("--strict", "fail when one is missing; without it a build is never failed")
    .option("-q, --quiet", "no progress, no notes")
    .action((keys: string[], options: PullOptions) => pull(keys, options, io));

  client(program, "push", "Send artifacts of nip's local directory to a server.")
    .argument("[keys...]", "keys of artifacts")
    .option("--all", "everything in the local directory that the server does not hold yet")
    .option("--force", "send what the server holds already, too, and whatever the policy uploadOnBuild says")
    .option("--strict", "fail when one could not be sent; without it a build is never failed")
    .option("-q, --quiet", "no progress, no notes")
    .action((keys: string[], options: PushOptions) => push(keys, options, io));

  client(program, "status", "Say which servers there are, whether they answer, and what the key may do there.")
    .option("--json", "print JSON")
    .option("--strict", "fail when a server is of no use")
    .action((options: StatusOptions) => status(options, io));

  client(program, "config", "Show the client's settings, or change them in nip's remote-cache.json.")
    .option("--url <url>", "the server; empty for none")
    .option("--api-key <key>", "its API key; - reads it from standard input")
    .option("--enable", "use the remote cache")
    .option("--disable", "don't use it")
    .option("--timeout <seconds>", "longest time for one key", seconds)
    .option("--local-directory <path>", "where artifacts are kept on this machine")
    .option("--add-server <url>", "one more server, to fall back on (with --api-key and --priority)")
    .option("--priority <n>", "its priority: the lowest is asked first; the server of --url has 0", whole)
    .option("--remove-server <url>", "no longer use it")
    .option("--policy <name=value>", "uploadOnBuild, downloadBeforeBuild, fallbackToLocal, retryAttempts or retryDelay", (pair: string, before: string[]) => [...before, pair], [])
    .option("--json", "print JSON")
    .action((options: ConfigOptions) => configure(options, io));
}

/**
 * Adds `--local` to `stowhouse ls`, which lists a server otherwise. @param ls has the options `--format`, `--recent` and `--limit`
 * @param listRemote what it did before
 */
export function registerLocalListing<Options extends object>(ls: Command, io: ClientIo, listRemote: (options: Options) => Promise<void>): void {
  ls.option("--local", "the artifacts of nip's local directory, and which of them a server holds")
    .option("--directory <path>", "with --local: that directory (default: ~/.cache/nip/binary-cache)")
    .action((options: Options & ListOptions & { local?: boolean; json?: boolean }) =>
      options.local ? listLocal({ ...options, format: options.json ? "json" : options.format }, io) : listRemote(options),
    );
}

function client(program: Command, name: string, description: string): Command {
  return program
    .command(name)
    .description(description)
    .option("-s, --server <urls>", "servers by priority, comma-separated (also STOWHOUSE_SERVER, NIP_REMOTE_CACHE_URL)")
    .option("-t, --token <key>", "API key or session token (also STOWHOUSE_TOKEN, NIP_REMOTE_CACHE_API_KEY)")
    .option("--settings <file>", "nip's settings (default: ~/.config/nip/remote-cache.json)")
    .option("--directory <path>", "nip's local directory (default: ~/.cache/nip/binary-cache)");
}

function seconds(value: string): number {
  const number = Number(value);
  if (/^\d+(?:\.\d+)?$/.test(value) && number >= 1 && number <= 86_400) return number;
  throw new InvalidArgumentError("It is a number of seconds from 1 to 86400.");
}

function whole(value: string): number {
  if (/^-?\d{1,6}$/.test(value)) return Number(value);
  throw new InvalidArgumentError("It is a whole number.");
}
