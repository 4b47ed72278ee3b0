import { cpSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Faulty, FAULTS, type Fault } from "../fixtures/faulty.ts";
import { Loopback } from "../fixtures/loopback.ts";
import { startServer, type TestServer } from "../fixtures/server.ts";
import { Machine, type Ran } from "./act.ts";

/** Whatever the server does: jobs are green, their trees as before or complete, and hardly later. */

/** What a job may lose to a fault, s, and how much more of it a busy machine makes. */
const MAY_LOSE = 5;
const MARGIN = 3;

let server: TestServer;
let machine: Machine;
let home: string;
let tree: string;
/** The same job without Stowhouse, s. */
let without: number;

beforeAll(async () => {
  server = await startServer();
  machine = await Machine.start();
  home = mkdtempSync(path.join(tmpdir(), "stowhouse-faults-"));
  tree = path.join(home, "tree");
  mkdirSync(tree);
  for (const name of ["fastify", "yaml"]) cpSync(path.resolve(import.meta.dirname, "../../node_modules", name), path.join(tree, name), { recursive: true });
  const seeded = await job(server.url, { before: "cp -a $TREE/. deps; cp -a deps more; rm deps/mine more/mine" });
  expect(seeded.exit, seeded.log).toBe(0);
  without = (await job("")).seconds;
});
afterAll(async () => {
  machine.stop();
  rmSync(home, { recursive: true, force: true });
  await server.stop();
});

interface JobOptions {
  /** Shell, before set-up and between set-up and the rest. */
  readonly before?: string;
  readonly between?: string;
  readonly inputs?: string;
  readonly forced?: Record<string, string>;
}

let serial = 0;

/** Set-up restores one tree, restore another; save saves that, and post the first. Both have something in them before. */
function job(url: string, { before = "true", between = "true", inputs = "", forced = {} }: JobOptions = {}): Promise<Ran> {
  const key = ++serial === 1 ? "seed" : `fault-${serial}`;
  const whole = (name: string) => `test -e ${name}/mine; if [ -e ${name}/fastify ]; then diff -r --no-dereference -x mine $TREE ${name} && echo complete; else test "$(find ${name} -type f)" = ${name}/mine && echo before; fi > $RESULTS/${name}`;
  return machine.run(`
- run: mkdir deps more; echo mine > deps/mine; echo mine > more/mine
- id: stowhouse
  uses: stowhouse/stowhouse@v1
  with: { server: "${url}", key: "\${{ secrets.KEY }}", path: deps, cache-key: ${key}, restore-keys: seed, fallback: ${inputs === "" ? "none" : inputs} }
- run: |
    ${before}
    ${between}
- uses: stowhouse/stowhouse/action/restore@v1
  with: { path: more, key: ${key}, restore-keys: seed, fallback: none }
- run: |
    ${before === "true" ? ["deps", "more"].map(whole).join("\n    ") : "true"}
    env > $RESULTS/env
- uses: stowhouse/stowhouse/action/save@v1
  with: { path: more, key: ${key}, fallback: none }`, { secrets: { KEY: server.writeKey }, env: { TREE: tree }, forced: { ACTIONS_RUNTIME_TOKEN: "github's own", ...forced } });
}

function unharmed(ran: Ran): void {
  expect(ran.exit, ran.log).toBe(0);
  for (const name of ["deps", "more"]) expect(["before\n", "complete\n"], ran.log).toContain(ran.result(name));
  expect(ran.seconds - without, ran.log).toBeLessThan(MAY_LOSE * MARGIN);
}

/** A server in front of the good one, and a URL to call from the job when it shall go wrong. */
async function withFault(fault: Fault, use: (url: string, trigger: string, faulty: Faulty) => Promise<void>): Promise<void> {
  const faulty = await new Faulty().start(server.url);
  const loopback = new Loopback();
  const control = await loopback.http((_, response) => {
    faulty.become(fault);
    response.end();
  });
  try {
    await use(faulty.url, `"$STEP_NODE" -e "fetch('${control.href}').then((answer) => answer.text())"`, faulty);
  } finally {
    await Promise.all([faulty.stop(), loopback.close()]);
  }
}

const NAMES = Object.keys(FAULTS);

describe.concurrent("a server that from the beginning", () => {
  test.each(NAMES)("%s", async (name) => {
    await withFault(FAULTS[name]!, async (url, _, faulty) => {
      faulty.become(FAULTS[name]);
      unharmed(await job(url));
    });
  });

  test.each(["is down", "never speaks"])("%s", async (name) => {
    const loopback = new Loopback();
    const url = name === "is down" ? await loopback.dead() : await loopback.hanging();
    const ran = await job(url.origin);
    await loopback.close();
    unharmed(ran);
    expect([ran.result("deps"), ran.result("more")]).toEqual(["before\n", "before\n"]);
    expect(ran.result("env")).not.toMatch(/^ACTIONS_RESULTS_URL=http/m);
  });
});

describe.concurrent("a server that in the middle of the job", () => {
  test.each(NAMES)("%s", async (name) => {
    await withFault(FAULTS[name]!, async (url, trigger) => unharmed(await job(url, { between: trigger })));
  });

  test("dies", async () => {
    const faulty = await new Faulty().start(server.url);
    const loopback = new Loopback();
    const control = await loopback.http((_, response) => void faulty.stop().then(() => response.end()));
    const ran = await job(faulty.url, { between: `"$STEP_NODE" -e "fetch('${control.href}').then((answer) => answer.text())"` });
    await loopback.close();
    unharmed(ran);
    expect([ran.result("deps"), ran.result("more")]).toEqual(["complete\n", "before\n"]);
  });
});

describe("GitHub's cache", () => {
  // Another server of ours plays it.
  const github = (url: string, token: string) => ({ ACTIONS_RESULTS_URL: `${url}/`, ACTIONS_RUNTIME_TOKEN: token, ACTIONS_CACHE_SERVICE_V2: "True" });
  const hits = async (one: TestServer) => Number(/^stowhouse_requests_total\{protocol="github-actions",op="\w+",result="hit"\} (\d+)$/m.exec(await (await fetch(`${one.url}/metrics`)).text())?.[1] ?? 0);

  test("stands in for a server that is away, and only then", async () => {
    const other = await startServer();
    const loopback = new Loopback();
    const dead = (await loopback.dead()).origin;
    const forced = github(other.url, other.writeKey);
    const steps = (url: string, key: string) => `
- id: cache
  uses: stowhouse/stowhouse/action/cache@v1
  with: { server: "${url}", api-key: "\${{ secrets.KEY }}", path: deps, key: ${key} }
- run: if [ -e deps/x ]; then cat deps/x > $RESULTS/found; else mkdir deps; echo built > deps/x; echo none > $RESULTS/found; fi`;
    const options = { secrets: { KEY: server.writeKey }, forced };
    const cold = await machine.run(steps(dead, "github"), options);
    const warm = await machine.run(steps(dead, "github"), options);
    expect([cold.exit, warm.exit, cold.result("found"), warm.result("found")], cold.log + warm.log).toEqual([0, 0, "none\n", "built\n"]);
    expect(warm.log).toContain("No Stowhouse server answers: restore goes to GitHub's cache");
    const before = await hits(other);
    // With a server that answers nobody asks GitHub, not even after a miss.
    const well = await machine.run(steps(server.url, "github"), options);
    expect([well.exit, well.result("found"), await hits(other) - before], well.log).toEqual([0, "none\n", 0]);
    await loopback.close();
    await other.stop();
  });
});
