import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout } from "node:timers/promises";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { KEYS, startApp, type TestApp } from "../test/fixtures/app.ts";
import { Loopback } from "../test/fixtures/loopback.ts";
import { fakeParts, fakeStep, type FakeStep } from "../test/fixtures/step.ts";
import { cacheStep, restoreStep, saveStep } from "./cache-steps.ts";
import type { StopOptions } from "./daemon/control.ts";
import { Failure } from "./failure.ts";
import { finish } from "./finish.ts";
import type { Parts } from "./parts.ts";
import { setup } from "./setup.ts";

let app: TestApp;
let url: string;
let dead: string;
let temp: string;
const loopback = new Loopback();

beforeAll(async () => {
  app = await startApp();
  url = await app.listen();
  dead = (await loopback.dead()).origin;
});
afterAll(async () => {
  await Promise.all([app.close(), loopback.close()]);
});
beforeEach(() => {
  temp = mkdtempSync(path.join(tmpdir(), "stowhouse-steps-"));
  return () => rmSync(temp, { recursive: true, force: true });
});

const RUNTIME = { ACTIONS_RUNTIME_TOKEN: "github's own" };
const env = (more: Record<string, string> = {}) => ({ RUNNER_TEMP: temp, ...RUNTIME, ...more });
const step = (inputs: Record<string, string>, more: Record<string, string> = {}, state = new Map<string, string>()) => fakeStep(inputs, env(more), {}, state);
const own = () => ({ server: url, "api-key": KEYS.write, path: "deps", key: "deps-1" });
const setupInputs = (more: Record<string, string> = {}) => ({ server: url, key: KEYS.write, ...more });

/** The variables a step leaves to those after it. */
const after = ({ exported }: FakeStep) => Object.fromEntries(exported);

const hit = (matchedKey: string): Partial<Parts> => ({ restoreArchive: () => Promise.resolve({ status: "hit", matchedKey, exact: false, bytes: 5, files: 1 }) });
const unavailable: Partial<Parts> = {
  restoreArchive: () => Promise.resolve({ status: "unavailable", bytes: 0, files: 0, reason: "connection reset" }),
  saveArchive: () => Promise.resolve({ status: "unavailable", bytesSent: 0, bytesTotal: 0, files: 0, unchanged: false, reason: "connection reset" }),
};

describe("set-up", () => {
  test("tools get the daemon and its secret, and no credential of the server", async () => {
    const main = step(setupInputs({ tools: "gha" }));
    const parts = fakeParts();
    await setup(main, parts);
    expect(parts.calls).toEqual([`daemon for ${url}`]);
    expect(after(main)).toMatchObject({ STOWHOUSE_SERVER: "http://127.0.0.1:4711", STOWHOUSE_MODE: "write", ACTIONS_RESULTS_URL: "http://127.0.0.1:4711/" });
    const values = [...main.exported.values()].join("\n");
    expect([values.includes(KEYS.write), values.includes("eyJ")]).toEqual([false, false]);
    expect(main.secrets).toContain(main.exported.get("STOWHOUSE_TOKEN"));
  });

  test("without a daemon, wanted or not, they get a session token", async () => {
    const [off, broken] = [step(setupInputs({ tools: "gha", daemon: "off" })), step(setupInputs({ tools: "gha" }))];
    await setup(off, fakeParts());
    await setup(broken, fakeParts({ startDaemon: () => Promise.reject(new Error("no room")) }));
    for (const { exported, outputs } of [off, broken]) expect([exported.get("STOWHOUSE_SERVER"), exported.get("STOWHOUSE_TOKEN"), exported.get("ACTIONS_RUNTIME_TOKEN")]).toEqual([url, outputs.get("token"), outputs.get("token")]);
    expect(broken.lines.join("\n")).toContain("warning: Stowhouse's daemon did not start, so tools talk to the server themselves: no room");
  });

  test("a proxy the job had becomes the daemon's, and its own is announced only when it intercepts", async () => {
    let given: unknown;
    const start: Parts["startDaemon"] = (settings) => ((given = settings), Promise.resolve({ url: "http://127.0.0.1:4711", pid: 1, caFile: "/ca.pem" }));
    const main = step(setupInputs({ "intercept-actions-cache": "on" }), { HTTPS_PROXY: "http://corporate:3128", no_proxy: "internal" });
    await setup(main, fakeParts({ startDaemon: start }));
    expect(given).toMatchObject({ upstreamProxy: { httpsProxy: "http://corporate:3128", noProxy: "internal" }, intercept: { runtimeToken: "github's own" }, readOnly: false });
    expect(after(main)).toMatchObject({ https_proxy: "http://127.0.0.1:4711", HTTPS_PROXY: "http://127.0.0.1:4711", NODE_EXTRA_CA_CERTS: "/ca.pem", no_proxy: "internal,127.0.0.1,localhost,[::1]" });
    const plain = step(setupInputs());
    await setup(plain, fakeParts());
    expect(plain.exported.has("https_proxy")).toBe(false);
  });

  test("no server is a warning, or with fail-on-error a failure", async () => {
    const main = step(setupInputs({ server: dead }));
    await setup(main, fakeParts());
    expect(main.lines).toEqual([expect.stringMatching(/^warning: The job goes on without Stowhouse: http:\S+ is of no use now \(connection refused\)\.$/)]);
    expect(main.outputs.get("available")).toBe("false");
    await expect(setup(step(setupInputs({ server: (await loopback.dead()).origin, "fail-on-error": "true" })), fakeParts())).rejects.toThrow(Failure);
  });
});

