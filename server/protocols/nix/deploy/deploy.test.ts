import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startApp, KEYS, type TestApp } from "../../../../test/fixtures/app.ts";
import { Activator, TestAgent, type Server } from "../../../../test/fixtures/deploy.ts";
import { NixClient, nixKey, testPath, type TestPath } from "../../../../test/fixtures/nix.ts";
import { defaultConfig } from "../../../app.ts";
import type { DeployRight } from "../../../database/operations/keys.ts";
import { nix } from "../index.ts";
import { parsePublicKey } from "../keys.ts";
import { fingerprint, parseNarInfo } from "../narinfo.ts";
import type { NixOptions } from "../options.ts";
import { deployProblem } from "./setup.ts";

const WORKSPACES = { prod: { cache: "team" }, test: { cache: "team" }, fixed: { cache: "open", agents: ["one", "two"] } };

let app: TestApp;
let server: Server;
let activator: Activator;
let agentKey: string;
const storePath = (path: TestPath) => `/nix/store/${path.info.storePath}`;
const [system, newer, rollback, foreign] = [testPath("system-1"), testPath("system-2"), testPath("rollback"), testPath("foreign")];

beforeAll(async () => {
  app = await startApp({ caches: { default: {}, team: {}, open: { anonymousRead: true } }, protocols: { nix: { domain: "deploy.test", deploy: { workspaces: WORKSPACES } } } }, [nix]);
  server = { url: await app.listen(), domain: "deploy.test" };
  activator = new Activator(server, await activateKey("prod"));
  agentKey = await key({ workspace: "prod", may: "agent" });
  const pushing = new NixClient(`${server.url}/nix/team`, await nixKey(app, { permission: "write", caches: ["team", "open"] }));
  for (const path of [system, newer, rollback]) expect(await pushing.push(path)).toBe(204);
  expect(await new NixClient(`${server.url}/nix/default`, KEYS.write).push(foreign)).toBe(204);
});
afterAll(() => app.close());

const key = (deploy: DeployRight, caches = ["team"]) => nixKey(app, { permission: "read", caches, deploy });
const activateKey = (workspace: string, caches = ["team"]) => key({ workspace, may: "activate" }, caches);
const connect = (name: string, token = agentKey) => new TestAgent(server, token, name).connect();

describe("an agent", () => {
  it("is told where it finds what it activates, by the key's name that it expects", async () => {
    const agent = await connect("told");
    const { cacheName, publicKey, isPublic } = agent.cache!;
    expect([cacheName, isPublic]).toEqual(["team", false]);
    const known = parsePublicKey(`${cacheName}.${server.domain}-1:${publicKey}`);
    const info = parseNarInfo(await new NixClient(`${server.url}/nix/team`, agentKey).text(`/${system.hash}.narinfo`), "/nix/store");
    expect(info.signatures.some((signature) => known.verifies(fingerprint(info, "/nix/store"), signature))).toBe(true);
    const again = await connect("told");
    expect(again.id).toBe(agent.id);
    expect(await agent.line.end()).toMatchObject({ code: 1000 });
    await again.leave();
  });

  it("activates what it is told, and its log is read in order from the beginning", async () => {
    const agent = await connect("web");
    const ids = await activator.activate({ web: storePath(system) }, { "x86_64-linux": storePath(rollback), "aarch64-linux": storePath(system) });
    const order = await agent.order();
    expect(order).toEqual({ id: ids["web"], index: 1, storePath: storePath(system), rollbackScript: storePath(rollback) });
    expect(await activator.deployment(order.id)).toMatchObject({ status: "Pending", startedOn: null, finishedOn: null, index: 1 });
    const lines = Array.from({ length: 300 }, (_, i) => `line ${i}`);
    const early = activator.log(order.id);
    await agent.run(order, true, lines);
    const expected = [...lines, "Successfully activated the deployment."];
    expect(await early).toEqual(expected);
    expect(await activator.log(order.id)).toEqual(expected);
    expect(await activator.result(order.id)).toMatchObject({ status: "Succeeded", closureSize: 1234, storePath: storePath(system), startedOn: expect.stringMatching(/Z$/), finishedOn: expect.stringMatching(/Z$/) });
    await agent.leave();
  });

  it("fails, and is told the next one only then", async () => {
    const agent = await connect("failing");
    const first = await activator.activate({ failing: storePath(system) });
    const order = await agent.order();
    const { progress, started, finished } = agent.process(order);
    await progress.status();
    started();
    const second = await activator.activate({ failing: storePath(newer) });
    await sleep(1_300);
    expect([agent.line.waiting, (await activator.deployment(order.id)).status, (await activator.deployment(second["failing"]!)).status]).toEqual([0, "InProgress", "Pending"]);
    finished(false);
    expect((await activator.result(first["failing"]!)).status).toBe("Failed");
    const next = await agent.order();
    expect(next).toMatchObject({ id: second["failing"], index: 2 });
    // Ends never change.
    started();
    finished(true);
    await agent.run(next);
    expect((await activator.result(first["failing"]!)).status).toBe("Failed");
    await agent.leave();
  });

  it("that was away gets the newest, and who waits for older ones is told that they are cancelled", async () => {
    const agent = await connect("away");
    await agent.leave();
    while ((await states()).find(({ name }) => name === "away")!.connected) await sleep(10);
    const [old, latest] = [await activator.activate({ away: storePath(system) }), await activator.activate({ away: storePath(newer) })];
    expect((await activator.result(old["away"]!)).status).toBe("Cancelled");
    expect(await activator.log(old["away"]!)).toEqual([]);
    const back = await connect("away");
    const order = await back.order();
    expect(order.id).toBe(latest["away"]);
    await back.run(order);
    await sleep(1_200);
    expect(back.line.waiting).toBe(0);
    await back.leave();
  });

  it("gets what it was sent once more when it left before it began", async () => {
    const agent = await connect("unlucky");
    await activator.activate({ unlucky: storePath(system) });
    const order = await agent.order();
    await agent.leave();
    expect(await (await connect("unlucky")).order()).toEqual(order);
  });

  it("whose key is revoked is closed out, and can't come back", async () => {
    const { key: text, info } = await app.identity.keys.create({ name: "x", permission: "read", caches: ["team"], deploy: { workspace: "prod", may: "agent" } });
    const agent = await connect("revoked", text);
    await app.identity.keys.revoke(info.id);
    expect(await agent.line.end()).toMatchObject({ code: 1008 });
    expect(await agent.dial("/ws").status()).toBe(401);
  });
});

