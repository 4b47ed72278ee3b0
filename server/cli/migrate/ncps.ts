import path from "node:path";
import { HTTP_URL } from "../../config/kinds.ts";
import { dropped, elsewhere, Misfit, translate, type Draft, type Take } from "./draft.ts";
import type { Theirs } from "./theirs.ts";
import { upstreams } from "./ncps-upstreams.ts";
import { address, flag, FOR_EVER, list, ncpsSize, publicKey, text, UNLIMITED, whole } from "./values.ts";

/** Where ncps's one cache stands in ours: it serves without a name, at the root. */
const CACHE = ["caches", "default"];
const NIX = ["protocols", "nix"];
const NIX_CACHE = [...NIX, "caches", "default"];
const LEVELS = ["trace", "debug", "info", "warn", "error", "fatal"];

const NO_LOCKS = "replicas of one PostgreSQL need no locks between them";
const NO_CHUNKS = "NARs are kept whole, as they came";

/** Every setting of ncps by its path in a configuration file, and what becomes of it. */
export const NCPS: Readonly<Record<string, Take>> = {
  "server.addr": (value, draft) => {
    const [, host = "", port] = /^(.*):(\d+)$/.exec(text(value)) ?? [];
    draft.set(["listen"], address(host, port), "server.addr");
  },
  "log.level": (value, draft) => {
    const level = text(value).toLowerCase();
    const ours = level === "panic" ? "fatal" : level === "disabled" ? "silent" : LEVELS.find((one) => one === level);
    if (ours === undefined) throw new Misfit(`expected one of ${LEVELS.join(", ")}`);
    draft.set(["log", "level"], ours, "log.level");
  },
  "analytics.reporting.enabled": dropped("analytics.reporting.enabled", "nothing is ever reported to anybody"),
  "analytics.reporting.samples": dropped("analytics.reporting.samples", "nothing is ever reported to anybody"),
  "opentelemetry.enabled": dropped("opentelemetry.enabled", "there is no OpenTelemetry; logs are JSON lines on standard output, figures are at /metrics"),
  "opentelemetry.grpc-url": dropped("opentelemetry.grpc-url", "there is no OpenTelemetry; let a collector scrape /metrics"),
  "prometheus.enabled": (value, draft) => {
    if (!flag(value)) draft.set(["metrics", "access"], "admin", "prometheus.enabled: false; only admin keys read /metrics");
    else draft.set(["metrics", "access"], "open", "prometheus.enabled");
  },
  "pprof.addr": dropped("pprof.addr", "there is no profiler to listen to; node --inspect has one"),
  "cache.hostname": (value, draft) => {
    draft.set([...NIX_CACHE, "keyName"], text(value), "cache.hostname; keys made here are called this with -1 behind");
  },
  "cache.database-url": database,
  "cache.database.pool.max-open-conns": elsewhere,
  "cache.database.pool.max-idle-conns": dropped("cache.database.pool.max-idle-conns", "idle connections are closed by themselves"),
  "cache.storage.local": (value, draft) => local("cache.storage.local", value, draft),
  "cache.data-path": (value, draft, theirs) => {
    if (theirs.get("cache.storage.local") === undefined) local("cache.data-path", value, draft);
    else draft.drop("cache.data-path", "cache.storage.local says it");
  },
  "cache.storage.s3.bucket": (_value, draft, theirs) => bucket("cache.storage.s3", draft, theirs),
  "storage.s3.bucket": (_value, draft, theirs) => bucket("storage.s3", draft, theirs),
  ...Object.fromEntries(["cache.storage.s3", "storage.s3"].flatMap((at) =>
    ["endpoint", "region", "access-key-id", "secret-access-key", "force-path-style", "use-ssl"].map((name) => [`${at}.${name}`, elsewhere]))),
  "cache.max-size": (value, draft) => draft.set([...CACHE, "quota"], ncpsSize(value), "cache.max-size"),
  "cache.lru.schedule": dropped("cache.lru.schedule", "room is made all the time, between eviction.highWater and lowWater"),
  "cache.lru.timezone": dropped("cache.lru.timezone", "there is no schedule"),
  "cache.temp-path": (value, draft) => draft.set([...NIX, "proxy", "spool"], text(value), "cache.temp-path; on a disk, not in RAM"),
  "cache.sign-narinfo": (value, draft) => draft.set([...NIX_CACHE, "sign"], flag(value) ? "always" : "never", "cache.sign-narinfo"),
  "cache.secret-key-path": (value, draft) => {
    draft.drop("cache.secret-key-path", "keys stand in the configuration, not in files of their own");
    draft.todo("signing key", `put the content of ${text(value)} into protocols.nix.caches.default.signingKeys: clients know its public key`);
  },
  "cache.trusted-upload-keys": (value, draft) => draft.set([...NIX_CACHE, "trustedKeys"], list(value).map(publicKey), "cache.trusted-upload-keys"),
  "cache.require-trusted-signature": dropped("cache.require-trusted-signature", "what nobody trusted has signed is signed by a key of its own, which no list contains"),
  "cache.allow-put-verb": (value, draft) => {
    draft.drop("cache.allow-put-verb", "writing is a right of keys");
    if (flag(value)) draft.todo("pushing", "make a key with `stowhouse key create NAME --permission write`, and give it to those who push, in netrc");
  },
  "cache.allow-delete-verb": (value, draft) => {
    draft.drop("cache.allow-delete-verb", "DELETE is a right of admin keys");
    if (flag(value)) draft.todo("deleting", "make a key with `stowhouse key create NAME --permission admin` for those who delete");
  },
  "cache.upstream.urls": (_value, draft, theirs) => upstreams("cache.upstream.urls", draft, theirs),
  "cache.upstream.caches": (_value, draft, theirs) => {
    if (theirs.get("cache.upstream.urls") === undefined) upstreams("cache.upstream.caches", draft, theirs);
    else draft.drop("cache.upstream.caches", "cache.upstream.urls says it");
  },
  "cache.upstream.public-keys": elsewhere,
  "cache.upstream.dialer-timeout": elsewhere,
  "cache.upstream.response-header-timeout": elsewhere,
  "cache.netrc-file": elsewhere,
  "cache.redis": (_value, draft, theirs) => {
    draft.drop("cache.redis", `no Redis: ${NO_LOCKS}`);
    const addresses = theirs.get("cache.redis.addrs");
    if (addresses !== undefined && list(addresses).length > 0) draft.todo("replicas", "several of them need PostgreSQL as database and S3 as storage, and nothing else");
  },
  "cache.lock": dropped("cache.lock", NO_LOCKS),
  "cache.download": dropped("cache.download", "no replica waits for another: each fetches what its own clients want"),
  "cache.inflight-staging": dropped("cache.inflight-staging", "no replica waits for another"),
  "cache.cdc": (_value, draft, theirs) => {
    draft.drop("cache.cdc", NO_CHUNKS);
    if (theirs.get("cache.cdc.enabled") === undefined) return;
    if (flag(theirs.get("cache.cdc.enabled"))) draft.todo("chunks", "what ncps has cut into chunks is fetched from the upstreams again");
  },
};

