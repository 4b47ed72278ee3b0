import { afterEach, beforeAll, beforeEach, afterAll, describe, expect, it, vi } from "vitest";
import { startApp, type TestApp } from "../../../test/fixtures/app.ts";
import { NixClient, nixKey, STORE, testPath, type TestPath } from "../../../test/fixtures/nix.ts";
import { nix } from "./index.ts";

const DAY = 86_400_000;

/** One cache that keeps little and not for long, in which main and a pull request write. */
let app: TestApp;
let url: string;
let main: NixClient;
let pull: NixClient;
let tokens: { main: string; pull: string; admin: string };

beforeAll(async () => {
  app = await startApp({ caches: { default: { retention: "30d" }, other: {} } }, [nix]);
  url = await app.listen();
  tokens = {
    main: await nixKey(app, { permission: "write", caches: ["default"] }),
    pull: await nixKey(app, { permission: "write", caches: ["default"], scope: "team:pull", reads: ["team:pull", "local:main"], trusted: false }),
    admin: await nixKey(app, { permission: "admin" }),
  };
  main = new NixClient(`${url}/nix/default`, tokens.main);
  pull = new NixClient(`${url}/nix/default`, tokens.pull);
});
afterAll(() => app.close());
beforeEach(() => void vi.useFakeTimers({ now: Date.now(), toFake: ["Date"] }));
afterEach(() => void vi.useRealTimers());

async function call(token: string, method: string, path: string, body?: unknown) {
  const answer = await fetch(url + path, { method, headers: { authorization: `Bearer ${token}`, ...(body !== undefined && { "content-type": "application/json" }) }, ...(body === undefined ? {} : { body: JSON.stringify(body) }) });
  const text = await answer.text();
  return { status: answer.status, body: text === "" || !answer.headers.get("content-type")?.includes("json") ? text : JSON.parse(text) };
}
const pin = (name: string, of: TestPath, keep: unknown = null, more: object = {}) =>
  call(tokens.main, "POST", "/api/v1/cache/default/pin", { name, storePath: `${STORE}/${of.info.storePath}`, artifacts: [], keep, ...more });
const admin = (method: string, path: string, body?: unknown) => call(tokens.admin, method, `/v1/admin/nix/pins${path}`, body);

/** A closure of three, pushed as `nix copy` does it. */
async function closure(name: string): Promise<[app: TestPath, lib: TestPath, deep: TestPath]> {
  const deep = testPath(`${name}-deep`);
  const lib = testPath(`${name}-lib`, undefined, { references: [deep.info.storePath, testPath(`${name}-lib`).info.storePath] });
  const top = testPath(name, undefined, { references: [lib.info.storePath] });
  for (const path of [deep, lib, top]) expect(await main.push(path)).toBe(204);
  return [top, lib, deep];
}
const there = async (...paths: TestPath[]) => {
  const found = [];
  for (const path of paths) found.push((await main.status("HEAD", `/${path.hash}.narinfo`)) === 200 && (await main.status("HEAD", `/${path.info.url}`)) === 200);
  return found;
};
/** A later day, with nothing used until then. */
async function later(days: number) {
  vi.setSystemTime(Date.now() + days * DAY);
  await app.core.maintenance.pass();
}

describe("a pinned path", () => {
  it("outlives its retention with its whole closure and their NARs, which nothing else does", async () => {
    const pinned = await closure("pinned");
    const loose = await closure("loose");
    expect(await pin("release", pinned[0], { tag: "Forever" })).toMatchObject({ status: 200, body: { revision: 1, paths: 3, missing: [] } });
    await later(400);
    expect(await there(...pinned, ...loose)).toEqual([true, true, true, false, false, false]);
  });

  it("may lack parts of its closure: they are named, and kept once they come", async () => {
    const late = testPath("late");
    const top = testPath("needs-late", undefined, { references: [late.info.storePath, testPath("never").info.storePath] });
    await main.push(top);
    expect((await pin("partial", top)).body).toMatchObject({ paths: 1, missing: [late.info.storePath, testPath("never").info.storePath] });
    await later(20);
    await main.push(late);
    await later(40);
    expect(await there(top, late)).toEqual([true, true]);
  });

  it("that is not here is 404, and nothing is pinned", async () => {
    expect((await pin("nowhere", testPath("nowhere"))).status).toBe(404);
    expect((await admin("GET", "")).body.pins.filter((one: { name: string }) => one.name === "nowhere")).toEqual([]);
  });

  it("stays for as many days as was said", async () => {
    const paths = await closure("for-days");
    await pin("days", paths[0], { tag: "Days", contents: 60 });
    await later(59);
    expect(await there(...paths)).toEqual([true, true, true]);
    await later(32);
    expect(await there(...paths)).toEqual([false, false, false]);
  });

  it("stays until so many revisions have come after it", async () => {
    const revisions = [];
    for (const name of ["one", "two", "three"]) {
      revisions.push((await closure(`revision-${name}`))[0]);
      expect((await pin("revisions", revisions.at(-1)!, { tag: "Revisions", contents: 2 })).status).toBe(200);
    }
    // The same path again is no new revision.
    await pin("revisions", revisions[2]!);
    await later(31);
    expect(await there(...revisions)).toEqual([false, true, true]);
    const listed = (await admin("GET", "")).body.pins.filter((one: { name: string }) => one.name === "revisions");
    expect(listed.map((one: { revision: number; keep: object }) => [one.revision, one.keep])).toEqual([[2, { revisions: 2 }], [4, { revisions: 2 }]]);
  });

  it("of which no more is said is the latest of its name, and goes when it is unpinned", async () => {
    const [first] = await closure("default-first");
    const [second] = await closure("default-second");
    await pin("plain", first);
    await pin("plain", second, null, { artifacts: ["bin/app"] });
    expect((await admin("GET", "?scope=local:main")).body.pins.find((one: { name: string }) => one.name === "plain")).toMatchObject({
      cache: "default", scope: "local:main", revision: 2, storePath: `${STORE}/${second.info.storePath}`, artifacts: ["bin/app"], keep: { revisions: 1 }, expires: null, paths: 3, missing: 0,
    });
    await later(31);
    expect(await there(first, second)).toEqual([false, true]);
    expect(await admin("DELETE", "?name=plain")).toEqual({ status: 200, body: { revisions: 1 } });
    expect((await admin("DELETE", "?name=plain")).status).toBe(404);
    await later(31);
    expect(await there(second)).toEqual([false]);
  });

  it("stays when it is pushed again", async () => {
    const [top, lib] = await closure("again");
    await pin("again", top);
    await main.push(top);
    await main.push(lib);
    await later(31);
    expect(await there(top, lib)).toEqual([true, true]);
  });
});

