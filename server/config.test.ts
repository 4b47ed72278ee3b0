import fc from "fast-check";
import Type from "typebox";
import { describe, expect, test } from "vitest";
import { resolveCacheSettings, resolveConfig } from "./config.ts";
import { StowError } from "./core/errors.ts";

const SECRET = "hunter2hunter2hunter2";
const protocols = {
  nip: Type.Object({ window: Type.Integer({ default: 5, description: "Window." }), label: Type.Optional(Type.String()) }),
  githubActions: Type.Object({}),
};

function refusal(raw: unknown): string[] {
  try {
    resolveConfig(raw, { protocols });
  } catch (error) {
    expect(error).toBeInstanceOf(StowError);
    expect((error as StowError).code).toBe("STOW_CONFIG");
    return (error as Error).message.split("\n  ").slice(1);
  }
  throw new Error("was accepted");
}

describe("nothing given", () => {
  const config = resolveConfig({}, { protocols });

  test("serves on loopback with SQLite and files below ./data", () => {
    expect(config.listen).toEqual({ host: "127.0.0.1", port: 8420 });
    expect(config.database).toEqual({ type: "sqlite", path: "data/stowhouse.db", maxConnections: 10 });
    expect(config.storages).toEqual({ default: { type: "filesystem", path: "data/blobs", redirect: false, readCache: { size: 0 } } });
  });

  test("has the default cache, in bytes, milliseconds and fractions", () => {
    expect(config.caches).toEqual({
      default: {
        quota: 50 * 2 ** 30, retention: 30 * 86_400_000, untrustedShare: 0.25, untrustedIdle: 7 * 86_400_000, defaultScope: "local:main",
        anonymousRead: false, storages: ["default"], placement: "in-order", entrySize: 20 * 2 ** 30,
      },
    });
  });

  test("trusts no identity, and knows its own audience", () => {
    expect(config.auth.github).toEqual({
      issuer: "https://token.actions.githubusercontent.com", audience: "http://127.0.0.1:8420", rules: [], jwksTimeout: 5000,
    });
    expect(config.auth.githubRuntime.enabled).toBe(false);
  });

  test("speaks every protocol, with each one's own defaults", () => {
    expect(config.protocols).toEqual({ nip: { enabled: true, window: 5 }, githubActions: { enabled: true } });
  });

  test("empty fields of a file count as not given", () => {
    expect(resolveConfig({ caches: { default: null }, limits: null, listen: null }, { protocols })).toEqual(config);
  });
});

describe("what is given", () => {
  test("is turned into numbers, and defaults follow it", () => {
    const config = resolveConfig({
      data: "/var/lib/stowhouse",
      url: "https://cache.example.com/",
      limits: { entrySize: 1000000, bodyStall: "1m30s" },
      eviction: { minFree: "2.5%" },
      caches: { "team-a": { quota: "1TiB" } },
    });
    expect(config.url).toBe("https://cache.example.com");
    expect(config.auth.github.audience).toBe("https://cache.example.com");
    expect(config.database.path).toBe("/var/lib/stowhouse/stowhouse.db");
    expect(config.storages["default"]?.path).toBe("/var/lib/stowhouse/blobs");
    expect(config.limits).toMatchObject({ entrySize: 1_000_000, bodyStall: 90_000 });
    expect(config.eviction.minFree).toBe(0.025);
    expect(config.caches["team-a"]).toMatchObject({ quota: 2 ** 40, entrySize: 1_000_000 });
  });

  test("never takes the default cache away, nor makes others up", () => {
    const { caches } = resolveConfig({ caches: { constructor: { quota: "1GiB" } } });
    expect(Object.keys(caches).sort()).toEqual(["constructor", "default"]);
    expect(resolveConfig({}).caches["constructor"]).toBeUndefined();
  });

  test("a rule trusts the default branch unless it says otherwise", () => {
    const { rules } = resolveConfig({
      auth: { github: { rules: [{ repositoryId: 1296269, defaultBranch: "trunk" }, { repositoryOwnerId: 5, repository: "acme/app", trustedRefs: [] }] } },
    }).auth.github;
    expect(rules).toEqual([
      { repositoryId: 1296269, cache: "default", defaultBranch: "trunk", trustedRefs: ["refs/heads/trunk"] },
      { repositoryOwnerId: 5, repository: "acme/app", cache: "default", defaultBranch: "main", trustedRefs: [] },
    ]);
  });

  test("a cache names its storages and their shares", () => {
    const { caches } = resolveConfig({
      storages: { ssd: { path: "/ssd" }, disk: { path: "/disk" } },
      caches: { a: { storages: ["disk"] }, b: { placement: "split", shares: { ssd: 1, disk: 3 } } },
    });
    expect(caches["a"]?.storages).toEqual(["disk"]);
    expect(caches["b"]).toMatchObject({ storages: ["ssd", "disk"], shares: { ssd: 1, disk: 3 } });
    expect(caches["default"]?.storages).toEqual(["ssd", "disk"]);
  });
});

