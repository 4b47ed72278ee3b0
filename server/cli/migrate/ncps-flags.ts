import { errors } from "../../core/errors.ts";
import { NCPS } from "./ncps.ts";

/** Options of `ncps serve` that are not called like their setting with `-` for `.`. */
const OTHER_NAMES: Readonly<Record<string, string>> = {
  "analytics-reporting-samples": "analytics.reporting.samples",
  "otel-enabled": "opentelemetry.enabled",
  "otel-grpc-url": "opentelemetry.grpc-url",
  "cache-database-url": "cache.database-url",
  "cache-lru-schedule-timezone": "cache.lru.timezone",
  "cache-upstream-url": "cache.upstream.urls",
  "cache-upstream-public-key": "cache.upstream.public-keys",
  "cache-trusted-upload-key": "cache.trusted-upload-keys",
  "netrc-file": "cache.netrc-file",
  "upstream-cache": "cache.upstream.caches",
  "upstream-public-key": "cache.upstream.public-keys",
  "upstream-dialer-timeout": "cache.upstream.dialer-timeout",
  "upstream-response-header-timeout": "cache.upstream.response-header-timeout",
};
const REPEATED = ["cache.upstream.urls", "cache.upstream.caches", "cache.upstream.public-keys", "cache.trusted-upload-keys"];
/** Sections that are dropped as a whole: their options by their beginning. */
const SECTIONS = ["cache.redis", "cache.lock", "cache.cdc", "cache.download", "cache.inflight-staging"];
/** What ncps's own command line has beside settings. */
const COMMAND = ["config", "help", "version"];

/** The setting an option of `ncps serve` sets. @param option without its dashes */
export function settingOf(option: string): string | undefined {
  const other = OTHER_NAMES[option];
  if (other !== undefined) return other;
  const section = SECTIONS.find((name) => option.startsWith(`${name.replace(".", "-")}-`));
  if (section !== undefined) return `${section}.${option.slice(section.length + 1)}`;
  return Object.keys(NCPS).find((setting) => setting.replaceAll(".", "-") === option);
}

/** A configuration as its file would be, of the options of `ncps serve`. @throws badRequest for what is no option of it */
export function parseNcpsFlags(words: readonly string[]): Record<string, unknown> {
  const root: Record<string, unknown> = {};
  const rest = [...words];
  for (let word = rest.shift(); word !== undefined; word = rest.shift()) {
    const [, option, attached] = /^--?([a-z0-9][a-z0-9-]*)(?:=(.*))?$/s.exec(word) ?? [];
    const setting = option === undefined || COMMAND.includes(option) ? undefined : settingOf(option);
    if (setting === undefined) throw errors.badRequest(`${word.split("=", 1)[0]} is no setting of ncps`);
    // A switch stands alone, or before the next option.
    const value = attached ?? (rest.length === 0 || rest[0]!.startsWith("--") ? true : rest.shift()!);
    const before = at(root, setting);
    put(root, setting, REPEATED.includes(setting) ? [...((before as string[] | undefined) ?? []), ...String(value).split(",")] : value);
  }
  return root;
}

function at(root: Record<string, unknown>, path: string): unknown {
  return path.split(".").reduce<unknown>((value, name) => (value as Record<string, unknown> | undefined)?.[name], root);
}

function put(root: Record<string, unknown>, path: string, value: unknown): void {
  const names = path.split(".");
  const last = names.pop()!;
  let section = root;
  for (const name of names) section = (section[name] ??= {}) as Record<string, unknown>;
  section[last] = value;
}