describe("after the job", () => {
  async function whole(inputs: Record<string, string>, parts: Parts, status = "success"): Promise<FakeStep> {
    const main = step(inputs);
    await setup(main, parts);
    const post = step({ ...inputs, "job-status": status }, after(main), main.state);
    await finish(post, parts);
    return post;
  }
  const archive = { path: "deps", "cache-key": "deps-1" };

  test("it saves straight to the server, ends the daemon, reports, and leaves nothing", async () => {
    const parts = fakeParts();
    const post = await whole(setupInputs(archive), parts);
    expect(parts.calls).toEqual([`daemon for ${url}`, `restore deps-1 from ${url}`, `save deps-1 deps to ${url}`, "stop within 60000"]);
    expect(post.summaries.join()).toMatch(/\| restore \| <code>deps-1<\/code> \| miss .*\n\| save \| <code>deps-1<\/code> \| saved /);
    expect(existsSync(path.join(temp, "stowhouse"))).toBe(false);
  });

  test.each([["success", "false", true], ["failure", "false", false], ["failure", "true", true], ["cancelled", "true", false]])("a job that ended with %s and save-on-failure %s saves: %s", async (status, onFailure, saves) => {
    const parts = fakeParts();
    await whole(setupInputs({ ...archive, "save-on-failure": onFailure }), parts, status);
    expect(parts.calls.some((call) => call.startsWith("save"))).toBe(saves);
  });

  test("what was hit by its own key is not saved, what came from a restore key is", async () => {
    const [exact, near] = [fakeParts(hit("DEPS-1")), fakeParts(hit("deps-0"))];
    expect((await whole(setupInputs(archive), exact)).lines).toContain("info: Cache hit occurred on the primary key deps-1, not saving cache.");
    await whole(setupInputs(archive), near);
    expect([exact, near].map(({ calls }) => calls.some((call) => call.startsWith("save")))).toEqual([false, true]);
  });

  test("the daemon ends even when saving breaks", async () => {
    const parts = fakeParts({ expand: () => Promise.reject(new Error("bad pattern")) });
    const post = await whole(setupInputs(archive), parts);
    expect(parts.calls).toContain("stop within 60000");
    expect(post.lines).toContain("warning: bad pattern");
  });

  test("two set-ups in a job do not take each other's daemon away", async () => {
    const parts = fakeParts();
    const [one, two] = [step(setupInputs()), step(setupInputs())];
    await setup(one, parts);
    await setup(two, parts);
    const daemons = () => readdirSync(path.join(temp, "stowhouse")).filter((name) => name.startsWith("daemon-")).length;
    expect(daemons()).toBe(2);
    await finish(step(setupInputs({ "job-status": "success" }), {}, two.state), parts);
    expect(daemons()).toBe(1);
    await finish(step(setupInputs({ "job-status": "success" }), {}, one.state), parts);
    expect(parts.calls.filter((call) => call.startsWith("stop"))).toHaveLength(2);
    expect(existsSync(path.join(temp, "stowhouse"))).toBe(false);
  });
});

