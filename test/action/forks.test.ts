import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startIssuer, type FakeIssuer } from "../fixtures/issuer.ts";
import { startServer, type TestServer } from "../fixtures/server.ts";
import { Machine, type Ran, type RunOptions } from "./act.ts";
import type { EventName } from "./events.ts";

/** Who may do what, as whole jobs: each row is a workflow that sets up, restores, runs a tool that reads and writes, and saves. */

const PROBE = path.join(import.meta.dirname, "probe.mjs");
const MAIN = "1296269:refs/heads/main";

let issuer: FakeIssuer;
let server: TestServer;
let machine: Machine;

beforeAll(async () => {
  issuer = await startIssuer();
  server = await startServer({
    config: { auth: { githubRuntime: { enabled: true }, github: { issuer: issuer.url, rules: [{ repositoryId: 1_296_269, cache: "default", defaultBranch: "main", trustedRefs: ["refs/heads/main"], sharedScope: "local:main" }] } } },
  });
  machine = await Machine.start();
  // What main has: a directory, and an entry of a tool.
  const seeded = await job({ event: "push", save: "main" });
  expect(seeded.exit, seeded.log).toBe(0);
});
afterAll(async () => {
  machine.stop();
  await Promise.all([server.stop(), issuer.close()]);
});

interface Row extends RunOptions {
  readonly event: EventName;
  /** Inputs of the set-up action. */
  readonly with?: Readonly<Record<string, string>>;
  /** Key the job tries to save. */
  readonly save: string;
  readonly between?: string;
}

async function job({ with: inputs = {}, save, between = "true", ...options }: Row): Promise<Ran> {
  const given = Object.entries({ server: server.url, path: "deps", "cache-key": `deps-${save}`, "restore-keys": "deps-main", ...inputs });
  return machine.run(`
- id: stowhouse
  uses: stowhouse/stowhouse@v1
  with:
${given.map(([name, value]) => `    ${name}: ${value}`).join("\n")}
- run: |
    cat deps/a > $RESULTS/restored 2>/dev/null || true
    mkdir -p deps; echo from ${save} > deps/a
    ${between}
    "$STEP_NODE" ${PROBE} tool-main tool-${save}
    env > $RESULTS/env
    cat > $RESULTS/outputs <<'EOF'
    \${{ toJSON(steps.stowhouse.outputs) }}
    EOF`, { issuer, ...options, forced: { ACTIONS_RUNTIME_TOKEN: "github's own", ACTIONS_RESULTS_URL: "http://127.0.0.1:9/", ACTIONS_CACHE_SERVICE_V2: "True", ...options.forced } });
}

/** What a job on main would find under the key. */
async function onMain(key: string): Promise<boolean> {
  const { token } = (await (await fetch(`${server.url}/v1/auth/github`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ id_token: await issuer.idToken({ aud: server.url }) }) })).json()) as { token: string };
  const answer = await fetch(`${server.url}/twirp/github.actions.results.api.v1.CacheService/GetCacheEntryDownloadURL`, {
    method: "POST", headers: { authorization: `Bearer ${token}`, "content-type": "application/json" }, body: JSON.stringify({ key, version: "a".repeat(64) }),
  });
  return ((await answer.json()) as { ok: boolean }).ok;
}

/** What every job must keep: green, and no credential in its log. */
function green(ran: Ran, ...secrets: string[]): void {
  expect(ran.exit, ran.log).toBe(0);
  for (const secret of [...secrets, ran.json("outputs")["token"] ?? "", ran.json("probe")["token"]!]) if (secret !== "") expect(ran.log.includes(secret), "a credential is in the log").toBe(false);
}

let serial = 0;
const fresh = () => `row-${++serial}`;
const READS = { hit: "from the probe" };

describe("by GitHub's identity", () => {
  test("a push to main reads and writes what main has", async () => {
    const save = fresh();
    const ran = await job({ event: "push", save });
    green(ran);
    expect(ran.json("outputs")).toMatchObject({ available: "true", mode: "write", "read-only": "false", scope: "local:main", "cache-hit": "false", "cache-matched-key": "deps-main" });
    expect(ran.result("restored")).toBe("from main\n");
    expect(ran.json("probe")).toMatchObject({ ...READS, stored: "true" });
    expect(ran.log).toContain(`Cache saved with key: deps-${save}`);
    expect(await onMain(`tool-${save}`)).toBe(true);
  });

  test.each(["push to a branch", "pull request"] as const)("a %s reads main and writes only its own scope", async (event) => {
    const save = fresh();
    const ran = await job({ event, save });
    green(ran);
    expect(ran.json("outputs")).toMatchObject({ mode: "write", scope: event === "pull request" ? "1296269:refs/pull/7/merge" : "1296269:refs/heads/feature" });
    expect(ran.result("restored")).toBe("from main\n");
    expect(ran.json("probe")).toMatchObject({ ...READS, stored: "true" });
    expect(await onMain(`tool-${save}`)).toBe(false);
  });

  test("pull_request_target, which runs on main with anybody's change, only reads", async () => {
    const save = fresh();
    const ran = await job({ event: "pull_request_target", save });
    green(ran);
    expect(ran.json("outputs")).toMatchObject({ mode: "read", "read-only": "true", scope: MAIN, "buildkit-cache-to": "" });
    expect(ran.json("probe")).toMatchObject({ ...READS, stored: "", said: expect.stringMatching(/^cache write denied: /) as string });
    expect(await onMain(`tool-${save}`)).toBe(false);
  });

  test.each([["read", "read", true], ["write", "write", true], ["write-only", "write-only", false], ["none", "off", false]] as const)("cache-mode %s is kept: %s", async (cacheMode, mode, reads) => {
    const save = fresh();
    const ran = await job({ event: "push", save, forced: { ACTIONS_CACHE_MODE: cacheMode } });
    green(ran);
    expect(ran.json("outputs")).toMatchObject({ mode });
    expect(ran.json("probe")["hit"]).toBe(reads ? READS.hit : "");
    expect(ran.result("restored")).toBe(reads ? "from main\n" : "");
    expect(await onMain(`tool-${save}`)).toBe(mode.startsWith("write"));
  });

  test("a job that outlives its token goes on, and saves with a new one", async () => {
    const short = await startServer({ config: { auth: { sessionLifetime: "4s", maxSessionLifetime: "4s", github: { issuer: issuer.url, rules: [{ repositoryId: 1_296_269, cache: "default", defaultBranch: "main", trustedRefs: ["refs/heads/main"] }] } } } }).catch((error: unknown) => error as Error);
    if (short instanceof Error) throw short;
    const save = fresh();
    const ran = await job({ event: "push", save, with: { server: short.url }, between: "sleep 4.5" });
    green(ran);
    expect(ran.log).toContain(`Cache saved with key: deps-${save}`);
    await short.stop();
  });
});

