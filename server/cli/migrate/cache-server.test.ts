import { describe, expect, test } from "vitest";
import { CACHE_SERVER, fromCacheServer } from "./cache-server.ts";
import { Draft } from "./draft.ts";
import { Theirs } from "./theirs.ts";

function migrate(given: Record<string, unknown>): Draft {
  const draft = new Draft();
  fromCacheServer(new Theirs(given), draft);
  return draft;
}
const server = (fields: object, ...caches: object[]) => migrate({ server: fields, caches });
const cache = (fields: object, more: object = {}) => server({ hostname: "0.0.0.0", ...more }, { name: "main", ...fields });
const at = (draft: Draft, path: string) => path.split(".").reduce<unknown>((value, name) => (value as Record<string, unknown> | undefined)?.[name], draft.value);
const dropped = (draft: Draft) => draft.dropped.map(({ setting }) => setting);
const local = (name: string, root: string, more: object = {}) => ({ name, type: "local", root, ...more });

/** Theirs: the draft, and where ours has what; without that, it is dropped. */
const SETTINGS: Record<string, [draft: () => Draft, path?: string, value?: unknown]> = {
  "server.hostname": [() => server({ hostname: "::1", "server-port": 5001 }), "listen", "[::1]:5001"],
  "server.server-port": [() => server({ hostname: "0.0.0.0", "server-port": 5001 }), "listen", "0.0.0.0:5001"],
  "server.database": [() => server({ database: "/var/lib/cache-server/db.sqlite" }), "data", "/var/lib/cache-server/stowhouse"],
  "server.standalone": [() => server({ standalone: true })],
  "server.dht-port": [() => server({ "dht-port": 4222 })],
  "server.dht-bootstrap-host": [() => server({ "dht-bootstrap-host": "other" })],
  "server.dht-bootstrap-port": [() => server({ "dht-bootstrap-port": 4223 })],
  "server.deploy-port": [() => server({ "deploy-port": 5002 })],
  "server.key": [() => server({ key: "secret" })],
  "server.auto-start": [() => server({ "auto-start": true })],
  "server.default-retention": [() => cache({}, { "default-retention": 9 }), "caches.main.retention", "9d"],
  "server.default-port": [() => cache({}, { "default-port": 8088 }), "protocols.nix.caches.main.listen", "0.0.0.0:8088"],
  "server.default-storage": [() => server({ "default-storage": "local" })],
  "server.default-storage-strategy": [() => cache({ storages: [local("a", "/a")] }, { "default-storage-strategy": "least-used" }), "caches.main.placement", "least-used"],
  caches: [() => cache({}), "caches.main.quota", "1PiB"],
  workspaces: [() => migrate({ workspaces: [{ name: "w", cache: "main" }] })],
  agents: [() => migrate({ agents: [{ name: "a", workspace: "w" }] })],
};

test("every setting has a row here", () => {
  expect(Object.keys(SETTINGS).toSorted()).toEqual(Object.keys(CACHE_SERVER).toSorted());
});

test.each(Object.entries(SETTINGS))("cache-server's %s", (setting, [make, path, value]) => {
  const draft = make();
  if (path === undefined) expect(dropped(draft)).toContain(setting);
  else expect(at(draft, path)).toEqual(value);
});

test("a workspace of Cachix Deploy is written down as what is to be done, with its agents", () => {
  const { byHand } = migrate({ workspaces: [{ name: "W_1", cache: "Main" }], agents: [{ name: "a", workspace: "W_1" }, { name: "b", workspace: "other" }, { name: "c", workspace: "W_1" }] });
  expect(byHand.find(({ setting }) => setting === "workspace W_1")!.text).toContain("protocols.nix.deploy.workspaces.w-1: { cache: main, agents: [a, c] }");
});

