import os from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { DEFAULT_LABEL } from "./label.ts";

/** What a value of each kind is: durations in ms, sizes in bytes. */
interface Values {
  text: string;
  flag: boolean;
  count: number;
  duration: number;
  size: number;
  pairs: Readonly<Record<string, string>>;
}

/** A setting: its flag, its variables in order of precedence, its default in words. */
interface Spec<Kind extends keyof Values = keyof Values> {
  readonly flag: string;
  readonly env: readonly string[];
  readonly kind: Kind;
  readonly default: string;
  readonly help: string;
}

function spec<Kind extends keyof Values>(flag: string, env: readonly string[], kind: Kind, standard: string, help: string): Spec<Kind> {
  return { flag, env, kind, default: standard, help };
}

/** All settings. cacheprog's names stand where they mean the same; its S3 settings have no counterpart, because buckets are the server's. */
export const SPECS = {
  server: spec("server", ["STOWHOUSE_GO_SERVER", "STOWHOUSE_SERVER"], "text", "", "servers by priority, comma-separated; without one the disk store works alone"),
  token: spec("token", ["STOWHOUSE_GO_TOKEN", "STOWHOUSE_TOKEN"], "text", "", "API key or session token"),
  directory: spec("dir", ["STOWHOUSE_GO_DIR", "CACHEPROG_ROOT_DIRECTORY"], "text", "", "disk store (default: stowhouse/go in the user's cache directory)"),
  maxSize: spec("max-size", ["STOWHOUSE_GO_MAX_SIZE"], "size", "10GiB", "size of the disk store; beyond it what was not used for longest goes"),
  maxAge: spec("max-age", ["STOWHOUSE_GO_MAX_AGE"], "duration", "5d", "what was not used for so long goes"),
  prefix: spec("prefix", ["STOWHOUSE_GO_PREFIX"], "text", "", "keeps a tool's entries apart, like golangci-lint's; a template with {GOOS}, {GOARCH}, {GOVERSION}, {command}, {env.NAME}"),
  label: spec("label", ["STOWHOUSE_GO_LABEL"], "text", DEFAULT_LABEL, "which build's bundle to ask for; a template"),
  bundle: spec("no-bundle", ["STOWHOUSE_GO_NO_BUNDLE"], "flag", "false", "don't ask for the bundle of what the last build used"),
  memory: spec("memory", ["STOWHOUSE_GO_MEMORY"], "size", "256MiB", "of the bundle kept in memory; more goes to the disk store at once"),
  getTimeout: spec("get-timeout", ["STOWHOUSE_GO_GET_TIMEOUT", "CACHEPROG_REMOTE_GET_TIMEOUT"], "duration", "5s", "longest wait for an output"),
  putTimeout: spec("put-timeout", ["STOWHOUSE_GO_PUT_TIMEOUT", "CACHEPROG_REMOTE_PUT_TIMEOUT"], "duration", "60s", "longest wait for the server to store one"),
  uploads: spec("uploads", ["STOWHOUSE_GO_UPLOADS", "CACHEPROG_MAX_CONCURRENT_REMOTE_PUTS"], "count", "4", "uploads at once"),
  minUpload: spec("min-upload", ["STOWHOUSE_GO_MIN_UPLOAD", "CACHEPROG_MIN_REMOTE_PUT_SIZE"], "size", "0", "smaller outputs are not uploaded"),
  drain: spec("drain", ["STOWHOUSE_GO_DRAIN", "CACHEPROG_MAX_BACKGROUND_WAIT"], "duration", "10s", "longest wait for uploads at the end"),
  readOnly: spec("read-only", ["STOWHOUSE_GO_READ_ONLY"], "flag", "false", "upload nothing; the disk store is still written"),
  disableGet: spec("disable-get", ["STOWHOUSE_GO_DISABLE_GET", "CACHEPROG_DISABLE_GET"], "flag", "false", "build everything anew"),
  disablePut: spec("disable-put", ["STOWHOUSE_GO_DISABLE_PUT", "CACHEPROG_DISABLE_PUT"], "flag", "false", "tell go that nothing can be stored, on disk neither"),
  logLevel: spec("log-level", ["STOWHOUSE_GO_LOG_LEVEL", "CACHEPROG_LOG_LEVEL"], "text", "warn", "debug, info, warn, error or silent"),
  logFile: spec("log-file", ["STOWHOUSE_GO_LOG_FILE"], "text", "", "where the log goes (default: standard error)"),
  stats: spec("stats", ["STOWHOUSE_GO_STATS"], "flag", "false", "print statistics at the end, whatever the log level"),
  cpuProfile: spec("cpu-profile", ["STOWHOUSE_GO_CPU_PROFILE", "CACHEPROG_CPU_PROFILE_PATH"], "text", "", "write a CPU profile (.cpuprofile) here"),
  heapProfile: spec("heap-profile", ["STOWHOUSE_GO_HEAP_PROFILE", "CACHEPROG_MEM_PROFILE_PATH"], "text", "", "write a heap profile (.heapprofile) here"),
  trace: spec("trace", ["STOWHOUSE_GO_TRACE", "CACHEPROG_TRACE_PROFILE_PATH"], "text", "", "write a trace of all requests (Chrome's JSON) here"),
  pushEndpoint: spec("metrics-endpoint", ["STOWHOUSE_GO_METRICS_ENDPOINT", "CACHEPROG_METRICS_PUSH_ENDPOINT"], "text", "", "Pushgateway or VictoriaMetrics URL that gets the metrics at the end"),
  pushMethod: spec("metrics-method", ["STOWHOUSE_GO_METRICS_METHOD", "CACHEPROG_METRICS_PUSH_METHOD"], "text", "POST", "POST or PUT; GET, which is cacheprog's default, is sent as POST"),
  pushHistograms: spec("metrics-vm-histograms", ["STOWHOUSE_GO_METRICS_VM_HISTOGRAMS", "CACHEPROG_USE_VM_HISTOGRAMS"], "flag", "false", "histograms with VictoriaMetrics' ranges instead of Prometheus' bounds"),
  pushPlain: spec("metrics-no-gzip", ["STOWHOUSE_GO_METRICS_NO_GZIP"], "flag", "false", "don't compress the metrics"),
  pushLabels: spec("metrics-labels", ["STOWHOUSE_GO_METRICS_LABELS", "CACHEPROG_METRICS_PUSH_EXTRA_LABELS"], "pairs", "", "labels for all metrics: name=value, comma-separated"),
  pushHeaders: spec("metrics-headers", ["STOWHOUSE_GO_METRICS_HEADERS", "CACHEPROG_METRICS_PUSH_EXTRA_HEADERS"], "pairs", "", "headers of the push: name:value, comma-separated"),
} as const satisfies Record<string, Spec>;