describe("restore and save", () => {
  test("work with what the set-up step left", async () => {
    const main = step(setupInputs());
    const parts = fakeParts();
    await setup(main, parts);
    await restoreStep(step({ path: "deps", key: "deps-1" }, after(main)), parts);
    await saveStep(step({ path: "deps", key: "deps-1" }, after(main)), parts);
    expect(parts.calls.slice(1)).toEqual(["restore deps-1 from http://127.0.0.1:4711", "save deps-1 deps to http://127.0.0.1:4711"]);
  });

  test("say what was found as actions/cache does", async () => {
    const [exact, near, none] = [step(own()), step(own()), step(own())];
    await restoreStep(exact, fakeParts(hit("deps-1")));
    await restoreStep(near, fakeParts(hit("deps-0")));
    await restoreStep(none, fakeParts());
    expect([exact, near, none].map(({ outputs }) => Object.fromEntries(outputs))).toEqual([
      { "cache-primary-key": "deps-1", "cache-hit": "true", "cache-matched-key": "deps-1" }, { "cache-primary-key": "deps-1", "cache-hit": "false", "cache-matched-key": "deps-0" }, { "cache-primary-key": "deps-1" },
    ]);
  });

  test("fail only where they are asked to", async () => {
    await expect(restoreStep(step({ ...own(), "fail-on-cache-miss": "true" }), fakeParts())).rejects.toThrow("Failed to restore cache entry. Exiting as fail-on-cache-miss is set. Input key: deps-1");
    await expect(restoreStep(step({ ...own(), "fail-on-error": "true", fallback: "none" }), fakeParts(unavailable))).rejects.toThrow(Failure);
    await restoreStep(step({ ...own(), fallback: "none" }), fakeParts(unavailable));
    await saveStep(step({ ...own(), fallback: "none" }), fakeParts(unavailable));
  });

  test("cache leaves to its post step what was found", async () => {
    const parts = fakeParts(hit("deps-1"));
    const main = step(own());
    await cacheStep(main, parts);
    const post = step(own(), {}, main.state);
    await saveStep(post, parts);
    expect(post.lines).toEqual(["info: Cache hit occurred on the primary key deps-1, not saving cache."]);
  });

  test("a job that only reads is told so, and asks nobody", async () => {
    const save = step({ ...own(), mode: "read" });
    const parts = fakeParts();
    await saveStep(save, parts);
    expect([parts.calls, save.lines]).toEqual([[], ["info: Cache not saved: cache write denied: an API key, read-only by mode"]]);
  });
});

describe("GitHub's cache", () => {
  test("is asked when no server answers, and only then", async () => {
    const [away, broken, well, refused] = [fakeParts(), fakeParts(unavailable), fakeParts(), fakeParts()];
    await restoreStep(step({ ...own(), server: dead }), away);
    await restoreStep(step(own()), broken);
    await restoreStep(step(own()), well);
    await restoreStep(step({ ...own(), "api-key": "stow_rw_of-somebody-else-00000" }), refused);
    expect([away.calls, broken.calls, well.calls, refused.calls]).toEqual([["github restore deps-1"], ["github restore deps-1"], [`restore deps-1 from ${url}`], []]);
  });

  test("is not asked where nobody wants it, nor behind the interception", async () => {
    const [none, intercepted, off] = [fakeParts(), fakeParts(), fakeParts()];
    await saveStep(step({ ...own(), server: dead, fallback: "none" }), none);
    await saveStep(step({ ...own(), server: dead }, { STOWHOUSE_INTERCEPTS: "true" }), intercepted);
    await saveStep(step({ path: "deps", key: "k" }, { STOWHOUSE_MODE: "off" }), off);
    expect([none.calls, intercepted.calls, off.calls]).toEqual([[], [], []]);
  });
});