describe("a deleted cache", () => {
  it("goes with its pins and what they keep", async () => {
    expect((await call(tokens.admin, "PUT", "/v1/admin/caches/short", {})).status).toBeLessThan(300);
    const path = testPath("short-lived");
    const writer = new NixClient(`${url}/nix/short`, tokens.admin);
    expect(await writer.push(path)).toBe(204);
    expect((await admin("POST", "", { cache: "short", name: "p", storePath: `${STORE}/${path.info.storePath}`, keep: { forever: true } })).status).toBe(200);
    expect((await call(tokens.admin, "DELETE", "/v1/admin/caches/short")).status).toBeLessThan(300);
    await expect.poll(async () => (await app.core.database.read("usage", { cache: "short" })).reduce((sum, row) => sum + row.entries, 0), { timeout: 5_000 }).toBe(0);
  });
});

describe("who pins", () => {
  it("is trusted: a pull request can't fill the cache for ever", async () => {
    const path = testPath("of-a-pull");
    await pull.push(path);
    const body = { name: "p", storePath: `${STORE}/${path.info.storePath}`, artifacts: [], keep: { tag: "Forever" } };
    expect((await call(tokens.pull, "POST", "/api/v1/cache/default/pin", body)).status).toBe(403);
    expect(await pull.status("POST", `/pin/${path.hash}.narinfo`)).toBe(403);
    await later(8);
    expect(await pull.status("HEAD", `/${path.hash}.narinfo`)).toBe(404);
  });

  it("is an administrator for any scope, and nobody else by the admin API", async () => {
    const path = testPath("of-another-pull");
    await pull.push(path);
    const body = { scope: "team:pull", name: "allowed", storePath: `${STORE}/${path.info.storePath}`, keep: { days: 20 } };
    expect((await call(tokens.main, "POST", "/v1/admin/nix/pins", body)).status).toBe(403);
    expect(await admin("POST", "", body)).toMatchObject({ status: 200, body: { missing: [], pin: { scope: "team:pull", keep: { days: 20 } } } });
    await later(19);
    expect(await pull.status("HEAD", `/${path.hash}.narinfo`)).toBe(200);
    expect((await admin("POST", "", { ...body, cache: "other" })).status).toBe(404);
    for (const wrong of [{ scope: "refs/heads/main" }, { keep: { days: 1, revisions: 1 } }, { keep: {} }, { name: "a b" }, { storePath: "/etc/passwd" }, { artifacts: ["../x"] }, { cache: 7 }]) {
      expect((await admin("POST", "", { ...body, ...wrong })).status, JSON.stringify(wrong)).toBe(400);
    }
    expect((await call(tokens.main, "POST", "/api/v1/cache/default/pin", { ...body, keep: { tag: "Weeks", contents: 1 } })).status).toBe(400);
  });
});

describe("the pins of ncps", () => {
  it("are made, listed and removed by a path's hash", async () => {
    const paths = await closure("ncps");
    const [top] = paths;
    expect(await main.status("POST", `/pin/${testPath("unknown").hash}.narinfo`)).toBe(404);
    expect(await main.status("POST", `/pin/${top.hash}.narinfo`)).toBe(200);
    expect(JSON.parse(await main.text("/pins"))).toContain(top.hash);
    await later(31);
    expect(await there(...paths)).toEqual([true, true, true]);
    for (let i = 0; i < 2; i++) expect(await main.status("DELETE", `/pin/${top.hash}.narinfo`)).toBe(200);
    expect(JSON.parse(await main.text("/pins"))).not.toContain(top.hash);
    await later(31);
    expect(await there(...paths)).toEqual([false, false, false]);
  });
});
