import type { FastifyInstance } from "fastify";
import { loadCaches, registerAdmin, registerOpenApi } from "./admin/index.ts";
import { resolveConfig, type Config, type StorageSettings } from "./config.ts";
import type { Cache } from "./core/caches.ts";
import { createCore, type Core } from "./core/core.ts";
import type { Database } from "./database/database.ts";
import { openPostgres } from "./database/postgres.ts";
import { openSqlite } from "./database/sqlite.ts";
import { registerHealth, type Readiness } from "./health.ts";
import { Accounting } from "./http/accounting.ts";
import { registerAuthRoutes } from "./http/auth-routes.ts";
import { RequestAudit } from "./http/audit.ts";
import { Auth } from "./http/auth.ts";
import { Front } from "./http/front.ts";
import { registerRateLimit } from "./http/limits.ts";
import { Listeners } from "./http/listeners.ts";
import { Log } from "./http/log.ts";
import { Receiver } from "./http/receive.ts";
import { Sender } from "./http/send.ts";
import { createHttpServer } from "./http/server.ts";
import { Signer } from "./http/signing.ts";
import { Urls } from "./http/urls.ts";
import { refuse } from "./http/errors.ts";
import { Identity } from "./identity/identity.ts";
import { sharedSecret } from "./identity/tokens.ts";
import { Metrics } from "./metrics.ts";
import { protocols as allProtocols } from "./protocols/index.ts";
import type { Protocol, ProtocolContext } from "./protocols/protocol.ts";
import { declarations, identitySettings, logLevel, Reconfiguration, tuning, urlKeysOf } from "./reconfigure.ts";
import { openFilesystem } from "./storage/filesystem.ts";
import { StoragePlacement } from "./storage/placement.ts";
import { openReadCache } from "./storage/read-cache.ts";
import { VERSION } from "./version.ts";
import { assertOwnDirectory } from "./storage/marker.ts";
import type { BlobStore } from "./storage/store.ts";

export interface Dependencies {
  /** Default: JSON lines on standard output. */
  readonly log?: Log;
  /** Default: all. */
  readonly protocols?: readonly Protocol[];
}

/** A server that does not listen yet: `app.inject` works, `app.listen` starts it, `close` ends it gracefully. */
export interface Stowhouse {
  readonly app: FastifyInstance;
  /** Ports beside the one of `app.listen`. */
  readonly listeners: Listeners;
  readonly core: Core;
  readonly identity: Identity;
  readonly metrics: Metrics;
  readonly log: Log;
  readonly readiness: Readiness;
  readonly reconfiguration: Reconfiguration;
  /** Stops taking requests, lets the running ones finish, writes everything down. */
  close(): Promise<void>;
}

/** Redirects pay for themselves from about this size on, bytes. */
const REDIRECT_FROM = 1024 * 1024;
/** A client that takes no byte of its answer for so long is cut off, ms. */
const SEND_STALL = 60_000;

/** The default configuration, for tests and tools. */
export function defaultConfig(raw: unknown = {}): Config {
  return resolveConfig(raw, { protocols: protocolOptions(allProtocols) });
}

export function protocolOptions(list: readonly Protocol[] = allProtocols) {
  return Object.fromEntries(list.map((protocol) => [protocol.name, protocol.options]));
}

