import { join } from "node:path";
import type { Static } from "typebox";
import { s3Problems } from "../storage/s3/options.ts";
import type { GithubRule } from "./auth.ts";
import type { CacheSettings } from "./caches.ts";
import { isLoopback } from "./kinds.ts";
import { nearest, type Problems } from "./problems.ts";
import type { ConfigSchema } from "./schema.ts";

/** What the schema alone resolves to. */
export type Declared = Static<typeof ConfigSchema>;
type DeclaredCache = Declared["caches"][string];

/** The configuration of a server with nothing left to default: bytes, milliseconds, fractions of 1. */
export interface Config extends Omit<Declared, "database" | "caches" | "auth"> {
  database: Declared["database"] & { path: string };
  caches: Record<string, CacheSettings>;
  auth: Omit<Declared["auth"], "github"> & { github: Omit<Declared["auth"]["github"], "rules"> & { rules: GithubRule[] } };
}

/** Checks what more than one field says together, and fills in the defaults that depend on other fields. */
export function complete(declared: Declared, problems: Problems): Config {
  const clean = (...paths: string[]) => problems.clean(...paths);
  if (clean("database")) checkDatabase(declared, problems);
  if (clean("storages", "data")) checkStorages(declared, problems);
  if (clean("storages")) {
    for (const [name, cache] of Object.entries(declared.caches ?? {})) {
      if (clean(`caches.${name}`)) checkCache(cache, Object.keys(declared.storages), declared.limits?.entrySize, `caches.${name}.`, problems);
    }
  }
  if (clean("auth", "listen", "url")) checkAuth(declared, problems);
  if (clean("eviction") && declared.eviction.lowWater > declared.eviction.highWater) {
    problems.add("eviction.lowWater", "expected a share not above eviction.highWater");
  }
  if (clean("tls")) checkTls(declared.tls, problems);
  const own = declared.metrics?.listen;
  if (clean("metrics", "listen") && own !== undefined && own.port !== 0 && own.port === declared.listen.port) {
    problems.add("metrics.listen", "expected another port than listen has");
  }
  return declared as Config;
}

function checkDatabase({ data, database }: Declared, problems: Problems): void {
  const scheme = /^postgres(ql)?:\/\/./;
  if (database.type === "postgres" && database.url === undefined) problems.add("database.url", "is missing; type postgres needs it");
  else if (database.type === "sqlite" && database.url !== undefined) problems.add("database.url", "needs type postgres");
  else if (database.url !== undefined && !scheme.test(database.url)) {
    problems.add("database.url", "expected postgres://user:password@host:port/database");
  }
  if (database.type === "postgres" && database.path !== undefined) problems.add("database.path", "is only for type sqlite");
  database.path ??= join(data ?? "", "stowhouse.db");
}

function checkStorages({ data, storages }: Declared, problems: Problems): void {
  if (Object.keys(storages).length === 0) problems.add("storages", "expected at least one storage");
  const paths = new Map<string, string>();
  const checkDirectory = (directory: string, name: string, path: string) => {
    const key = join(directory, ".");
    const other = paths.get(key);
    if (other !== undefined) problems.add(path, `is the directory of storage ${other} too`);
    paths.set(key, name);
  };
  for (const [name, storage] of Object.entries(storages)) {
    const path = `storages.${name}`;
    const { readCache } = storage;
    if (storage.type === "s3") {
      if (readCache.size > 0) {
        readCache.path ??= join(data, "read-cache", name);
        checkDirectory(readCache.path, name, `${path}.readCache.path`);
      }
      if (storage.s3 === undefined) problems.add(`${path}.s3`, "is missing; type s3 needs it");
      else for (const { field, message } of s3Problems(storage.s3)) problems.add(`${path}.s3.${field}`, message);
      if (storage.path !== undefined) problems.add(`${path}.path`, "is only for type filesystem");
      continue;
    }
    if (storage.s3 !== undefined) problems.add(`${path}.s3`, "is only for type s3");
    if (storage.redirect) problems.add(`${path}.redirect`, "is only for type s3");
    if (readCache.size > 0 || readCache.path !== undefined) problems.add(`${path}.readCache`, "is only for type s3");
    if (name === "default") storage.path ??= join(data, "blobs");
    if (storage.path === undefined) {
      problems.add(`${path}.path`, "is missing; each filesystem storage needs a directory of its own");
      continue;
    }
    checkDirectory(storage.path, name, `${path}.path`);
  }
}