describe("several servers", () => {
  let second: TestApp;
  let servers: string;
  beforeAll(async () => {
    second = await startApp();
    servers = `${url} ${await second.listen()}`;
  });
  afterAll(() => second.close());
  const inputs = () => ({ ...setupInputs({ path: "deps", "cache-key": "deps-1", fallback: "none", "job-status": "success" }), server: servers });
  const [miss, gone] = [{ status: "miss", bytes: 0, files: 0 }, { status: "unavailable", bytes: 0, files: 0, reason: "connection reset" }] as const;
  const restoring = (answers: readonly (() => Promise<Awaited<ReturnType<Parts["restoreArchive"]>>>)[], asked: string[] = []): Partial<Parts> => ({
    restoreArchive: ({ url: at }) => (asked.push(at), answers[asked.length - 1]!()),
  });

  test("what the first lacks or can't give, the next is asked for", async () => {
    for (const answer of [miss, gone]) {
      const main = step(inputs());
      await setup(main, fakeParts(restoring([() => Promise.resolve(answer), () => Promise.resolve({ status: "hit", matchedKey: "deps-1", exact: true, bytes: 5, files: 1 })])));
      expect([main.outputs.get("cache-hit"), main.outputs.get("cache-matched-key")]).toEqual(["true", "deps-1"]);
    }
  });

  test("a miss of one is a miss, whatever the others are", async () => {
    const main = step(inputs());
    await setup(main, fakeParts(restoring([() => Promise.resolve(miss), () => Promise.resolve(gone)])));
    expect(main.lines.join("\n")).toContain("Cache not found for input keys: deps-1");
    expect(main.lines.join("\n")).not.toContain("could not restore");
  });

  test("after one that cost the time a job may lose no other is asked", async () => {
    const asked: string[] = [];
    await setup(step(inputs()), fakeParts(restoring([async () => (await setTimeout(2_700), gone)], asked)));
    expect(asked).toHaveLength(1);
  });

  test("a save goes to the first that takes it, with a token that is new when the old one has ended; archives count in the daemon's metrics", async () => {
    const saved: [string, string | undefined][] = [];
    let told: StopOptions | undefined;
    const main = step(inputs());
    const parts = fakeParts({
      ...hit("deps-0"),
      saveArchive: ({ url: at, token }) => (saved.push([at, token]), Promise.resolve({ status: saved.length === 1 ? "unavailable" : "saved", bytesSent: 10, bytesTotal: 100, files: 1, unchanged: false })),
      stopDaemon: (_, options) => ((told = options), Promise.resolve({ perProtocol: [], breakerOpened: 0, unsentBytes: 0, restarts: 0 })),
    });
    await setup(main, parts);
    const left = JSON.parse(main.state.get("stowhouse")!) as { expires: number; connections: { token: string }[] };
    main.state.set("stowhouse", JSON.stringify({ ...left, expires: Date.now() }));
    await finish(step(inputs(), after(main), main.state), parts);
    expect(saved.map(([at]) => at).join(" ")).toBe(servers);
    for (const [i, { token }] of left.connections.entries()) expect([saved[i]![1] === token, saved[i]![1]?.startsWith("eyJ")]).toEqual([false, true]);
    expect(told!.also).toMatchObject([{ protocol: "archive", hits: 1, bytesIn: 5 }, { protocol: "archive", stored: 1, bytesOut: 10 }]);
  });
});