/** Wires a server together; the one place that picks drivers. @throws config, and what the drivers throw when they can't open */
export async function buildApp(config: Config, dependencies: Dependencies = {}): Promise<Stowhouse> {
  const log = dependencies.log ?? openLog(config);
  const metrics = new Metrics(VERSION);
  const database = await openDatabase(config);
  const origins = await openStores(config, database, metrics);
  const stores = await openReadCaches(config, origins, metrics);
  const placement = new StoragePlacement(stores, (cache) => core.caches.require(cache));
  const core: Core = createCore({
    database, stores, origins, placement,
    caches: Object.entries(config.caches).map(([name, settings]): Cache => ({ ...settings, name })),
    inlineLimit: config.inlineLimit,
    bodyMemory: config.memory.bodies,
    entryMemory: config.memory.entries,
    uploads: { idle: config.limits.uploadIdle, parts: config.limits.partsPerUpload, perActor: config.limits.uploads },
    tuning: tuning(config),
    onAudit: (record) => log.info("audit", record),
    onEvict: (entry, reason) => metrics.evicted(entry.cache, reason, entry.size),
    onError: (error) => log.error("background work failed; it is tried again", { cause: String((error as Error).stack ?? error) }),
  });
  metrics.watch(core, (storage) => placement.failing(storage));
  const identity = await Identity.open({ database, issuer: config.auth.issuer, ...identitySettings(config) });
  const ownUrlKey = async () => Buffer.from(await sharedSecret(database, "url-signing"), "base64url");
  const signer = new Signer(await urlKeysOf(config, ownUrlKey));
  const audit = new RequestAudit(core.journal);
  const auth = new Auth({ authenticator: identity.authenticator, caches: core.caches, audit, signer });
  const accounting = new Accounting({ meter: metrics, journal: core.journal, log, accessLog: config.log.access, auditReads: config.audit.reads, audit });
  const limit = { perMinute: config.limits.requestsPerMinute };
  const front = new Front({ catalog: core.catalog, accounting, epoch: () => auth.epoch, used: (header) => identity.authenticator.used(header), unlimited: () => limit.perMinute === 0, enabled: config.memory.front });
  const receive = new Receiver({ stall: config.limits.bodyStall, bodies: config.limits.concurrentBodies, small: config.inlineLimit });
  const readiness: Readiness = { draining: false };
  const listeners = new Listeners();
  const { cert, key, clientCa, requireClientCert } = config.tls;
  const app = createHttpServer(
    {
      headerSize: config.limits.headerSize, headersTimeout: config.limits.headersTimeout, jsonBody: config.limits.jsonBody, trustedProxies: config.trustedProxies,
      tls: cert && key ? { cert, key, clientCa, requireClientCert } : undefined,
    },
    { auth, accounting, front, receive, listeners, log, readiness },
  );
  await registerRateLimit(app, limit);
  const context = {
    core, auth, signer, listeners, log,
    receive,
    registry: metrics.registry,
    data: config.data,
    send: new Sender(core.bodies, core.catalog, front, { small: config.inlineLimit, redirectFrom: REDIRECT_FROM, stall: SEND_STALL }),
    urls: new Urls(config.url, `http://${config.listen.host}:${config.listen.port}`),
  };

  await registerOpenApi(app);
  registerHealth(app, { core, metrics, auth, readiness, metricsAccess: config.metrics.listen ? "elsewhere" : config.metrics.access });
  registerAuthRoutes(app, { identity, auth, caches: core.caches, journal: core.journal });
  const managed = await loadCaches(core, declarations(config), log);
  await registerAdmin(app, { core, auth, identity, caches: managed, version: VERSION });
  for (const protocol of dependencies.protocols ?? allProtocols) {
    const options = config.protocols[protocol.name];
    if (options?.enabled !== false) await registerProtocol(app, protocol, { ...context, options: options as never }, log);
  }
  app.addHook("onClose", async () => {
    await identity.keys.close();
    await core.close();
    await log.drain();
  });
  // The last one is the first to run.
  app.addHook("onClose", () => listeners.ended());
  const reconfiguration = new Reconfiguration(config, { core, identity, signer, ownUrlKey, managed, accounting, limit, metrics, log });
  return { app, listeners, core, identity, metrics, log, readiness, reconfiguration, close: () => app.close() };
}

/** Mounts a protocol with its own status table and labels; bodies arrive as streams. */
async function registerProtocol(app: FastifyInstance, protocol: Protocol, context: ProtocolContext<never>, log: Log): Promise<void> {
  await app.register(async (scope) => {
    scope.removeAllContentTypeParsers();
    scope.addContentTypeParser("*", (_request, payload, done) => done(null, payload));
    scope.addHook("onRoute", (route) => {
      route.config = { op: "other", ...route.config, protocol: protocol.name };
    });
    scope.setErrorHandler((error, request, reply) => refuse(request, reply, error, protocol.refusals, log));
    await protocol.plugin(scope, context);
  });
}

function openDatabase(config: Config): Promise<Database> {
  const { type, path, url, maxConnections } = config.database;
  return type === "postgres" ? openPostgres({ url: url!, maxConnections }) : openSqlite({ path, shared: config.processes > 1 });
}

async function openStores(config: Config, database: Database, metrics: Metrics): Promise<Map<string, BlobStore>> {
  const stores = new Map<string, BlobStore>();
  for (const [name, storage] of Object.entries(config.storages)) {
    stores.set(name, metrics.metered(name, storage.type === "s3" ? await openBucket(config, storage) : await openDirectory(config, name, storage.path!, database), storage.redirect));
  }
  return stores;
}

/** The same storages, with a read cache in front of those that are to have one. */
async function openReadCaches(config: Config, origins: ReadonlyMap<string, BlobStore>, metrics: Metrics): Promise<Map<string, BlobStore>> {
  const stores = new Map(origins);
  for (const [name, { readCache }] of Object.entries(config.storages)) {
    if (readCache.size === 0) continue;
    const cached = await openReadCache(origins.get(name)!, { path: readCache.path!, size: readCache.size, sharers: config.processes, minFree: config.eviction.minFree, onRead: metrics.readCache(name) });
    stores.set(name, cached);
  }
  return stores;
}

async function openDirectory(config: Config, name: string, root: string, database: Database): Promise<BlobStore> {
  const store = await openFilesystem({ root, unwrittenBytes: config.memory.unwritten });
  await assertOwnDirectory(name, root, {
    id: (candidate) => database.write("secret", { name: `storage:${name}`, candidate, now: Date.now() }),
    inUse: async () => database.read("storeInUse", { store: name }),
  });
  return store;
}

/** The SDK takes about a second to load: only who has a bucket pays for it. */
async function openBucket(config: Config, storage: StorageSettings): Promise<BlobStore> {
  const { openS3 } = await import("./storage/s3.ts");
  return openS3(storage.s3!, config.memory.unwritten);
}

/** The log on standard output. */
export function openLog(config: Config): Log {
  return new Log(logLevel(config));
}