/** @param prefix of the paths in problems: `caches.x.`, or nothing */
export function checkCache(cache: DeclaredCache, storages: readonly string[], largest: number | undefined, prefix: string, problems: Problems): CacheSettings {
  const own = (cache.storages ??= [...storages]);
  for (const [index, name] of own.entries()) {
    const path = `${prefix}storages[${index}]`;
    if (own.indexOf(name) !== index) problems.add(path, `names ${name} twice`);
    if (storages.includes(name)) continue;
    const meant = nearest(name, storages);
    problems.add(path, `there is no storage ${name}${meant === undefined ? `; there is ${storages.join(", ")}` : `; did you mean ${meant}?`}`);
  }
  const shares = Object.entries(cache.shares ?? {});
  if (cache.placement !== "split" && cache.shares !== undefined) problems.add(`${prefix}shares`, "is only for placement split");
  if (cache.placement === "split" && !shares.some(([, weight]) => weight > 0)) {
    problems.add(`${prefix}shares`, "expected a weight above 0 for at least one storage; placement split needs it");
  }
  for (const [name] of shares) {
    if (!own.includes(name)) problems.add(`${prefix}shares.${name}`, "is not among the storages of this cache");
  }
  if (largest !== undefined) {
    if (cache.entrySize !== undefined && cache.entrySize > largest) problems.add(`${prefix}entrySize`, "expected a size not above limits.entrySize");
    cache.entrySize ??= largest;
  }
  return cache as CacheSettings;
}

function checkAuth({ auth, listen, url }: Declared, problems: Problems): void {
  const keys = [["adminKey", auth.adminKey], ["writeKey", auth.writeKey], ["readKey", auth.readKey]] as const;
  for (const [index, [name, value]] of keys.entries()) {
    const own = value?.split("\n") ?? [];
    const same = keys.slice(0, index).find(([, other]) => other?.split("\n").some((line) => own.includes(line)));
    if (same !== undefined) problems.add(`auth.${name}`, `is the same key as auth.${same[0]}; each key needs a value of its own`);
  }
  if (auth.sessionLifetime > auth.maxSessionLifetime) problems.add("auth.sessionLifetime", "expected a duration not above auth.maxSessionLifetime");
  const { github } = auth;
  const issuer = new URL(github.issuer);
  if (issuer.protocol === "http:" && !isLoopback(issuer.hostname.replace(/^\[|\]$/g, ""))) {
    problems.add("auth.github.issuer", "expected an https URL; plain http is allowed on loopback only, because whoever sits between decides who is believed");
  }
  for (const [index, rule] of github.rules.entries()) {
    const path = `auth.github.rules[${index}]`;
    if (rule.repositoryId === undefined && rule.repositoryOwnerId === undefined) {
      problems.add(path, "expected repositoryId or repositoryOwnerId; names can be taken over by others");
    }
    rule.trustedRefs ??= [`refs/heads/${rule.defaultBranch}`];
  }
  // An audience taken from a request would let tokens meant for others in: the request's sender chooses its Host.
  const loopback = isLoopback(listen.host) && listen.port !== 0;
  const origin = listen.host.includes(":") ? `http://[${listen.host}]:${listen.port}` : `http://${listen.host}:${listen.port}`;
  const audience = github.audience ?? url ?? (loopback ? origin : undefined);
  if (audience !== undefined) github.audience = audience;
  else if (github.rules.length > 0) problems.add("auth.github.audience", "is missing; rules need it, or url");
}

function checkTls(tls: Declared["tls"], problems: Problems): void {
  if (tls.cert !== undefined && tls.key === undefined) problems.add("tls.key", "is missing; tls.cert needs it");
  if (tls.key !== undefined && tls.cert === undefined) problems.add("tls.cert", "is missing; tls.key needs it");
  if (tls.clientCa !== undefined && tls.cert === undefined) problems.add("tls.clientCa", "needs tls.cert and tls.key");
  if (tls.requireClientCert && tls.clientCa === undefined) problems.add("tls.clientCa", "is missing; tls.requireClientCert needs it");
}
