import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { Machine, type Ran } from "../action/act.ts";
import type { EventName } from "../action/events.ts";
import { startIssuer, type FakeIssuer } from "../fixtures/issuer.ts";
import { Loopback } from "../fixtures/loopback.ts";
import { startServer, type TestServer } from "../fixtures/server.ts";
import { NixRig, startNixDaemon, type NixDaemon } from "./nix.ts";

/** Nix in whole workflows: what a job builds, the next one has. */

/** What a job may lose to a server that is away, s, and how much more of it a busy machine makes. */
const MAY_LOSE = 5;
const MARGIN = 3;

let issuer: FakeIssuer;
let server: TestServer;
let machine: Machine;
let rig: NixRig;

beforeAll(async () => {
  issuer = await startIssuer();
  const rules = [{ repositoryId: 1_296_269, cache: "default", defaultBranch: "main", trustedRefs: ["refs/heads/main"], sharedScope: "local:main" }];
  server = await startServer({ config: { caches: { default: {}, open: { anonymousRead: true } }, auth: { github: { issuer: issuer.url, rules } } } });
  machine = await Machine.start();
});
afterAll(async () => {
  machine.stop();
  await Promise.all([server.stop(), issuer.close()]);
});
beforeEach(() => {
  rig = new NixRig();
});
afterEach(() => rig.remove());

interface Job {
  readonly event?: EventName;
  readonly url?: string;
  readonly inputs?: string;
  readonly env?: Record<string, string>;
}

const WRITES = 'key: "${{ secrets.KEY }}"';

function job(run: string, { event = "push", url = server.url, inputs = WRITES, env = {} }: Job = {}): Promise<Ran> {
  return machine.run(`
- uses: stowhouse/stowhouse@v1
  with: { server: "${url}", tools: nix, ${inputs} }
- run: |
    set -e
${run.trim().split("\n").map((line) => `    ${line.trim()}`).join("\n")}`, { event, issuer, secrets: { KEY: server.writeKey }, env: { NIX_CONF_DIR: rig.conf, FILE: rig.file, ...env } });
}

const BUILD = (attribute: string) => `nix-build --no-out-link $FILE -A ${attribute} > $RESULTS/path`;
/** A store elsewhere can't build without namespaces: what it has, it was given. */
const PULL = (attribute: string) => `nix build --file $FILE ${attribute} --store ${rig.store()} --no-link 2>&1 | tee $RESULTS/said; nix show-config > $RESULTS/settings; cp "$(sed -n 's/^netrc-file = //p' $RESULTS/settings)" $RESULTS/netrc || true`;
const DAEMON = "http://127\\.0\\.0\\.1:\\d+/s/[^/']+/nix";

const green = (ran: Ran) => {
  expect(ran.exit, ran.log).toBe(0);
  expect(ran.log).not.toContain(server.writeKey);
  return ran;
};

/** Whether a cache has a path. */
async function has(storePath: string, cache = "default"): Promise<boolean> {
  const answer = await fetch(`${server.url}/nix/${cache}/${path.basename(storePath).slice(0, 32)}.narinfo`, { headers: { authorization: `Bearer ${server.adminKey}` }, signal: AbortSignal.timeout(10_000) });
  return answer.status === 200;
}

const everything = async (attributes: readonly string[]) => Promise.all((await rig.paths(...attributes)).map((one) => has(one)));

