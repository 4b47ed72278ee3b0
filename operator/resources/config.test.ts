import { describe, expect, test } from "vitest";
import { loadConfig } from "../../server/config.ts";
import { protocolOptions } from "../../server/app.ts";
import type { CacheServer } from "../cacheserver/schema.ts";
import { cacheServer } from "../testing/stored.ts";
import { someInputs } from "../testing/inputs.ts";
import { configMap, configurationProblems, restartHash } from "./config.ts";
import { deployment } from "./deployment.ts";
import type { Inputs } from "./inputs.ts";

const KEYS = { "admin-key": "stow_admin_0123456789", "write-key": "stow_rw_0123456789", "read-key": "stow_ro_0123456789", "signing-secret": "s".repeat(40), url: "postgres://u:p@db:5432/stowhouse" };

interface Pod {
  spec: {
    containers: [{ env: { name: string; value?: string }[]; volumeMounts: { name: string; mountPath: string }[] }];
    volumes: { name: string; projected?: { sources: { configMap?: { name: string; items: Item[] }; secret?: { name: string; items: Item[] } }[] } }[];
  };
}
interface Item {
  key: string;
  path: string;
}

/** Starts a server's configuration as its container would: variables, and the files the pod mounts. */
function started(server: CacheServer, inputs: Inputs = someInputs()) {
  const { template } = deployment(server, inputs)["spec"] as { template: Pod };
  const [{ env, volumeMounts }] = template.spec.containers;
  const files = new Map<string, string>();
  for (const { name, projected } of template.spec.volumes) {
    const mount = volumeMounts.find((one) => one.name === name)!;
    for (const { configMap: config, secret } of projected?.sources ?? []) {
      const data: Record<string, string> = config ? (configMap(server, inputs)["data"] as Record<string, string>) : KEYS;
      for (const { key, path } of (config ?? secret)!.items) files.set(`${mount.mountPath}/${path}`, data[key] ?? "");
    }
  }
  const readFile = (path: string) => files.get(path) ?? expect.fail(`nothing mounts ${path}`);
  return { files, config: loadConfig({ env: Object.fromEntries(env.map(({ name, value }) => [name, value])), readFile, protocols: protocolOptions() }) };
}

const bucket = { type: "S3", s3: { bucket: "builds", credentialsSecret: { name: "bucket" }, redirect: true, readCache: { size: "1GiB" } } };
const postgres = { type: "PostgreSQL", urlSecret: { name: "database" } };

