import { errors } from "./core/errors.ts";
import { CacheSettings } from "./config/caches.ts";
import { check } from "./config/check.ts";
import { Problems } from "./config/problems.ts";
import { checkCache, complete, type Config, type Declared } from "./config/rules.ts";
import { configSchema, type ProtocolOptions } from "./config/schema.ts";
import { gather, type Sources } from "./config/sources.ts";

export { CacheSettings } from "./config/caches.ts";
export type { GithubRule } from "./config/auth.ts";
export type { Address } from "./config/kinds.ts";
export type { Config } from "./config/rules.ts";
export type { ProtocolOptions, ProtocolSettings } from "./config/schema.ts";
export type { Flags, Sources } from "./config/sources.ts";
export type { StorageSettings } from "./config/storages.ts";

interface Extras {
  /** Options schema of each protocol this server has, by its name in the configuration. */
  readonly protocols?: ProtocolOptions;
}

/** Resolves a raw configuration: sizes in bytes, durations in ms, shares as fractions, every default filled in. @throws config */
export function resolveConfig(raw: unknown, { protocols = {} }: Extras = {}): Config {
  return resolve(raw, protocols, new Problems());
}

/** Reads the configuration from defaults < file < environment < flags. @throws config, naming every wrong field at once */
export function loadConfig(sources: Sources & Extras): Config {
  const problems = new Problems();
  return resolve(gather(sources, problems), sources.protocols ?? {}, problems);
}

function resolve(raw: unknown, protocols: ProtocolOptions, problems: Problems): Config {
  const place = { path: "", field: "" };
  const declared = check(configSchema(protocols), raw, place, problems) as Declared | undefined;
  if (declared === undefined) throw problems.error();
  declared.caches &&= Object.assign(Object.create(null), { default: check(CacheSettings, {}, place, problems) }, declared.caches);
  const config = complete(declared, problems);
  if (!problems.none) throw problems.error();
  return config;
}

/** Where a cache made at run time stands. */
export interface CacheContext {
  /** Names of all storages. */
  readonly storages: readonly string[];
  /** limits.entrySize, bytes. */
  readonly entrySize: number;
}

/** Resolves the settings of a cache made through the admin API. @throws badRequest, naming every wrong field at once */
export function resolveCacheSettings(raw: unknown, context: CacheContext): CacheSettings {
  const problems = new Problems();
  const declared = check(CacheSettings, raw, { path: "", field: "caches.<name>" }, problems);
  if (!problems.none) throw errors.badRequest(problems.lines().join("; "));
  const settings = checkCache(declared as Parameters<typeof checkCache>[0], context.storages, context.entrySize, "", problems);
  if (!problems.none) throw errors.badRequest(problems.lines().join("; "));
  return settings;
}