test("what a push to main builds, later jobs and forks pull; forks push nothing; and nothing is left of it", async () => {
  writeFileSync(path.join(rig.conf, "netrc"), "machine elsewhere.example.com\nlogin me\npassword mine", { mode: 0o600 });
  const before = rig.configuration();
  const built = green(await job(BUILD("top")));
  expect(built.log).toMatch(/Nix: 3 store paths pushed, [\d.]+ K?B as [\d.]+ K?B/);
  expect(await everything(["low", "middle", "top"])).toEqual([true, true, true]);

  const pulled = green(await job(`${PULL("top")}\nsed "s/.* //; s,/nix-.*,," <<< "$NIX_CONFIG" > $RESULTS/temp; test -e "$(cat $RESULTS/temp)"`));
  expect(pulled.result("said")).toMatch(new RegExp(`copying path .*-top' from '${DAEMON}'`));
  expect(pulled.log, "hits of the daemon").toMatch(/\| nix \| [1-9]\d* \|/);
  expect(pulled.log).toContain("Nix: 0 store paths pushed");
  expect(pulled.result("settings")).toContain(`netrc-file = ${rig.conf}/netrc\n`);
  for (const line of ["fallback = true", "connect-timeout = 5", "download-attempts = 2"]) expect(pulled.result("settings")).toContain(line);

  const fork = green(await job(`${PULL("top")}\n${BUILD("self")}`, { event: "fork's pull request", inputs: `read-key: ${server.readKey}` }));
  expect(fork.result("said")).toContain("-top' from 'http://127.0.0.1");
  expect(fork.log).toContain("What Nix has built is not pushed: this job may only read");
  expect(await everything(["self"])).toEqual([false]);

  expect(rig.configuration()).toEqual(before);
  expect(existsSync(pulled.result("temp").trim())).toBe(false);
});

test("what a pull request builds, its later jobs pull, and no job of main does", async () => {
  const inputs = "auth: oidc";
  const built = green(await job(BUILD("low"), { event: "pull request", inputs }));
  expect(built.log).toContain("Nix: 1 store paths pushed");
  const pull = `(${PULL("low")}) || true`;
  const [own, main] = [green(await job(pull, { event: "pull request", inputs })), green(await job(pull, { event: "push", inputs }))];
  const copied = /copying path '\S+-low' from/;
  expect([copied.test(own.result("said")), copied.test(main.result("said"))]).toEqual([true, false]);
  const trusted = (ran: Ran) => /^trusted-public-keys = (.*)$/m.exec(ran.result("settings"))![1]!.replaceAll(/:\S+/g, "").split(" ").filter((name) => name.startsWith("default-"));
  expect([trusted(own), trusted(main)]).toEqual([["default-1", "default-untrusted"], ["default-1"]]);
});

test("what another cache has signed is neither pushed nor in the way of what needs it, and the user's own settings stay", async () => {
  const [low] = await rig.build("low");
  const open = `${server.url}/nix/open`;
  expect(await rig.run("nix", "copy", "--to", open, "--option", "netrc-file", rig.netrc(server.adminKey), low!)).toMatchObject({ code: 0 });
  await rig.forget("low");
  const key = (await (await fetch(`${open}/pubkey`)).text()).trim();
  const own = `substituters = ${open}\ntrusted-public-keys = ${key}\ndownload-attempts = 7`;
  const ran = green(await job(`${BUILD("middle")}\nnix show-config > $RESULTS/settings`, { env: { NIX_CONFIG: own } }));
  expect(ran.log).toContain(`low' from '${open}'`);
  expect(ran.log).toContain("Nix: 1 store paths pushed");
  expect(await everything(["low", "middle"])).toEqual([false, true]);
  expect(ran.result("settings")).toMatch(new RegExp(`^substituters = ${open} ${DAEMON}$`, "m"));
  expect(ran.result("settings")).toMatch(/^download-attempts = 7$/m);
});

test("without the daemon, the server is shown a session token, and other hosts what they were shown before", async () => {
  writeFileSync(path.join(rig.conf, "netrc"), "machine elsewhere.example.com\nlogin me\npassword mine", { mode: 0o600 });
  const before = rig.configuration();
  green(await job(BUILD("low"), { inputs: `${WRITES}, daemon: off` }));
  const pulled = green(await job(PULL("low"), { inputs: `${WRITES}, daemon: off` }));
  expect(pulled.result("said")).toContain(`-low' from '${server.url}/nix'`);
  expect(pulled.result("netrc")).toMatch(/^machine elsewhere\.example\.com\nlogin me\npassword mine\nmachine 127\.0\.0\.1\nlogin stowhouse\npassword eyJ\S+\n$/);
  expect(rig.configuration()).toEqual(before);
});

