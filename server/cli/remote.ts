import { InvalidArgumentError, type Command } from "commander";
import { parseDuration } from "../config/units.ts";
import { AdminClient, type ServerOptions } from "./admin-client.ts";
import type { Io } from "./io.ts";

/** A command that talks to a server, with the options for that and `--json`. */
export function remote(parent: Command, name: string, description: string): Command {
  return parent
    .command(name)
    .description(description)
    .option("-s, --server <url>", "server (also STOWHOUSE_SERVER; default: http://127.0.0.1:8420)")
    .option("-t, --token <key>", "admin key (also STOWHOUSE_TOKEN; default on the server's machine: keys.env in its data directory)")
    .option("-d, --data <directory>", "the server's data directory (also STOWHOUSE_DATA; default: ./data)")
    .option("--json", "print JSON");
}

export interface RemoteOptions extends ServerOptions {
  readonly json?: boolean;
}

export function connect(options: ServerOptions, io: Io): AdminClient {
  return new AdminClient(options, io);
}

export function printJson(io: Io, value: unknown): void {
  io.stdout.write(`${JSON.stringify(value, null, 2)}\n`);
}

/** A whole number, for an option. @throws InvalidArgumentError */
export function whole(minimum: number, maximum: number) {
  return (text: string): number => {
    const value = Number(text);
    if (/^\d{1,15}$/.test(text) && value >= minimum && value <= maximum) return value;
    throw new InvalidArgumentError(`It is a number from ${minimum} to ${maximum}.`);
  };
}

/** One of these words, for an option. @throws InvalidArgumentError */
export function oneOf<const T extends readonly string[]>(words: T) {
  return (text: string): T[number] => {
    if (words.includes(text)) return text;
    throw new InvalidArgumentError(`It is one of ${words.join(", ")}.`);
  };
}

/** Milliseconds of a span in words (`90d`), for an option. @throws InvalidArgumentError */
export function span(text: string): number {
  try {
    return parseDuration(text);
  } catch {
    throw new InvalidArgumentError("It is a duration with its unit, like 30d, 2h30m or 5s.");
  }
}