describe("an activation", () => {
  it("tells two agents at once, and answers the first version's way as well", async () => {
    const both = await Promise.all(["one", "two"].map((name) => key({ workspace: "fixed", may: "agent", agent: name }, ["open"]).then((token) => connect(name, token))));
    expect(both[0]!.cache).toMatchObject({ cacheName: "open", isPublic: true });
    const pushing = new NixClient(`${server.url}/nix/open`, await nixKey(app, { permission: "write", caches: ["open"] }));
    await pushing.push(system);
    const activating = new Activator(server, await activateKey("fixed", ["open"]));
    const ids = await activating.activate({ one: storePath(system), two: storePath(system) });
    const orders = await Promise.all(both.map((agent) => agent.order()));
    expect(orders.map(({ id }) => id)).toEqual([ids["one"], ids["two"]]);
    await Promise.all(both.map((agent, i) => agent.run(orders[i]!, i === 0)));
    expect([(await activating.result(ids["one"]!)).status, (await activating.result(ids["two"]!)).status]).toEqual(["Succeeded", "Failed"]);
    const { status, text } = await activating.send("POST", "/api/v1/deploy/activate", { agents: { one: storePath(system) } });
    expect([status, JSON.parse(text)]).toEqual([200, { agents: { one: expect.stringMatching(/^http:\/\/deploy\.test.*\/api\/v1\/deploy\/deployment\/[0-9a-f-]{36}$/) } }]);
    for (const agent of both) await agent.leave();
  });

  it("may name agents of the configuration before they first connect, and no others", async () => {
    const fixed = new Activator(server, await activateKey("fixed", ["open"]));
    expect(await fixed.send("POST", "/api/v2/deploy/activate", { agents: { three: storePath(system) } })).toMatchObject({ status: 400, text: expect.stringContaining('no agent "three"') });
    expect(await activator.send("POST", "/api/v2/deploy/activate", { agents: { nobody: storePath(system) } })).toMatchObject({ status: 400 });
  });

  it("of anything agents could not fetch tells none of them", async () => {
    const agent = await connect("careful");
    const untrusted = testPath("untrusted");
    expect(await new NixClient(`${server.url}/nix/team`, await nixKey(app, { permission: "write", caches: ["team"], trusted: false })).push(untrusted)).toBe(204);
    const refused = async (path: unknown, rollbackScript = {}) => (await activator.send("POST", "/api/v2/deploy/activate", { agents: { careful: path, web: storePath(system) }, rollbackScript })).text;
    expect(await refused(storePath(testPath("never pushed".replaceAll(" ", "-"))))).toContain("push it first");
    expect(await refused(storePath(foreign))).toContain("push it first");
    expect(await refused(storePath(system).replace("system-1", "system-9"))).toContain("push it first");
    expect(await refused(storePath(untrusted))).toContain("nobody trusted");
    for (const path of ["/etc/passwd", `${storePath(system)}/../x`, `${storePath(system)}; reboot`, system.info.storePath, "", `/nix/store/${"e".repeat(32)}-x`]) expect(await refused(path)).toContain("is not a path of the store");
    expect(await refused(storePath(system), { "x86_64-linux": "/bin/sh" })).toContain("is not a path of the store");
    expect(await refused(5)).toContain("maps names to store paths");
    await sleep(1_200);
    expect(agent.line.waiting).toBe(0);
    await agent.leave();
  });

  it("and its end stand in the audit log", async () => {
    await app.core.journal.flush();
    const lines = await app.core.database.read("queryAudit", { action: "deploy.activate", limit: 500 });
    expect(lines.find(({ key: text }) => text.startsWith("web "))).toMatchObject({ cache: "team", scope: "prod", actor: expect.stringMatching(/^key:/), result: "ok", key: expect.stringContaining(storePath(system)) });
    const ends = await app.core.database.read("queryAudit", { action: "deploy.finish", limit: 500 });
    expect(new Set(ends.map(({ result }) => result))).toEqual(new Set(["ok", "failed"]));
  });
});