describe("by an API key", () => {
  test("a push reads and writes, and no tool ever sees the key", async () => {
    const save = fresh();
    const ran = await job({ event: "push", save, with: { key: "${{ secrets.KEY }}", auth: "key" }, secrets: { KEY: server.writeKey } });
    green(ran, server.writeKey);
    expect(ran.json("outputs")).toMatchObject({ mode: "write", scope: "local:main" });
    expect(ran.json("probe")).toMatchObject({ ...READS, stored: "true" });
    expect([ran.result("env"), ran.result("outputs")].join().includes(server.writeKey)).toBe(false);
  });

  test("without the daemon tools get a session token, not the key", async () => {
    const ran = await job({ event: "push", save: fresh(), with: { key: "${{ secrets.KEY }}", auth: "key", daemon: "off" }, secrets: { KEY: server.writeKey } });
    green(ran, server.writeKey);
    expect(ran.json("probe")).toMatchObject({ ...READS, stored: "true", url: `${server.url}/`, token: ran.json("outputs")["token"] });
    expect([ran.result("env"), ran.result("outputs")].join().includes(server.writeKey)).toBe(false);
  });

  test.each(["pull request", "pull_request_target", "Dependabot's pull request"] as const)("a %s only reads", async (event) => {
    const save = fresh();
    const ran = await job({ event, save, with: { key: "${{ secrets.KEY }}", auth: "key" }, secrets: { KEY: server.writeKey } });
    green(ran, server.writeKey);
    expect(ran.json("outputs")).toMatchObject({ mode: "read", "read-only": "true" });
    expect(ran.json("probe")).toMatchObject({ ...READS, stored: "", said: expect.stringMatching(/^cache write denied: /) as string });
    expect(ran.log).toContain("Cache not saved: cache write denied");
    expect(await onMain(`tool-${save}`)).toBe(false);
  });
});

describe("a fork's pull request", () => {
  test.each(["on", "off"])("reads with the public read key, and is told politely that it can't write (daemon: %s)", async (daemon) => {
    const save = fresh();
    const ran = await job({ event: "fork's pull request", save, with: { "read-key": server.readKey, daemon } });
    green(ran);
    expect(ran.json("outputs")).toMatchObject({ available: "true", mode: "read", "read-only": "true", "cache-matched-key": "deps-main" });
    expect(ran.result("restored")).toBe("from main\n");
    expect(ran.json("probe")).toMatchObject({ ...READS, stored: "", said: expect.stringMatching(/^cache write denied: /) as string });
    // What its tools and outputs hold reads, and does no more.
    const reserve = await fetch(`${server.url}/twirp/github.actions.results.api.v1.CacheService/CreateCacheEntry`, {
      method: "POST", headers: { authorization: `Bearer ${ran.json("outputs")["token"]}`, "content-type": "application/json" }, body: JSON.stringify({ key: `stolen-${save}`, version: "a".repeat(64) }),
    });
    expect(((await reserve.json()) as { ok?: boolean }).ok ?? false).toBe(false);
    expect(await onMain(`tool-${save}`)).toBe(false);
  });

  test("goes on without a cache where there is no read key and nobody may read unnamed", async () => {
    const ran = await job({ event: "fork's pull request", save: fresh() });
    green(ran);
    expect(ran.json("outputs")).toMatchObject({ available: "false", mode: "off", token: "" });
    expect(ran.json("probe")).toMatchObject({ url: "" });
    expect(ran.log).toMatch(/The job goes on without Stowhouse: http:\S+ gives this job no access/);
  });

  test("writes the scope of its pull request where the server takes runtime tokens", async () => {
    const save = fresh();
    const token = await issuer.runtimeToken([{ Scope: "refs/pull/7/merge", Permission: 3 }, { Scope: "refs/heads/main", Permission: 1 }]);
    const ran = await job({ event: "fork's pull request", save, with: { auth: "runtime-token" }, forced: { ACTIONS_RUNTIME_TOKEN: token } });
    green(ran, token);
    expect(ran.json("outputs")).toMatchObject({ mode: "write", scope: "1296269:refs/pull/7/merge" });
    expect(ran.json("probe")).toMatchObject({ stored: "true" });
    expect(await onMain(`tool-${save}`)).toBe(false);
  });
});