export type Settings = { readonly [Name in keyof typeof SPECS]: Values[(typeof SPECS)[Name]["kind"]] };

export interface Read {
  readonly settings: Settings;
  /** What was wrong with flags and variables; in their place stand the defaults. */
  readonly problems: readonly string[];
}

/** Flags before variables before defaults. A typo must not cost a build, so it costs only its setting. */
export function readSettings(args: readonly string[], env: Readonly<Record<string, string | undefined>>): Read {
  const { given, problems } = parseFlags(args);
  const settings = Object.entries<Spec>(SPECS).map(([name, of]) => {
    const standard = PARSERS[of.kind](of.default);
    const variable = of.env.find((one) => env[one] !== undefined && env[one] !== "");
    const flag = given[of.flag];
    if (flag === undefined && variable === undefined) return [name, standard];
    const [text, where] = flag === undefined ? [env[variable!]!, variable!] : [String(flag), `--${of.flag}`];
    const value = PARSERS[of.kind](text.trim());
    if (value === undefined) problems.push(`${where}: expected ${EXPECTED[of.kind]}, found ${JSON.stringify(text)}`);
    return [name, value ?? standard];
  });
  return { settings: Object.fromEntries(settings) as Settings, problems };
}

function parseFlags(args: readonly string[]): { given: Record<string, unknown>; problems: string[] } {
  const options = Object.fromEntries(Object.values<Spec>(SPECS).map(({ flag, kind }) => [flag, { type: kind === "flag" ? ("boolean" as const) : ("string" as const) }]));
  const { values, tokens } = parseArgs({ args: [...args], options, strict: false, tokens: true });
  const problems = tokens.flatMap((token) => {
    if (token.kind === "positional") return [`${token.value}: there are only flags`];
    return token.kind === "option" && !(token.name in options) ? [`${token.rawName}: there is no such flag`] : [];
  });
  return { given: values, problems };
}