/** Our configuration for one of ncps's. */
export function fromNcps(theirs: Theirs, draft: Draft): void {
  // What ncps does without being told to.
  draft.set(["listen"], "0.0.0.0:8501", "ncps's default");
  draft.set([...CACHE, "quota"], UNLIMITED, "no cache.max-size; eviction.minFree keeps some of the disk free");
  draft.set([...CACHE, "retention"], FOR_EVER, "ncps keeps everything until it needs room");
  draft.set([...CACHE, "anonymousRead"], true, "everybody reads, as from ncps");
  draft.set([...CACHE, "untrustedShare"], "100%", "what readers without a key ask for may fill the cache");
  draft.set([...CACHE, "untrustedIdle"], FOR_EVER);
  translate(theirs, NCPS, draft);
  if (theirs.get("cache.secret-key-path") === undefined) {
    draft.todo("signing key", "ncps keeps its own in its database: for clients to go on with the public key they know, put the secret one into protocols.nix.caches.default.signingKeys; without it a new one is made, whose public key is at /pubkey");
  }
  draft.todo("contents", "nothing of what ncps has stored is taken over: what is asked for is fetched from the upstreams again");
}

function database(value: unknown, draft: Draft, theirs: Theirs): void {
  const url = text(value);
  const [scheme = ""] = url.split(":", 1);
  if (scheme === "sqlite") {
    // Of a bucket's server: what it keeps itself lies where the database lay.
    const file = url.replace(/^sqlite:(\/\/)?/, "").split("?", 1)[0]!;
    if (!draft.has(["data"])) draft.set(["data"], path.join(path.dirname(file), "stowhouse"), "beside cache.database-url");
    draft.drop("cache.database-url", "a database of our own is made in the data directory");
  } else if (scheme === "postgres" || scheme === "postgresql") {
    draft.set(["database", "type"], "postgres");
    draft.set(["database", "url"], url, "cache.database-url; better STOWHOUSE_DATABASE_URL_FILE");
    draft.todo("database", "name an empty one in database.url: ncps's tables are not ours");
  } else if (scheme === "mysql") {
    draft.drop("cache.database-url", "there is no MySQL; SQLite is used");
    draft.todo("database", "for several replicas, set database.type: postgres and database.url");
  } else throw new Misfit("expected a URL with sqlite, postgresql or mysql");
  const most = theirs.get("cache.database.pool.max-open-conns");
  if (most === undefined) return;
  if (draft.has(["database", "url"]) && Number(most) > 0) draft.set(["database", "maxConnections"], whole(most, 1, 1000), "cache.database.pool.max-open-conns");
  else draft.drop("cache.database.pool.max-open-conns", "the default is right for this database");
}

function local(setting: string, value: unknown, draft: Draft): void {
  draft.set(["data"], path.join(text(value), "stowhouse"), `${setting}; beside ncps's files, which may go`);
}

function bucket(at: string, draft: Draft, theirs: Theirs): void {
  const s3 = ["storages", "default", "s3"];
  draft.set(["storages", "default", "type"], "s3", at);
  draft.set([...s3, "bucket"], text(theirs.get(`${at}.bucket`)));
  draft.set([...s3, "prefix"], "stowhouse", "beside ncps's objects, which may go");
  const ours: readonly [theirs: string, field: string][] = [["region", "region"], ["access-key-id", "accessKeyId"], ["secret-access-key", "secretAccessKey"]];
  for (const [name, field] of ours) if (theirs.get(`${at}.${name}`)) draft.set([...s3, field], text(theirs.get(`${at}.${name}`)));
  const style = theirs.get(`${at}.force-path-style`);
  if (style !== undefined) draft.set([...s3, "pathStyle"], flag(style));
  const endpoint = theirs.get(`${at}.endpoint`);
  if (endpoint === undefined) return;
  const scheme = String(theirs.get(`${at}.use-ssl`)) === "false" ? "http" : "https";
  const url = /^https?:\/\//.test(text(endpoint)) ? text(endpoint) : `${scheme}://${text(endpoint)}`;
  if (HTTP_URL.parse(url) === undefined) throw new Misfit(`its endpoint: expected ${HTTP_URL.expected}`);
  if (new URL(url).hostname === "s3.amazonaws.com") draft.drop(`${at}.endpoint`, "AWS is the default");
  else draft.set([...s3, "endpoint"], url, `${at}.endpoint`);
}
