import type { CacheDeclarations, ManagedCaches } from "./admin/index.ts";
import { CacheSettings, resolveCacheSettings, type Config } from "./config.ts";
import { changesBetween } from "./config/reloadable.ts";
import type { Cache, Caches } from "./core/caches.ts";
import type { Core, Tuning } from "./core/core.ts";
import type { Accounting } from "./http/accounting.ts";
import type { Level, Log } from "./http/log.ts";
import { urlKey, type Signer } from "./http/signing.ts";
import type { Identity, IdentitySettings } from "./identity/identity.ts";
import type { Metrics } from "./metrics.ts";

export interface Reconfigurable {
  readonly core: Core;
  readonly identity: Identity;
  readonly signer: Signer;
  /** Signs URLs where the configuration has no secret. */
  readonly ownUrlKey: () => Promise<Buffer>;
  readonly managed: ManagedCaches;
  readonly accounting: Accounting;
  readonly limit: { perMinute: number };
  readonly metrics: Metrics;
  readonly log: Log;
}

/** Takes a changed configuration over while the server runs, as far as config/reloadable.ts says. Requests go on meanwhile. */
export class Reconfiguration {
  readonly #started: Config;
  readonly #parts: Reconfigurable;
  #current: Config;
  #working: Promise<void> = Promise.resolve();

  constructor(started: Config, parts: Reconfigurable) {
    this.#started = started;
    this.#current = started;
    this.#parts = parts;
  }

  /** The configuration taken over last. Only its reloadable fields are sure to hold. */
  get current(): Config {
    return this.#current;
  }

  /** Takes over what can be; the rest is logged, field by field. One at a time. Never rejects: what fails is refused. */
  take(next: Config): Promise<void> {
    return (this.#working = this.#working.then(() => this.#take(next)).catch((error: unknown) => this.refuse((error as Error).message)));
  }

  /** Tells that a changed configuration is wrong, and that the one before stays. */
  refuse(problem: string): void {
    const { log, metrics } = this.#parts;
    metrics.configReloaded(false);
    log.error("the changed configuration is refused; the one before stays", { problem });
  }

  async #take(next: Config): Promise<void> {
    const { core, identity, signer, managed, accounting, limit, metrics, log } = this.#parts;
    const { reloadable } = changesBetween(this.#current, next);
    const { restart } = changesBetween(this.#started, next);
    // First what may fail, so that a refused configuration changes nothing.
    const urlKeys = await urlKeysOf(next, this.#parts.ownUrlKey);
    await identity.configure(identitySettings(next));
    signer.use(urlKeys);
    log.setLevel(logLevel(next));
    accounting.configure({ accessLog: next.log.access, auditReads: next.audit.reads });
    limit.perMinute = next.limits.requestsPerMinute;
    takeCaches(core.caches, this.#current, next, Object.keys(this.#started.storages));
    this.#current = next;
    managed.redeclare(declarations(next, this.#started));
    core.tune(tuning(next));
    metrics.configReloaded(true, restart.length > 0);
    if (reloadable.length > 0) log.info("configuration taken over", { fields: reloadable });
    if (restart.length > 0) log.warn("fields of the configuration have changed that need a restart", { fields: restart });
  }
}

/** Sets the caches of the configuration; those that stay as they are keep what RAM knows of them. @param open storages of this process */
function takeCaches(caches: Caches, before: Config, after: Config, open: readonly string[]): void {
  for (const name of Object.keys(before.caches)) if (!(name in after.caches)) caches.delete(name);
  for (const [name, settings] of Object.entries(after.caches)) {
    // A storage that is new, too, waits for the restart.
    const storages = settings.storages.filter((storage) => open.includes(storage));
    const cache: Cache = { ...settings, name, storages };
    if (storages.length > 0 && JSON.stringify(cache) !== JSON.stringify(caches.get(name))) caches.set(cache);
  }
}

/** How caches are declared through the admin API. @param started whose storages there are */
export function declarations(config: Config, started: Config = config): CacheDeclarations {
  const context = { storages: Object.keys(started.storages), entrySize: config.limits.entrySize };
  return { configured: new Set(Object.keys(config.caches)), schema: CacheSettings, resolve: (settings) => resolveCacheSettings(settings, context) };
}

export function tuning({ eviction, audit }: Config): Tuning {
  return {
    maintenance: { interval: eviction.interval, grace: eviction.grace, auditRetention: audit.retention },
    water: { high: eviction.highWater, low: eviction.lowWater },
    minFree: eviction.minFree,
  };
}

export function identitySettings({ auth }: Config): IdentitySettings {
  const { adminKey, writeKey, readKey, signingSecret, github, githubRuntime, sessionLifetime, maxSessionLifetime } = auth;
  return {
    fixedKeys: { admin: adminKey, write: writeKey, read: readKey },
    signingSecrets: signingSecret?.split("\n"),
    lifetimes: { default: Math.floor(sessionLifetime / 1000), max: Math.floor(maxSessionLifetime / 1000) },
    github: github.audience ? { issuer: github.issuer, audience: github.audience, rules: github.rules, runtimeTokens: githubRuntime.enabled, jwks: { timeout: github.jwksTimeout } } : undefined,
  };
}

/** @param own asked only where the configuration has no secret */
export async function urlKeysOf({ auth }: Config, own: () => Promise<Buffer>): Promise<Buffer[]> {
  return auth.signingSecret === undefined ? [await own()] : auth.signingSecret.split("\n").map(urlKey);
}

export function logLevel({ log: { level } }: Config): Level | "silent" {
  return level === "trace" ? "debug" : level === "fatal" ? "error" : level;
}
