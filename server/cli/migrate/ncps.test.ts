import { describe, expect, test } from "vitest";
import { Draft } from "./draft.ts";
import { NCPS, fromNcps } from "./ncps.ts";
import { parseNcpsFlags, settingOf } from "./ncps-flags.ts";
import { Theirs } from "./theirs.ts";

const NIXOS = "cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY=";
const OTHER = "builder-1:mB9FSh9qf2dCimDSUo8Zy7bkq5CX+/rkCWyvRCYg3Fs=";
const UPSTREAM = "protocols.nix.caches.default.upstreams.cache-nixos-org";
const one = (more: object = {}) => ({ "cache.upstream.urls": ["https://cache.nixos.org"], "cache.upstream.public-keys": [NIXOS], ...more });

function nested(flat: Record<string, unknown>): Record<string, unknown> {
  const root: Record<string, unknown> = {};
  for (const [path, value] of Object.entries(flat)) {
    const names = path.split(".");
    let at = root;
    for (const name of names.slice(0, -1)) at = (at[name] ??= {}) as Record<string, unknown>;
    at[names.at(-1)!] = value;
  }
  return root;
}

function migrate(flat: Record<string, unknown>): Draft {
  const draft = new Draft();
  fromNcps(new Theirs(nested(flat)), draft);
  return draft;
}
const at = (draft: Draft, path: string) => path.split(".").reduce<unknown>((value, name) => (value as Record<string, unknown> | undefined)?.[name], draft.value);