describe("a wrong field is refused with its path, what was found and what was expected", () => {
  test.each<[problem: string, raw: unknown]>([
    ["the configuration: expected an object, found a list", []],
    ['listen: expected host:port, like 127.0.0.1:8420 or [::1]:8420, found "8420"', { listen: "8420" }],
    ["limits.bodyStall: expected a duration with its unit, like 30d, 2h30m, 5s or 250ms, found 30", { limits: { bodyStall: 30 } }],
    ['limits.headerSize: expected a size from 4KiB to 1MiB, found "1GiB"', { limits: { headerSize: "1GiB" } }],
    ["limits.uploads: expected a whole number from 1 to 100000, found 1.5", { limits: { uploads: 1.5 } }],
    ["memory.front: expected true or false, found \"yes\"", { memory: { front: "yes" } }],
    ["auth.github: expected an object, found \"on\"", { auth: { github: "on" } }],
    ["trustedProxies[1]: expected an address or network like 10.0.0.0/8, found \"proxy\"", { trustedProxies: ["::1", "proxy"] }],
    ["log.level: expected one of fatal, error, warn, info, debug, trace, silent, found \"loud\"", { log: { level: "loud" } }],
    ["caches.main.defaultScope: expected a scope like team:ci or 1296269:refs/heads/main, found \"main\"", { caches: { main: { defaultScope: "main" } } }],
    ["caches.Main: expected a name of a-z, 0-9 and -, at most 63 characters", { caches: { Main: {} } }],
    ["caches.main.storages[0]: there is no storage defualt; did you mean default?", { caches: { main: { storages: ["defualt"] } } }],
    ["caches.main.storages[1]: names default twice", { caches: { main: { storages: ["default", "default"] } } }],
    ["caches.main.shares: is only for placement split", { caches: { main: { shares: { default: 1 } } } }],
    ["caches.main.entrySize: expected a size not above limits.entrySize", { caches: { main: { entrySize: "1PiB" } } }],
    ["storages.fast.path: is missing; each filesystem storage needs a directory of its own", { storages: { fast: {} } }],
    ["storages.b.path: is the directory of storage a too", { storages: { a: { path: "/x" }, b: { path: "/x/" } } }],
    ["storages.a.s3: is missing; type s3 needs it", { storages: { a: { type: "s3" } } }],
    ["storages.default.readCache: is only for type s3", { storages: { default: { readCache: { size: "1GiB" } } } }],
    ["storages.b.readCache.path: is the directory of storage a too", { storages: { a: { path: "/x" }, b: { type: "s3", s3: { bucket: "b" }, readCache: { size: "1GiB", path: "/x/" } } } }],
    ["storages.a.s3.bucket: is missing;", { storages: { a: { type: "s3", s3: {} } } }],
    ["database.url: is missing; type postgres needs it", { database: { type: "postgres" } }],
    ["database.url: expected postgres://user:password@host:port/database", { database: { type: "postgres", url: "mysql://x" } }],
    ["tls.key: is missing; tls.cert needs it", { tls: { cert: "cert.pem" } }],
    ["eviction.lowWater: expected a share not above eviction.highWater", { eviction: { highWater: "80%" } }],
    ["auth.readKey: is the same key as auth.writeKey; each key needs a value of its own", { auth: { writeKey: SECRET, readKey: SECRET } }],
    ["auth.github.issuer: expected an https URL;", { auth: { github: { issuer: "http://issuer.example.com" } } }],
    ["auth.github.rules[0]: expected repositoryId or repositoryOwnerId;", { auth: { github: { rules: [{ repository: "acme/app" }] } } }],
    ["auth.github.audience: is missing; rules need it, or url", { listen: "0.0.0.0:8420", auth: { github: { rules: [{ repositoryId: 1 }] } } }],
    ["protocols.nip.window: expected a whole number, found \"big\"", { protocols: { nip: { window: "big" } } }],
    ["protocols.turborepo: no such field; known here: nip, githubActions", { protocols: { turborepo: {} } }],
  ])("%s", (problem, raw) => {
    const lines = refusal(raw);
    expect(lines).toHaveLength(1);
    expect(lines[0]).toContain(problem);
  });

  test("a plain http issuer on loopback is accepted", () => {
    for (const issuer of ["http://127.0.0.1:9000", "http://localhost:9000", "http://[::1]:9000"]) {
      expect(resolveConfig({ auth: { github: { issuer } } }).auth.github.issuer).toBe(issuer);
    }
  });

  test("all problems are told at once", () => {
    const lines = refusal({ listen: 1, limits: { uploads: 0 }, tls: { key: "k" }, caches: { a: { storages: ["x"] }, b: { quota: "1" } } });
    expect(lines.map((line) => line.split(":")[0])).toEqual(["listen", "caches.b.quota", "limits.uploads", "caches.a.storages[0]", "tls.cert"]);
  });

  test("a thousand problems are told as fifty and a number", () => {
    const lines = refusal({ trustedProxies: Array(100).fill(1), auth: { github: { rules: Array(1000).fill({ cache: "A" }) } } });
    expect(lines).toHaveLength(51);
    expect(lines.at(-1)).toBe("and 1050 more");
  });

  test.each([
    [{ limits: { entrysize: 1 } }, "limits.entrysize: no such field; did you mean entrySize?"],
    [{ limits: { "entry-size": 1 } }, "limits.entry-size: no such field; did you mean entrySize?"],
    [{ cahces: {} }, "cahces: no such field; did you mean caches?"],
    [{ protocols: { github_actions: {} } }, "protocols.github_actions: no such field; did you mean githubActions?"],
    [{ shutdown: { frobnicate: 1 } }, "shutdown.frobnicate: no such field; known here: delay, drain"],
    [{ shutdown: { constructor: 1 } }, "shutdown.constructor: no such field; known here: delay, drain"],
  ])("a misspelt field gets a suggestion: %j", (raw, line) => expect(refusal(raw)).toEqual([line]));
});