describe("without a server", () => {
  test("from the beginning, Nix is not told of one", async () => {
    const loopback = new Loopback();
    const { origin } = await loopback.dead();
    const ran = green(await job(`${BUILD("low")}\necho "$NIX_CONFIG" > $RESULTS/told`, { url: origin }));
    await loopback.close();
    expect([ran.result("told"), existsSync(ran.result("path").trim())]).toEqual(["\n", true]);
  });

  test.each([["killed", "KILL", "connection refused"], ["frozen", "STOP", "no answer within 2 s"]])("that is %s in the middle of the job, Nix builds what it can't pull, and hardly later", async (_, signal, reason) => {
    const without = green(await job(BUILD("low"), { url: "" })).seconds;
    const mortal = await startServer();
    try {
      const ran = green(await job(`kill -${signal} ${mortal.pid}\n${BUILD("top")}`, { url: mortal.url, inputs: `key: ${mortal.writeKey}` }));
      expect(existsSync(ran.result("path").trim())).toBe(true);
      expect(ran.log).toMatch(new RegExp(`warning.*Nix: 0 store paths pushed.*\\(${reason}\\)`));
      expect(ran.seconds - without, ran.log).toBeLessThan(MAY_LOSE * MARGIN);
    } finally {
      await mortal.kill();
    }
  });

  test("that has Nix's caches, Nix is left alone", async () => {
    const loopback = new Loopback();
    const plain = await loopback.http((request, response) => {
      if (request.url!.startsWith("/nix")) return void response.writeHead(404).end();
      void fetch(`${server.url}${request.url}`, { method: request.method!, headers: { authorization: request.headers.authorization ?? "", "content-type": "application/json" }, body: "{}" }).then(async (answer) => response.writeHead(answer.status, { "content-type": "application/json" }).end(await answer.text()));
    });
    const ran = green(await job(`${BUILD("low")}\necho "$NIX_CONFIG" > $RESULTS/told`, { url: plain.origin }));
    await loopback.close();
    expect(ran.log).toContain("has no binary cache of Nix for this job");
    expect([ran.result("told"), existsSync(ran.result("path").trim())]).toEqual(["\n", true]);
  });
});

describe.each([["trusts", "root"], ["does not trust", "nobody"]])("behind a nix-daemon that %s the job's user", (_, users) => {
  let daemon: NixDaemon;
  let PATH: string | undefined;
  beforeEach(async () => {
    daemon = await startNixDaemon(rig, users);
    ({ PATH } = process.env);
    // The daemon's own script stands for the machine's systemctl.
    process.env["PATH"] = `${daemon.bin}:${PATH}`;
  });
  afterEach(() => {
    process.env["PATH"] = PATH;
    daemon.stop();
  });

  test("jobs push and pull, and its settings are put back byte for byte", async () => {
    const before = rig.configuration();
    const built = green(await job(`cat $NIX_CONF_DIR/nix.conf > $RESULTS/conf\n${BUILD("top")}`, { env: daemon.env }));
    expect(built.log).toContain("Nix: 3 store paths pushed");
    expect(built.result("conf").includes("!include")).toBe(users === "nobody");
    expect(rig.configuration()).toEqual(before);
    await rig.forget("top", "middle", "low");
    const pulled = green(await job(BUILD("top"), { env: daemon.env }));
    expect(pulled.log).toMatch(/copying path .*-top' from 'http:\/\/127\.0\.0\.1:\d+\/(s\/\*\*\*\/)?nix'/);
    expect(pulled.log).not.toContain("building '/nix/store");
    expect(pulled.log).toContain("Nix: 0 store paths pushed");
    expect(rig.configuration()).toEqual(before);
    expect(daemon.starts()).toBe(users === "nobody" ? 5 : 1);
  });

  test("that can't be started again, a job goes on without, and says what to do", async () => {
    rmSync(path.join(daemon.bin, "systemctl"));
    mkdirSync(path.join(daemon.bin, "systemctl"));
    const before = rig.configuration();
    const ran = green(await job(BUILD("low"), { env: daemon.env }));
    expect(ran.log.includes("Add the user to trusted-users in the machine's nix.conf")).toBe(users === "nobody");
    expect(rig.configuration()).toEqual(before);
    expect(readFileSync(path.join(rig.conf, "nix.conf"), "utf8")).not.toContain("!include");
  });
});