/** Theirs: what is given, and where ours has what; without that, it is dropped. */
const SETTINGS: Record<string, [given: Record<string, unknown>, path?: string, value?: unknown]> = {
  "server.addr": [{ "server.addr": ":8501" }, "listen", "0.0.0.0:8501"],
  "log.level": [{ "log.level": "panic" }, "log.level", "fatal"],
  "analytics.reporting.enabled": [{ "analytics.reporting.enabled": true }],
  "analytics.reporting.samples": [{ "analytics.reporting.samples": true }],
  "opentelemetry.enabled": [{ "opentelemetry.enabled": true }],
  "opentelemetry.grpc-url": [{ "opentelemetry.grpc-url": "http://otel:4317" }],
  "prometheus.enabled": [{ "prometheus.enabled": false }, "metrics.access", "admin"],
  "pprof.addr": [{ "pprof.addr": ":6060" }],
  "cache.hostname": [{ "cache.hostname": "ncps.local" }, "protocols.nix.caches.default.keyName", "ncps.local"],
  "cache.database-url": [{ "cache.database-url": "postgresql://u:p@db/ncps" }, "database", { type: "postgres", url: "postgresql://u:p@db/ncps" }],
  "cache.database.pool.max-open-conns": [{ "cache.database-url": "postgres://db/x", "cache.database.pool.max-open-conns": 25 }, "database.maxConnections", 25],
  "cache.database.pool.max-idle-conns": [{ "cache.database.pool.max-idle-conns": 5 }],
  "cache.storage.local": [{ "cache.storage.local": "/var/lib/ncps" }, "data", "/var/lib/ncps/stowhouse"],
  "cache.data-path": [{ "cache.data-path": "/var/lib/old" }, "data", "/var/lib/old/stowhouse"],
  "cache.storage.s3.bucket": [{ "cache.storage.s3.bucket": "b" }, "storages.default.s3.bucket", "b"],
  "cache.storage.s3.endpoint": [{ "cache.storage.s3.bucket": "b", "cache.storage.s3.endpoint": "http://minio:9000" }, "storages.default.s3.endpoint", "http://minio:9000"],
  "cache.storage.s3.region": [{ "cache.storage.s3.bucket": "b", "cache.storage.s3.region": "eu-central-1" }, "storages.default.s3.region", "eu-central-1"],
  "cache.storage.s3.access-key-id": [{ "cache.storage.s3.bucket": "b", "cache.storage.s3.access-key-id": "id" }, "storages.default.s3.accessKeyId", "id"],
  "cache.storage.s3.secret-access-key": [{ "cache.storage.s3.bucket": "b", "cache.storage.s3.secret-access-key": "s" }, "storages.default.s3.secretAccessKey", "s"],
  "cache.storage.s3.force-path-style": [{ "cache.storage.s3.bucket": "b", "cache.storage.s3.force-path-style": true }, "storages.default.s3.pathStyle", true],
  "cache.storage.s3.use-ssl": [{ "cache.storage.s3.bucket": "b", "cache.storage.s3.endpoint": "minio:9000", "cache.storage.s3.use-ssl": false }, "storages.default.s3.endpoint", "http://minio:9000"],
  "storage.s3.bucket": [{ "storage.s3.bucket": "b" }, "storages.default.s3.bucket", "b"],
  "storage.s3.endpoint": [{ "storage.s3.bucket": "b", "storage.s3.endpoint": "minio.example.com" }, "storages.default.s3.endpoint", "https://minio.example.com"],
  "storage.s3.region": [{ "storage.s3.bucket": "b", "storage.s3.region": "eu" }, "storages.default.s3.region", "eu"],
  "storage.s3.access-key-id": [{ "storage.s3.bucket": "b", "storage.s3.access-key-id": "id" }, "storages.default.s3.accessKeyId", "id"],
  "storage.s3.secret-access-key": [{ "storage.s3.bucket": "b", "storage.s3.secret-access-key": "s" }, "storages.default.s3.secretAccessKey", "s"],
  "storage.s3.force-path-style": [{ "storage.s3.bucket": "b", "storage.s3.force-path-style": "true" }, "storages.default.s3.pathStyle", true],
  "storage.s3.use-ssl": [{ "storage.s3.bucket": "b", "storage.s3.endpoint": "minio:9000", "storage.s3.use-ssl": "false" }, "storages.default.s3.endpoint", "http://minio:9000"],
  "cache.max-size": [{ "cache.max-size": "100G" }, "caches.default.quota", "100GiB"],
  "cache.lru.schedule": [{ "cache.lru.schedule": "0 2 * * *" }],
  "cache.lru.timezone": [{ "cache.lru.timezone": "Local" }],
  "cache.temp-path": [{ "cache.temp-path": "/nar-temp" }, "protocols.nix.proxy.spool", "/nar-temp"],
  "cache.sign-narinfo": [{ "cache.sign-narinfo": false }, "protocols.nix.caches.default.sign", "never"],
  "cache.secret-key-path": [{ "cache.secret-key-path": "/run/key" }],
  "cache.trusted-upload-keys": [{ "cache.trusted-upload-keys": [OTHER] }, "protocols.nix.caches.default.trustedKeys", [OTHER]],
  "cache.require-trusted-signature": [{ "cache.require-trusted-signature": true }],
  "cache.allow-put-verb": [{ "cache.allow-put-verb": true }],
  "cache.allow-delete-verb": [{ "cache.allow-delete-verb": true }],
  "cache.upstream.urls": [one(), `${UPSTREAM}.url`, "https://cache.nixos.org"],
  "cache.upstream.caches": [{ "cache.upstream.caches": ["https://cache.nixos.org/"], "cache.upstream.public-keys": [NIXOS] }, `${UPSTREAM}.url`, "https://cache.nixos.org"],
  "cache.upstream.public-keys": [one(), `${UPSTREAM}.trustedKeys`, [NIXOS]],
  "cache.upstream.dialer-timeout": [one({ "cache.upstream.dialer-timeout": "1.5s" }), `${UPSTREAM}.connectTimeout`, "1s500ms"],
  "cache.upstream.response-header-timeout": [one({ "cache.upstream.response-header-timeout": "2h" }), `${UPSTREAM}.firstByteTimeout`, "1h"],
  "cache.netrc-file": [one({ "cache.netrc-file": "/etc/netrc" }), `${UPSTREAM}.credentials.netrc`, "/etc/netrc"],
  "cache.redis": [{ "cache.redis.addrs": ["r:6379"] }],
  "cache.lock": [{ "cache.lock.retry.jitter": true }],
  "cache.download": [{ "cache.download.poll-timeout": "30s" }],
  "cache.inflight-staging": [{ "cache.inflight-staging.enabled": true }],
  "cache.cdc": [{ "cache.cdc.enabled": true }],
};

test("every setting has a row here", () => {
  expect(Object.keys(SETTINGS).toSorted()).toEqual(Object.keys(NCPS).toSorted());
});

describe.each(Object.entries(SETTINGS))("ncps's %s", (setting, [given, path, value]) => {
  test(path === undefined ? "is dropped, and it is said why" : `is our ${path}`, () => {
    const draft = migrate(given);
    if (path !== undefined) return expect(at(draft, path)).toEqual(value);
    expect(draft.dropped.find((note) => note.setting === setting)?.text).toMatch(/\w{3}/);
    expect(draft.value).toEqual(migrate({}).value);
  });

  test("is not taken where it makes no sense", () => {
    const draft = migrate(Object.fromEntries(Object.keys(given).map((name) => [name, { a: [{}] }])));
    expect(draft.dropped.length).toBeGreaterThan(0);
  });
});