describe("secrets stay out of error texts", () => {
  const key = "stow_admin_0123456789abcdef";
  test.each<[where: string, raw: unknown]>([
    ["in a field of the wrong type", { auth: { adminKey: [SECRET], readKey: { value: SECRET } } }],
    ["that is malformed", { auth: { adminKey: `${SECRET} ${SECRET}` } }],
    ["in a misspelt field", { auth: { admin_key: SECRET, adminkey: { value: SECRET } } }],
    ["given twice", { auth: { adminKey: SECRET, writeKey: SECRET } }],
    ["in a database URL", { database: { type: "postgres", url: `mysql://u:${SECRET}@h/db` } }],
    ["in the URL of something else", { url: `https://u:${SECRET}@h/`, auth: { github: { issuer: `http://u:p/${SECRET}@h` } } }],
    ["of a storage", { storages: { a: { type: "s3", s3: { bucket: "b", secretAccessKey: [SECRET], accessKeyId: 5, sessionToken: { SECRET } } } } }],
  ])("a secret %s", (_, raw) => expect(refusal(raw).join("\n")).not.toContain(SECRET));

  test("a key of ours, wherever it was put", () => {
    expect(refusal({ listen: key, log: { level: key }, [key]: 1, caches: { [key]: {} } }).join("\n")).not.toContain("0123456789");
  });
});

describe("any JSON value", () => {
  const names = fc.constantFrom(
    "listen", "url", "database", "type", "storages", "caches", "default", "quota", "shares", "auth", "github", "rules", "limits", "tls", "protocols", "nip",
    "s3", "path", "__proto__", "constructor", "toString",
  );
  const values = fc.letrec((tie) => ({
    any: fc.oneof({ depthSize: "medium" }, fc.jsonValue(), fc.constantFrom(0, -1, "0", "10GiB", "5s", "25%", "s3", "postgres", "split"), tie("map"), tie("list")),
    list: fc.array(tie("any"), { maxLength: 4 }),
    map: fc.array(fc.tuple(names, tie("any")), { maxLength: 5 }).map((pairs) => JSON.parse(`{${pairs.map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`).join()}}`)),
  })).any;

  test("resolves, or is refused as a wrong configuration", () => {
    fc.assert(
      fc.property(values, (raw) => {
        try {
          return resolveConfig(raw, { protocols }).caches["default"] !== undefined;
        } catch (error) {
          return error instanceof StowError && error.code === "STOW_CONFIG";
        }
      }),
      { numRuns: 1000 },
    );
  });

  test("stays as it was", () => {
    fc.assert(
      fc.property(values, (raw) => {
        const before = JSON.stringify(raw);
        try {
          resolveConfig(raw, { protocols });
        } catch {}
        return JSON.stringify(raw) === before;
      }),
    );
  });
});

describe("a cache made through the admin API", () => {
  const context = { storages: ["default", "cold"], entrySize: 1000 };

  test("gets the same defaults as one of the configuration", () => {
    expect(resolveCacheSettings({ quota: "1GiB" }, context)).toMatchObject({ quota: 2 ** 30, storages: ["default", "cold"], entrySize: 1000 });
  });

  test("is refused as a bad request, with all wrong fields", () => {
    expect(() => resolveCacheSettings({ quota: "1", qouta: 2 }, context)).toThrow(
      expect.objectContaining({ code: "STOW_BAD_REQUEST", message: expect.stringMatching(/qouta: .* did you mean quota\?; quota: expected a size from 1KiB/) }),
    );
    expect(() => resolveCacheSettings({ storages: ["x"] }, context)).toThrow(/storages\[0\]: there is no storage x/);
  });
});
