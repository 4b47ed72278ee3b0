import { readFileSync } from "node:fs";
import type { Command } from "commander";
import { parseFile, readText } from "../config/sources.ts";
import { errors } from "../core/errors.ts";
import type { Io } from "./io.ts";
import { fromCacheServer } from "./migrate/cache-server.ts";
import { Draft, type Note } from "./migrate/draft.ts";
import { fromNcps } from "./migrate/ncps.ts";
import { parseNcpsFlags } from "./migrate/ncps-flags.ts";
import { Theirs } from "./migrate/theirs.ts";
import { oneOf } from "./remote.ts";

const SERVERS = { ncps: fromNcps, "cache-server": fromCacheServer };
type Server = keyof typeof SERVERS;

/** `stowhouse migrate-config`: from the configuration of another server of Nix caches to ours. */
export function registerMigrateCommand(program: Command, io: Io): void {
  program
    .command("migrate-config")
    .description("Print our configuration for that of ncps or cache-server. What is left out, and what is left to do, is said on standard error.")
    .argument("[file]", "its configuration file (.yaml, .yml, .json or .toml)")
    .argument("[options...]", "behind --: options of `ncps serve`, which count more than the file")
    .option("--from <server>", "ncps or cache-server (default: what the file looks like)", oneOf(["ncps", "cache-server"]))
    .addHelpText("after", [
      "",
      "Examples:",
      "  stowhouse migrate-config /etc/ncps/config.yaml > stowhouse.yaml",
      "  stowhouse migrate-config -- --cache-hostname=cache.example.com --cache-upstream-url=https://cache.nixos.org …",
      "  stowhouse migrate-config ~/.config/cache-server/config.yaml > stowhouse.yaml",
      "",
      "What is printed may hold secrets of the file: keep it as private as that.",
      "",
    ].join("\n"))
    .action(async (first: string | undefined, rest: string[], options: { from?: Server }) => {
      const [file, words] = first?.startsWith("-") ? [undefined, [first, ...rest]] : [first, rest];
      if (file === undefined && words.length === 0) throw errors.badRequest("name a configuration file, or options of ncps behind --");
      const raw = file === undefined ? {} : read(file);
      const from = options.from ?? (file === undefined ? "ncps" : serverOf(file, raw));
      if (words.length > 0 && from !== "ncps") throw errors.badRequest("only ncps has options; name the file alone");
      const draft = new Draft();
      SERVERS[from](new Theirs(merged(raw, parseNcpsFlags(words))), draft);
      await assertRight(draft);
      io.stdout.write(draft.yaml(`Stowhouse in place of ${from}, made by \`stowhouse migrate-config\`.`));
      tell(io, `Left out of ${from}'s settings:`, draft.dropped);
      tell(io, "To be done by hand:", draft.byHand);
    });
}

/** @throws config */
function read(file: string): Record<string, unknown> {
  const raw = parseFile(file, readText(file, "", { readFile: (path) => readFileSync(path, "utf8") }));
  if (typeof raw !== "object" || raw === null || Array.isArray(raw)) throw errors.badRequest(`${file} holds no settings`);
  return raw as Record<string, unknown>;
}

/** Whose configuration it is. @throws badRequest */
function serverOf(file: string, raw: Record<string, unknown>): Server {
  const server = (raw["server"] ?? {}) as Record<string, unknown>;
  const thesis = Array.isArray(raw["caches"]) || ["database", "hostname", "server-port", "deploy-port"].some((name) => Object.hasOwn(server, name));
  const ncps = Object.hasOwn(raw, "cache") || Object.hasOwn(server, "addr");
  if (thesis !== ncps) return thesis ? "cache-server" : "ncps";
  if (thesis) throw errors.badRequest(`${file} looks like both; say --from ncps or --from cache-server`);
  if (Object.hasOwn(raw, "protocols") || Object.hasOwn(raw, "listen")) throw errors.badRequest(`${file} is a configuration of Stowhouse already`);
  throw errors.badRequest(`${file} is no configuration of ncps (cache: …) nor of cache-server (server: …, caches: a list)`);
}

/** Sections joined, values of the second before those of the first. */
function merged(one: Record<string, unknown>, other: Record<string, unknown>): Record<string, unknown> {
  const result = { ...one };
  for (const [name, value] of Object.entries(other)) {
    const before = result[name];
    const both = [before, value].every((each) => typeof each === "object" && each !== null && !Array.isArray(each));
    result[name] = both ? merged(before as Record<string, unknown>, value as Record<string, unknown>) : value;
  }
  return result;
}

/** By the server's own check: what is printed can be started. @throws config */
async function assertRight(draft: Draft): Promise<void> {
  // Only here: it loads the whole server.
  const [{ protocolOptions }, { resolveConfig }] = await Promise.all([import("../app.ts"), import("../config.ts")]);
  resolveConfig(draft.value, { protocols: protocolOptions() });
}

function tell(io: Io, heading: string, notes: readonly Note[]): void {
  if (notes.length > 0) io.stderr.write(`${heading}\n${notes.map(({ setting, text }) => `  ${setting}: ${text}\n`).join("")}`);
}