describe("a workspace", () => {
  it("is closed to keys of others, to keys without rights, and to nobody at all", async () => {
    const agent = await connect("secret");
    const { secret: id } = await activator.activate({ secret: storePath(system) });
    await agent.order();
    const other = new Activator(server, await activateKey("test"));
    expect((await other.send("GET", `/api/v1/deploy/deployment/${id!}`)).status).toBe(404);
    expect(await other.view(id!).status()).toBe(404);
    expect((await other.send("POST", "/api/v2/deploy/activate", { agents: { secret: storePath(system) } })).status).toBe(400);
    const foreignKey = await key({ workspace: "test", may: "agent" });
    expect(await new TestAgent(server, foreignKey, "secret").dial(`/api/v1/deploy/log/${id!}`).status()).toBe(404);
    expect(await new TestAgent(server, agentKey, "web").dial(`/api/v1/deploy/log/${id!}`).status()).toBe(404);
    // Its own agent of that name is another one.
    const namesake = await connect("secret", foreignKey);
    const { progress, finished } = namesake.process({ id: id!, index: 1, storePath: "", rollbackScript: null });
    await progress.status();
    finished(true);
    await sleep(300);
    expect((await activator.deployment(id!)).status).toBe("Pending");
    expect(namesake.line.waiting).toBe(0);
    for (const token of [agentKey, KEYS.read, KEYS.write, KEYS.admin]) {
      const asking = new Activator(server, token);
      expect((await asking.send("POST", "/api/v2/deploy/activate", { agents: { secret: storePath(system) } })).status).toBe(403);
      expect((await asking.send("GET", `/api/v1/deploy/deployment/${id!}`)).status).toBe(403);
      expect(await asking.view(id!).status()).toBe(403);
    }
    for (const token of [await activateKey("prod"), KEYS.write, KEYS.admin]) expect(await new TestAgent(server, token, "x").dial("/ws").status()).toBe(403);
    // Nothing made from a key has its right.
    const session = await fetch(`${server.url}/c/team/v1/auth/session`, { method: "POST", headers: { authorization: `Bearer ${await activateKey("prod")}`, "content-type": "application/json" }, body: "{}" });
    const { token } = (await session.json()) as { token: string };
    expect((await new Activator(server, token).send("GET", `/api/v1/deploy/deployment/${id!}`)).status).toBe(403);
    expect((await new Activator(server, "").send("GET", `/api/v1/deploy/deployment/${id!}`)).status).toBe(401);
    expect(await new TestAgent(server, "stow_ro_nothing", "x").dial("/ws").status()).toBe(401);
    for (const one of [agent, namesake]) await one.leave();
  });

  it("keeps agents to their names, and keys to the workspace's cache", async () => {
    const only = await key({ workspace: "prod", may: "agent", agent: "mine" });
    expect(await new TestAgent(server, only, "yours").dial("/ws").status()).toBe(403);
    expect(await new TestAgent(server, agentKey, "a b").dial("/ws").status()).toBe(400);
    expect(await new TestAgent(server, await key({ workspace: "fixed", may: "agent" }, ["open"]), "three").dial("/ws").status()).toBe(403);
    expect(await new TestAgent(server, await key({ workspace: "prod", may: "agent" }, ["open"]), "web").dial("/ws").status()).toBe(403);
    expect(await new TestAgent(server, await key({ workspace: "gone", may: "agent" }), "web").dial("/ws").status()).toBe(403);
    expect(await new TestAgent(server, agentKey, "never-seen").dial("/ws-deployment").status()).toBe(404);
  });

  it("shows administrators its agents", async () => {
    expect((await states()).find(({ name }) => name === "web")).toMatchObject({ connected: false, system: "x86_64-linux", version: "1.11.1", deployment: { number: 1, status: "Succeeded" } });
    expect((await app.app.inject({ method: "GET", url: "/v1/admin/nix/deploy", headers: { authorization: `Bearer ${KEYS.write}` } })).statusCode).toBe(403);
  });
});