describe("the server's configuration", () => {
  test("of an empty resource is accepted by the server: files and SQLite on the volume, fixed keys, metrics on their own port", () => {
    const { config } = started(cacheServer());
    expect(config).toMatchObject({
      listen: { host: "0.0.0.0", port: 8420 },
      metrics: { listen: { host: "0.0.0.0", port: 9420 } },
      data: "/data",
      database: { type: "sqlite", path: "/data/stowhouse.db" },
      storages: { default: { type: "filesystem", path: "/data/blobs" } },
      auth: { adminKey: KEYS["admin-key"], writeKey: KEYS["write-key"], readKey: KEYS["read-key"], signingSecret: KEYS["signing-secret"] },
    });
  });

  test("has bucket, database and certificate as the resource says", () => {
    const { config, files } = started(cacheServer({ storage: bucket, database: postgres, tls: { secretName: "tls" }, listenAddress: "[::]" }));
    expect(config).toMatchObject({
      listen: { host: "::" },
      database: { type: "postgres", url: KEYS.url },
      storages: { default: { type: "s3", redirect: true, s3: { bucket: "builds" }, readCache: { size: 2 ** 30, path: "/data/read-cache/default" } } },
      tls: { cert: "/etc/stowhouse/tls/tls.crt", key: "/etc/stowhouse/tls/tls.key" },
    });
    expect([...files.keys()]).toEqual(expect.arrayContaining([config.tls.cert, config.tls.key]));
  });

  test("has caches, limits, rules and protocols as the resource says", () => {
    const { config } = started(cacheServer({
      caches: { default: { quota: "1TiB" }, mobile: { anonymousRead: true } },
      limits: { entrySize: "5GiB" },
      auth: { sessionLifetime: "30m", github: { rules: [{ repositoryId: 7 }] } },
      protocols: { nip: { enabled: false } },
      log: { level: "debug" },
    }));
    expect(config.caches).toMatchObject({ default: { quota: 2 ** 40 }, mobile: { anonymousRead: true, entrySize: 5 * 2 ** 30 } });
    expect(config.auth).toMatchObject({ sessionLifetime: 1_800_000, github: { rules: [{ repositoryId: 7, trustedRefs: ["refs/heads/main"] }] } });
    expect(config.protocols).toMatchObject({ nip: { enabled: false }, "github-actions": { enabled: true } });
    expect(config.log.level).toBe("debug");
  });

  test("expects GitHub's tokens to be made for the public URL, else for the Service", () => {
    const audience = (spec: object) => started(cacheServer(spec)).config.auth.github.audience;
    expect(audience({})).toBe("http://cache.ci.svc.cluster.local:8420");
    expect(audience({ tls: { secretName: "tls" }, service: { port: 443 } })).toBe("https://cache.ci.svc.cluster.local:443");
    expect(audience({ ingress: { hosts: ["*.example.com", "cache.example.com"], tlsSecretName: "t" } })).toBe("https://cache.example.com");
    expect(audience({ url: "https://a.example.com", ingress: { hosts: ["b.example.com"] } })).toBe("https://a.example.com");
    expect(audience({ auth: { github: { audience: "stowhouse" } } })).toBe("stowhouse");
  });

  test("names only the keys that its user's Secret has: a file that is missing would keep the pod from starting", () => {
    const server = cacheServer({ auth: { keysSecret: { name: "own" } } });
    const { config, files } = started(server, someInputs({ secrets: new Map([["own", { keys: ["admin-key", "other"], hash: "x" }]]) }));
    expect(config.auth.adminKey).toBe(KEYS["admin-key"]);
    expect(config.auth.writeKey).toBeUndefined();
    expect([...files.keys()].filter((path) => path.includes("/keys/"))).toEqual(["/etc/stowhouse/keys/admin-key"]);
  });

  test("holds no secret", () => {
    const text = JSON.stringify(configMap(cacheServer({ storage: bucket, database: postgres }), someInputs()));
    expect(text).not.toMatch(/password|stow_|postgres:\/\//);
  });
});

describe("what the server would refuse is known before it is given to a server", () => {
  test.each([
    [{ caches: { default: { retention: "3s500ms", quota: "1B" } } }, ["spec.caches.default.quota: expected a size from 1KiB to 1PiB, found \"1B\""]],
    [{ auth: { sessionLifetime: "6h", maxSessionLifetime: "1h" } }, ["spec.auth.sessionLifetime: expected a duration not above auth.maxSessionLifetime"]],
    [{ auth: { github: { issuer: "http://issuer.example.com" } } }, [expect.stringMatching(/^spec\.auth\.github\.issuer: expected an https URL/)]],
    [{ storage: { type: "S3", s3: { bucket: "b", partSize: "1MiB" } } }, [expect.stringMatching(/^spec\.storage\.s3\.partSize: expected a size from 5MiB/)]],
    [{ eviction: { lowWater: "99%", highWater: "90%" } }, ["spec.eviction.lowWater: expected a share not above eviction.highWater"]],
  ])("%j", (spec, problems) => {
    expect(configurationProblems(cacheServer(spec), someInputs())).toEqual(problems);
  });

  test("and a right one has no problem, whatever its Secrets hold", () => {
    expect(configurationProblems(cacheServer({ storage: bucket, database: postgres, tls: { issuerRef: { name: "i" } } }), someInputs())).toEqual([]);
    expect(configurationProblems(cacheServer(), someInputs({ secrets: new Map() }))).toEqual([]);
  });
});

describe("pods are replaced", () => {
  const hash = (spec: object, secrets: Record<string, string> = {}) => {
    const inputs = someInputs();
    const changed = [...inputs.secrets].map(([name, facts]) => [name, { ...facts, hash: secrets[name] ?? facts.hash }] as const);
    return restartHash(cacheServer({ storage: bucket, database: postgres, ...spec }), { ...inputs, secrets: new Map(changed) });
  };
  const before = hash({});

  test.each([
    [{ protocols: { nip: { enabled: false } } }],
    [{ url: "https://cache.example.com" }],
    [{ tls: { secretName: "tls" } }],
    [{ memory: { bodies: "1GiB" } }],
    [{ storage: { ...bucket, s3: { ...bucket.s3, prefix: "x/" } } }],
    [{ limits: { uploads: 5 } }],
  ])("when %j changes", (spec) => expect(hash(spec)).not.toBe(before));

  test.each([
    [{ caches: { default: { quota: "1TiB", retention: "1d" }, mobile: {} } }],
    [{ auth: { github: { rules: [{ repositoryId: 1 }] }, sessionLifetime: "30m" } }],
    [{ log: { level: "debug" } }],
    [{ eviction: { interval: "1m" } }],
    [{ access: [{ namespaceSelector: {} }], monitoring: { serviceMonitor: { enabled: true } } }],
  ])("not when %j changes: running servers take it over", (spec) => expect(hash(spec)).toBe(before));

  test("when credentials of the bucket or the database change, not when keys do", () => {
    expect(hash({}, { bucket: "b2" })).not.toBe(before);
    expect(hash({}, { database: "d2" })).not.toBe(before);
    expect(hash({}, { "cache-keys": "k2" })).toBe(before);
  });
});