describe("a cache", () => {
  test.each([
    [{}, { retention: "4d", anonymousRead: true }],
    [{ retention: 7, access: "private" }, { retention: "7d", anonymousRead: false }],
    [{ retention: 0 }, { retention: "1d" }],
  ])("with %j has %j", (fields, ours) => expect(at(cache(fields), "caches.main")).toMatchObject(ours));

  test("is called by a name that ours can have, and no two are called the same", () => {
    const draft = server({}, { name: "Main_Cache" }, { name: "main-cache" }, { retention: 3 }, "x" as never);
    expect(Object.keys(at(draft, "caches") as object)).toEqual(["main-cache"]);
    expect(draft.byHand.map(({ setting }) => setting)).toContain("cache Main_Cache");
    expect(dropped(draft)).toEqual(["caches[1]", "caches[2]", "caches[3]"]);
  });

  test("has a port of its own, and looks into the others", () => {
    const draft = server({ hostname: "0.0.0.0" }, { name: "a", port: 8081 }, { name: "b" }, { name: "c", port: 8081 }, { name: "d", port: 0 });
    expect(at(draft, "protocols.nix.caches")).toEqual({ a: { listen: "0.0.0.0:8081", sources: ["*"] }, b: { listen: "0.0.0.0:8080", sources: ["*"] }, c: { sources: ["*"] }, d: { sources: ["*"] } });
    expect(dropped(draft)).toEqual(["caches[2].port", "caches[3].port"]);
  });

  test("loses what it can't have, field by field", () => {
    expect(dropped(cache({ retention: "long", access: "friends", compression: "xz", storages: [local("a", "/a")], "storage-strategy": "random" }))).toEqual([
      "caches[0].retention", "caches[0].access", "caches[0].storage-strategy", "caches[0].compression",
    ]);
  });
});

describe("storages", () => {
  const s3 = (more: object) => ({ name: "remote", type: "s3", root: "binary-caches", s3_bucket: "b", s3_region: "eu-central-1", ...more });

  test("become the server's, each in a directory of its own beside theirs", () => {
    const draft = cache({ "storage-strategy": "split", storages: [local("local-fast", "binary-caches", { split: 40 }), local("external-usb", "/Volumes/USB/binary-caches", { split: 60 })] });
    expect(at(draft, "storages")).toEqual({
      "local-fast": { type: "filesystem", path: "binary-caches/stowhouse" }, "external-usb": { type: "filesystem", path: "/Volumes/USB/binary-caches/stowhouse" },
    });
    expect(at(draft, "caches.main")).toMatchObject({ storages: ["local-fast", "external-usb"], placement: "split", shares: { "local-fast": 40, "external-usb": 60 } });
  });

  test.each(["_", "-"])("in a bucket are known with %s in the names of keys", (dash) => {
    const draft = cache({ storages: [s3({ [`s3_access${dash}key`]: "id", [`s3_secret${dash}key`]: "secret" })] });
    expect(at(draft, "storages.remote")).toEqual({ type: "s3", s3: { bucket: "b", region: "eu-central-1", prefix: "binary-caches/stowhouse", accessKeyId: "id", secretAccessKey: "secret" } });
    expect(dropped(draft)).toEqual([]);
  });

  test("that two caches call the same are one where they are one, and two where they are not", () => {
    const draft = server({}, { name: "a", storages: [local("disk", "/x")] }, { name: "b", storages: [local("other", "/x/")] }, { name: "c", storages: [local("disk", "/y")] });
    expect(Object.keys(at(draft, "storages") as object)).toEqual(["disk", "c-disk"]);
    expect(["a", "b", "c"].map((name) => at(draft, `caches.${name}.storages`))).toEqual([["disk"], ["disk"], ["c-disk"]]);
  });

  test("of no known type, or without what they need, are dropped", () => {
    const draft = cache({ storages: [{ name: "x", type: "ftp", root: "/" }, s3({}), local("y", "/y", { split: "half" }), 7] });
    expect(dropped(draft)).toEqual(["caches[0].storages[0]", "caches[0].storages[1]", "caches[0].storages[2]", "caches[0].storages[3]"]);
    expect(at(draft, "caches.main.storages")).toBeUndefined();
  });
});

test("a port that is none is dropped for the default", () => {
  const draft = server({ hostname: "0.0.0.0", "server-port": 70_000 });
  expect([at(draft, "listen"), dropped(draft)]).toEqual(["localhost:5000", ["server.hostname", "server.server-port"]]);
});

test("nothing is lost in silence: what is unknown is named", () => {
  expect(dropped(migrate({ server: { colour: "blue" }, extra: 1 }))).toEqual(["server.colour", "extra"]);
});