describe("a log", () => {
  it("has a limit, and still its end", async () => {
    const agent = await connect("chatty");
    await activator.activate({ chatty: storePath(system) });
    await agent.run(await agent.order(), true, Array.from({ length: 400 }, (_, i) => `${i} ${"x".repeat(5_000)}`));
    const { deployment } = (await states()).find(({ name }) => name === "chatty")!;
    const lines = await activator.log(deployment!.id);
    expect(lines.length).toBeLessThan(300);
    expect([lines.at(-2), lines.at(-1)]).toEqual(["… the log is longer than 1 MiB; the rest of it is left out", "Successfully activated the deployment."]);
    await agent.leave();
  });

  it("ends its writer for what is no line", async () => {
    const agent = await connect("odd");
    await activator.activate({ odd: storePath(system) });
    const { log, progress } = agent.process(await agent.order());
    await Promise.all([log.status(), progress.status()]);
    log.socket.send("no JSON");
    progress.send({});
    expect([(await log.end()).code, (await progress.end()).code]).toEqual([1008, 1008]);
    await agent.leave();
  });
});

describe("without its set-up", () => {
  it("says what is missing, and at another host where it is", async () => {
    const bare = await startApp({}, [nix]);
    const bareServer = { url: await bare.listen(), domain: "deploy.test" };
    expect(await new TestAgent(bareServer, KEYS.read, "web").dial("/ws").status()).toBe(404);
    expect(await new Activator(bareServer, KEYS.read).send("POST", "/api/v2/deploy/activate", {})).toMatchObject({ status: 404, text: expect.stringContaining("protocols.nix.domain") });
    await bare.close();
    expect(await activator.send("GET", "/api/v1/deploy/deployment/x", undefined, "other.test")).toMatchObject({ status: 404, text: expect.stringContaining("connect to deploy.test") });
    expect((await activator.send("GET", "/ws")).status).toBe(403);
    expect((await new Activator(server, agentKey).send("GET", "/api/v1/deploy/deployment/x")).status).toBe(403);
  });

  it.each([
    [{}, undefined],
    [{ deploy: { workspaces: { prod: { cache: "team" } } }, domain: "x.test" }, undefined],
    [{ deploy: { workspaces: { prod: { cache: "team" } } } }, /needs protocols\.nix\.domain/],
    [{ deploy: { workspaces: { prod: { cache: "team", agents: ["a b"] } } }, domain: "x.test" }, /prod\.agents: "a b"/],
    [{ deploy: { workspaces: { prod: { cache: "team" } } }, domain: "x.test", caches: { team: { sign: "never" } } }, /must be always, not never/],
    [{ deploy: { lost: "1s" } }, /lost: expected/],
    [{ deploy: { keep: "1m" } }, /keep: expected/],
  ])("a configuration of %j is checked", (settings, problem) => {
    const options = defaultConfig({ protocols: { nix: settings } }).protocols["nix"] as unknown as NixOptions;
    if (problem) expect(deployProblem(options)).toMatch(problem);
    else expect(deployProblem(options)).toBeUndefined();
  });
});

interface State {
  readonly name: string;
  readonly connected: boolean;
  readonly deployment: { readonly id: string; readonly status: string } | null;
}

/** The agents of the workspace prod, as administrators see them. */
async function states(): Promise<State[]> {
  const answer = await app.app.inject({ method: "GET", url: "/v1/admin/nix/deploy", headers: { authorization: `Bearer ${KEYS.admin}` } });
  return (answer.json() as { workspaces: { name: string; agents: State[] }[] }).workspaces.find(({ name }) => name === "prod")!.agents;
}