describe("a server that cost a step time", () => {
  const slow = (calls: string[]): Partial<Parts> => ({ restoreArchive: async ({ url: at }) => (calls.push(at), await setTimeout(600), { status: "unavailable", bytes: 0, files: 0, reason: "no answer within 2 s" }) });

  test("is left alone by the next, by whatever way they reach it", async () => {
    const main = step(setupInputs({ path: "deps", "cache-key": "deps-1", fallback: "none" }));
    const asked: string[] = [];
    const parts = fakeParts(slow(asked));
    await setup(main, parts);
    await restoreStep(step({ path: "more", key: "k", fallback: "none" }, after(main)), parts);
    await saveStep(step({ path: "more", key: "k", fallback: "none" }, after(main)), parts);
    await finish(step(setupInputs({ path: "deps", "cache-key": "deps-1", fallback: "none", "job-status": "success" }), after(main), main.state), parts);
    expect(asked).toEqual([url]);
    expect(parts.calls).toEqual([`daemon for ${url}`, "stop within 1000"]);
  });

  test("the same without a set-up step", async () => {
    const hanging = (await loopback.hanging()).origin;
    const inputs = { ...own(), server: hanging, fallback: "none" };
    await restoreStep(step(inputs), fakeParts());
    const began = performance.now();
    await saveStep(step(inputs), fakeParts());
    expect(performance.now() - began).toBeLessThan(500);
  });
});

describe("Nix", () => {
  const inputs = (more: Record<string, string> = {}) => setupInputs({ tools: "nix", "job-status": "success", ...more });
  async function job(given: Record<string, string>, own: Partial<Parts> = {}) {
    const parts = fakeParts(own);
    const main = step(given);
    await setup(main, parts);
    const post = step(given, after(main), main.state);
    await finish(post, parts);
    expect(existsSync(path.join(temp, "stowhouse"))).toBe(false);
    return { calls: parts.calls, main, post };
  }

  test("talks to the daemon; what it has built goes straight to the server, before all is put back", async () => {
    const { calls, post } = await job(inputs());
    expect(calls).toEqual([`daemon for ${url}`, "nix at http://127.0.0.1:4711", `push what Nix built to ${url}`, "undo nix", "stop within 60000"]);
    expect(post.summaries.join()).toContain("- Nix: 2 store paths pushed, 100 B as 10 B in 0.0 s; 1 were there\n");
  });

  test.each([["may only read", { mode: "read" }, false], ["was cancelled", { "job-status": "cancelled" }, false], ["failed", { "job-status": "failure" }, true]])("in a job that %s: %j, what it has built is pushed: %s", async (_, more: Record<string, string>, pushes) => {
    const { calls } = await job(inputs(more));
    expect([calls.some((call) => call.startsWith("push")), calls.includes("undo nix")]).toEqual([pushes, true]);
  });

  test("is not told of a cache the job may not read", async () => {
    const { calls } = await job(inputs({ mode: "write-only" }));
    expect([calls.some((call) => call.startsWith("nix at")), calls.some((call) => call.startsWith("push"))]).toEqual([false, true]);
  });

  test("goes on without, and the job with it, where it can't be set up", async () => {
    const { calls, main } = await job(inputs(), { setUpNix: () => Promise.reject(new Error("there is no nix in PATH")) });
    expect(calls).toEqual([`daemon for ${url}`, "stop within 60000"]);
    expect(main.lines).toContain("warning: Nix is left alone: there is no nix in PATH");
  });

  test("counts in the job's metrics, and a push that failed is said", async () => {
    let told: StopOptions | undefined;
    const { post } = await job(inputs(), {
      pushNix: () => Promise.resolve({ status: "unavailable", paths: 1, present: 0, failed: 0, moved: 10, total: 100, ms: 5, reason: "connection reset" }),
      stopDaemon: (_, options) => ((told = options), Promise.resolve({ perProtocol: [], breakerOpened: 0, unsentBytes: 0, restarts: 0 })),
    });
    expect(told!.also).toEqual([{ protocol: "nix", hits: 0, misses: 0, stored: 1, failed: 1, bytesIn: 0, bytesOut: 10, msWaited: 5 }]);
    expect(post.lines).toContain("warning: Nix: 1 store paths pushed, 100 B as 10 B in 0.0 s (connection reset)");
  });
});