describe("a database", () => {
  test("of SQLite is made anew, beside the old one where nothing else says where", () => {
    const draft = migrate({ "cache.database-url": "sqlite:/srv/db/db.sqlite?x=1" });
    expect(at(draft, "data")).toBe("/srv/db/stowhouse");
    expect(at(draft, "database")).toBeUndefined();
  });

  test("of MySQL is dropped, and what to do is said", () => {
    const draft = migrate({ "cache.database-url": "mysql://u:p@db/x", "cache.database.pool.max-open-conns": 5 });
    expect(at(draft, "database")).toBeUndefined();
    expect(draft.dropped.map(({ setting }) => setting)).toEqual(["cache.database-url", "cache.database.pool.max-open-conns"]);
    expect(draft.byHand.map(({ setting }) => setting)).toContain("database");
  });
});

describe("upstreams", () => {
  test("are asked in the order of the list, unless their URL says it, and share no name", () => {
    const key = (host: string) => NIXOS.replace("cache.nixos.org", host);
    const draft = migrate({ "cache.upstream.urls": ["https://a.example/x", "https://a.example/y?priority=5", "https://b.example:8443"], "cache.upstream.public-keys": [key("a.example"), key("b.example")] });
    const entries = Object.entries(at(draft, "protocols.nix.caches.default.upstreams") as Record<string, { url: string; priority: number }>);
    expect(entries.map(([name, { url, priority }]) => [name, url, priority])).toEqual([
      ["a-example", "https://a.example/x", 40], ["a-example-2", "https://a.example/y", 5], ["b-example-8443", "https://b.example:8443", 42],
    ]);
  });

  test("without a key that is called like them are left for the reader to complete; so are keys that nobody has", () => {
    const draft = migrate({ "cache.upstream.urls": ["https://x.example", "ftp://y"], "cache.upstream.public-keys": [NIXOS, "cache.nixos.org-1:nonsense"] });
    expect(at(draft, "protocols.nix.caches.default.upstreams")).toBeUndefined();
    expect(draft.dropped.map(({ setting }) => setting)).toEqual(["cache.upstream.public-keys", "cache.upstream.urls", "cache.upstream.urls", "cache.upstream.public-keys"]);
    expect(draft.byHand.map(({ setting }) => setting)).toContain("upstream x.example");
  });

  test("whose URL holds a password lose it", () => {
    const draft = migrate({ "cache.upstream.urls": ["https://u:secret@cache.nixos.org"], "cache.upstream.public-keys": [NIXOS] });
    expect(draft.yaml("x")).not.toContain("secret");
    expect(draft.byHand.map(({ setting }) => setting)).toContain("upstream cache.nixos.org");
  });
});

test("nothing is lost in silence: what is unknown is named", () => {
  expect(migrate({ "cache.new-thing.enabled": true, "sevrer.addr": ":1" }).dropped.map(({ setting }) => setting)).toEqual(["cache.new-thing.enabled", "sevrer.addr"]);
});

test("AWS's own endpoint is left out", () => {
  const draft = migrate({ "cache.storage.s3.bucket": "b", "cache.storage.s3.endpoint": "https://s3.amazonaws.com" });
  expect(at(draft, "storages.default.s3.endpoint")).toBeUndefined();
});

describe("options of ncps serve", () => {
  test("say what the file says", () => {
    expect(parseNcpsFlags(["--cache-hostname=h", "--cache-upstream-url", "https://a", "--cache-upstream-url=https://b,https://c", "--cache-allow-put-verb", "--log-level=warn"])).toEqual({
      cache: { hostname: "h", upstream: { urls: ["https://a", "https://b", "https://c"] }, "allow-put-verb": true }, log: { level: "warn" },
    });
  });

  test.each([
    ["cache-storage-s3-force-path-style", "cache.storage.s3.force-path-style"], ["otel-grpc-url", "opentelemetry.grpc-url"], ["netrc-file", "cache.netrc-file"],
    ["cache-redis-pool-size", "cache.redis.pool-size"], ["cache-lock-download-ttl", "cache.lock.download-ttl"], ["cache-lru-schedule-timezone", "cache.lru.timezone"],
    ["cache-upstream-public-key", "cache.upstream.public-keys"], ["prometheus-enabled", "prometheus.enabled"], ["cache-temp-path", "cache.temp-path"], ["cache-inflight-staging-enabled", "cache.inflight-staging.enabled"],
  ])("--%s is %s", (option, setting) => expect(settingOf(option)).toBe(setting));

  test("that are none are refused by name", () => {
    expect(() => parseNcpsFlags(["--cahce-hostname=h"])).toThrow("--cahce-hostname is no setting of ncps");
    expect(() => parseNcpsFlags(["serve"])).toThrow("serve is no setting");
  });
});
