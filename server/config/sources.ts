import { extname } from "node:path";
import { parse as parseToml, TomlError } from "smol-toml";
import { parseDocument, LineCounter } from "yaml";
import { errors, type StowError } from "../core/errors.ts";
import type { Problems } from "./problems.ts";

/** Fields that a variable sets too; each variable may name a file instead, with `_FILE` behind its name. */
export const VARIABLES = {
  listen: "STOWHOUSE_LISTEN",
  data: "STOWHOUSE_DATA",
  url: "STOWHOUSE_URL",
  "auth.adminKey": "STOWHOUSE_ADMIN_KEY",
  "auth.writeKey": "STOWHOUSE_WRITE_KEY",
  "auth.readKey": "STOWHOUSE_READ_KEY",
  "auth.signingSecret": "STOWHOUSE_SIGNING_SECRET",
  "database.url": "STOWHOUSE_DATABASE_URL",
  "log.level": "STOWHOUSE_LOG_LEVEL",
} as const;

/** Options of the command line that set a field. Secrets are not among them: everyone on a machine sees its processes. */
export interface Flags {
  readonly listen?: string | undefined;
  readonly data?: string | undefined;
  readonly url?: string | undefined;
  readonly logLevel?: string | undefined;
}

const FLAGS = { listen: "listen", data: "data", url: "url", logLevel: "log.level" } as const;

export interface Sources {
  /** The configuration file; otherwise STOWHOUSE_CONFIG names it, otherwise there is none. */
  readonly file?: string | undefined;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly flags?: Flags;
  readonly readFile: (path: string) => string;
}

const LARGEST_FILE = 1024 * 1024;
/** Aliases a YAML file may resolve to: enough to share a few settings, too few to blow up. */
const MOST_ALIASES = 100;

/** Joins file, environment and flags to one raw configuration, later ones over earlier. @throws config for an unreadable file */
export function gather(sources: Sources, problems: Problems): unknown {
  const file = sources.file ?? (sources.env["STOWHOUSE_CONFIG"] || undefined);
  let raw: unknown = file === undefined ? {} : (parseFile(file, readText(file, "", sources)) ?? {});
  const set = (path: string, value: string | undefined, source: string) => {
    if (value === undefined) return;
    problems.origin(path, source);
    raw = withValue(raw, path.split("."), value);
    if (path === "database.url") raw = withValue(raw, ["database", "type"], "postgres");
  };
  for (const [path, variable] of Object.entries(VARIABLES)) set(path, variableValue(variable, path, sources, problems), variable);
  for (const [name, path] of Object.entries(FLAGS)) set(path, sources.flags?.[name as keyof Flags], `--${name.replace("L", "-l")}`);
  return raw;
}

function variableValue(variable: string, path: string, sources: Sources, problems: Problems): string | undefined {
  // An empty variable counts as absent: compose files and charts can't leave one out.
  const value = sources.env[variable] || undefined;
  const file = sources.env[`${variable}_FILE`] || undefined;
  if (file === undefined) return value;
  if (value !== undefined) {
    problems.add(path, `${variable} and ${variable}_FILE are both set; keep one`);
    return undefined;
  }
  const text = readText(file, ` (${variable}_FILE)`, sources).trim();
  if (text === "") problems.add(path, `${variable}_FILE names an empty file`);
  return text || undefined;
}

/** Reads a file of settings. @throws config when it can't be read, or is too large to be one */
export function readText(path: string, why: string, sources: Pick<Sources, "readFile">): string {
  let text: string;
  try {
    text = sources.readFile(path);
  } catch (cause) {
    throw errors.config(`the file ${path}${why} can't be read (${(cause as { code?: string }).code ?? "unknown error"})`, { cause });
  }
  if (text.length > LARGEST_FILE) throw errors.config(`the file ${path}${why} is larger than 1MiB`);
  return text;
}

/** A copy with one value set. Where a parent is no object, the value stays as it is: its check says what is wrong. */
function withValue(raw: unknown, path: readonly string[], value: string): unknown {
  const [name, ...rest] = path;
  if (name === undefined) return value;
  if (raw !== undefined && raw !== null && (typeof raw !== "object" || Array.isArray(raw))) return raw;
  return { ...raw, [name]: withValue((raw as Record<string, unknown> | null | undefined)?.[name], rest, value) };
}

/**
 * Parses a file by its extension. Syntax errors tell the place only, because parsers quote the source and the source
 * holds secrets. @throws config
 */
export function parseFile(path: string, text: string): unknown {
  switch (extname(path).toLowerCase()) {
    case ".yaml":
    case ".yml":
      return parseYaml(path, text);
    case ".json":
      return parseJson(path, text);
    case ".toml":
      return parseTomlFile(path, text);
    default:
      throw errors.config(`the file ${path} has an unknown extension; expected .yaml, .yml, .json or .toml`);
  }
}

function syntaxError(path: string, language: string, line?: number, column?: number, code = ""): StowError {
  const place = line === undefined ? "" : ` at line ${line}, column ${column}`;
  return errors.config(`the file ${path} is not valid ${language}${place}${code && ` (${code})`}`);
}

function parseYaml(path: string, text: string): unknown {
  try {
    const lines = new LineCounter();
    const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, logLevel: "silent" });
    const error = document.errors[0];
    if (error === undefined) return document.toJS({ maxAliasCount: MOST_ALIASES });
    const { line, col } = lines.linePos(error.pos[0]);
    throw syntaxError(path, "YAML", line, col, error.code.toLowerCase().replaceAll("_", " "));
  } catch (error) {
    if (error instanceof Error && error.name === "StowError") throw error;
    if (error instanceof ReferenceError) throw syntaxError(path, "YAML", undefined, undefined, `unknown aliases, or more than ${MOST_ALIASES}`);
    throw syntaxError(path, "YAML");
  }
}

function parseJson(path: string, text: string): unknown {
  try {
    return JSON.parse(text.replace(/^\uFEFF/, ""));
  } catch (error) {
    const [, line, column] = /\(line ([0-9]+) column ([0-9]+)\)$/.exec((error as Error).message) ?? [];
    throw syntaxError(path, "JSON", line === undefined ? undefined : Number(line), Number(column));
  }
}

function parseTomlFile(path: string, text: string): unknown {
  try {
    return parseToml(text);
  } catch (error) {
    if (error instanceof TomlError) throw syntaxError(path, "TOML", error.line, error.column);
    throw syntaxError(path, "TOML");
  }
}