const EXPECTED: Record<Spec["kind"], string> = {
  text: "text", flag: "1, true, 0 or false", count: "a whole number from 1 to 1000", duration: "a duration like 10s", size: "a size like 10GiB", pairs: "name=value pairs, comma-separated",
};
const MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const BYTES: Readonly<Record<string, number>> = { "": 1, b: 1, kb: 1e3, mb: 1e6, gb: 1e9, kib: 2 ** 10, mib: 2 ** 20, gib: 2 ** 30, tib: 2 ** 40 };

const PARSERS: Record<Spec["kind"], (text: string) => unknown> = {
  text: (text) => text,
  flag: (text) => (/^(?:1|true|yes|on)$/i.test(text) ? true : /^(?:0|false|no|off|)$/i.test(text) ? false : undefined),
  count: (text) => (/^[1-9]\d{0,2}$|^1000$/.test(text) ? Number(text) : undefined),
  duration: (text) => scaled(text, MS),
  size: (text) => scaled(text, BYTES),
  pairs: (text) => {
    const pairs = text.split(",").map((pair) => pair.trim()).filter((pair) => pair !== "").map((pair) => /^([^=:]+)[=:](.*)$/.exec(pair));
    return pairs.every((pair) => pair !== null) ? Object.fromEntries(pairs.map(([, name, value]) => [name!.trim(), value!.trim()])) : undefined;
  },
};

function scaled(text: string, units: Readonly<Record<string, number>>): number | undefined {
  const [, number, unit] = /^(\d+(?:\.\d+)?)\s*([a-zA-Z]*)$/.exec(text) ?? [];
  const scale = units[unit?.toLowerCase() ?? ""] ?? (number === "0" ? 0 : undefined);
  return number === undefined || scale === undefined ? undefined : Math.round(Number(number) * scale);
}

/** Where the disk store is unless it is said. */
export function defaultDirectory(env: Readonly<Record<string, string | undefined>>): string {
  const home = os.homedir();
  const cache = process.platform === "win32" ? env["LOCALAPPDATA"] : process.platform === "darwin" ? path.join(home, "Library/Caches") : env["XDG_CACHE_HOME"];
  return path.join(cache || path.join(home, ".cache"), "stowhouse/go");
}

export function help(): string {
  const rows = Object.values<Spec>(SPECS).map((one) => {
    const standard = one.default === "" || one.kind === "flag" ? "" : ` [${one.default}]`;
    return `  --${(one.flag + (one.kind === "flag" ? "" : ` <${one.kind === "pairs" ? "pairs" : one.kind}>`)).padEnd(30)} ${one.help}${standard}\n${" ".repeat(35)}${one.env.join(", ")}`;
  });
  return [
    "Usage: GOCACHEPROG=\"stowhouse gocacheprog [options]\" go build ./...",
    "",
    "Go's build cache on a Stowhouse server: what the last build used comes in one stream before go asks for it. Go 1.24 or newer starts it by itself;",
    "older ones use GOCACHE, a directory that the action's restore and save steps keep. Whatever fails, the build goes on from disk or from source.",
    "",
    "Options, each also a variable:",
    ...rows,
    "",
  ].join("\n");
}
