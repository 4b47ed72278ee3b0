import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Activator, TestAgent, type Server } from "../fixtures/deploy.ts";
import { NixClient, testPath, type TestPath } from "../fixtures/nix.ts";
import { KEYS, startStowhouse, type Stowhouse } from "../fixtures/stowhouse.ts";

/** Cachix Deploy against the process that `npm start` starts. The official client can't be built here (nix.md §1): test/fixtures/deploy.ts is as strict. */
const DOMAIN = "cache.test";
const home = mkdtempSync(path.join(tmpdir(), "stowhouse-deploy-"));
const config = { protocols: { nix: { domain: DOMAIN, deploy: { workspaces: { prod: { cache: "default", agents: ["web", "db"] }, other: { cache: "default" } } } } } };
const [first, second] = [testPath("system-1"), testPath("system-2")];
const storePath = ({ info }: TestPath) => `/nix/store/${info.storePath}`;

let server: Stowhouse & Server;
let activator: Activator;
let agentKey: { id: string; key: string };

const start = async (port?: number, more = {}) => ({ ...(await startStowhouse({ data: path.join(home, "data"), home, config: { ...config, ...more }, ...(port === undefined ? {} : { port }) })), domain: DOMAIN });

async function key(deploy: object): Promise<{ id: string; key: string }> {
  const answer = await fetch(`${server.url}/v1/admin/keys`, {
    method: "POST", headers: { authorization: `Bearer ${KEYS.admin}`, "content-type": "application/json" }, body: JSON.stringify({ name: "test", permission: "read", deploy }),
  });
  expect(answer.status).toBe(201);
  const { key: text, info } = (await answer.json()) as { key: string; info: { id: string } };
  return { id: info.id, key: text };
}

beforeAll(async () => {
  server = await start();
  activator = new Activator(server, (await key({ workspace: "prod", may: "activate" })).key);
  agentKey = await key({ workspace: "prod", may: "agent" });
  for (const pushed of [first, second]) expect(await new NixClient(server.url, KEYS.write).push(pushed)).toBe(204);
});
afterAll(async () => {
  if (server?.alive()) await server.stop();
  rmSync(home, { recursive: true, force: true });
});

/** As the official agent does: again and again until it is let in. */
async function connect(name: string, token = agentKey.key): Promise<TestAgent> {
  for (let tries = 0; ; tries++) {
    try {
      return await new TestAgent(server, token, name).connect();
    } catch (error) {
      if (tries === 20) throw error;
      await sleep(250);
    }
  }
}

test("two agents activate: one succeeds, one fails, and their logs come in order while they are written", async () => {
  const [web, database] = await Promise.all([connect("web"), connect("db")]);
  const ids = await activator.activate({ web: storePath(first), db: storePath(first) });
  const [forWeb, forDatabase] = await Promise.all([web.order(), database.order()]);
  expect([forWeb.id, forDatabase.id]).toEqual([ids["web"], ids["db"]]);
  const watched = Promise.all([activator.log(forWeb.id), activator.log(forDatabase.id)]);
  const lines = (of: string) => Array.from({ length: 1_000 }, (_, i) => `${of} ${i}`);
  await Promise.all([web.run(forWeb, true, lines("web")), database.run(forDatabase, false, lines("db"))]);
  expect(await watched).toEqual([[...lines("web"), "Successfully activated the deployment."], [...lines("db"), "Failed to activate the deployment. It did not work."]]);
  expect([(await activator.result(forWeb.id)).status, (await activator.result(forDatabase.id)).status]).toEqual(["Succeeded", "Failed"]);
  await Promise.all([web.leave(), database.leave()]);
});

test("an agent that comes back gets the newest, and the one before is cancelled", async () => {
  await sleep(300);
  const [old, latest] = [await activator.activate({ web: storePath(first) }), await activator.activate({ web: storePath(second) })];
  expect((await activator.result(old["web"]!)).status).toBe("Cancelled");
  const web = await connect("web");
  const order = await web.order();
  expect(order).toMatchObject({ id: latest["web"], storePath: storePath(second) });
  await web.run(order);
  expect((await activator.result(order.id)).status).toBe("Succeeded");
  await web.leave();
});

test("a server that is killed in the middle finds everything again", async () => {
  const [web, database] = await Promise.all([connect("web"), connect("db")]);
  const ids = await activator.activate({ web: storePath(first), db: storePath(first) });
  const running = await web.order();
  await database.order();
  const before = web.process(running);
  await Promise.all([before.progress.status(), before.log.status()]);
  before.started();
  before.says("before");
  const viewer = activator.view(running.id);
  expect(await viewer.told()).toContain('"before"');
  await server.kill("SIGKILL");
  await Promise.all([web, database].map(({ line }) => line.end()));
  server = await start(server.port);

  // The one that was told and had not begun is told again, the one at work is not; it says how it ended over a new connection.
  const [webAgain, databaseAgain] = await Promise.all([connect("web"), connect("db")]);
  expect([webAgain.id, databaseAgain.id]).toEqual([web.id, database.id]);
  const told = await databaseAgain.order();
  expect(told.id).toBe(ids["db"]);
  expect(await activator.deployment(running.id)).toMatchObject({ status: "InProgress" });
  const later = await activator.activate({ web: storePath(second) });
  await sleep(1_200);
  expect(webAgain.line.waiting).toBe(0);
  await Promise.all([webAgain.run(running, true, ["after"]), databaseAgain.run(told)]);
  expect(await activator.log(running.id)).toEqual(["before", "after", "Successfully activated the deployment."]);
  const next = await webAgain.order();
  expect(next.id).toBe(later["web"]);
  await webAgain.run(next);
  for (const id of [running.id, told.id, next.id]) expect((await activator.result(id)).status).toBe("Succeeded");
  await Promise.all([webAgain.leave(), databaseAgain.leave()]);
});

test("a key that is revoked loses its connection, and other workspaces see nothing", async () => {
  const web = await connect("web");
  const { web: id } = await activator.activate({ web: storePath(first) });
  await web.order();
  const stranger = new Activator(server, (await key({ workspace: "other", may: "activate" })).key);
  expect((await stranger.send("GET", `/api/v1/deploy/deployment/${id!}`)).status).toBe(404);
  expect(await stranger.view(id!).status()).toBe(404);
  expect((await stranger.send("POST", "/api/v2/deploy/activate", { agents: { web: storePath(first) } })).status).toBe(400);
  const revoked = await fetch(`${server.url}/v1/admin/keys/${agentKey.id}`, { method: "DELETE", headers: { authorization: `Bearer ${KEYS.admin}` } });
  expect(revoked.status).toBe(200);
  expect(await web.line.end()).toMatchObject({ code: 1008 });
  expect(await web.dial("/ws").status()).toBe(401);
});

test("a server that stops says goodbye to all, at once", async () => {
  const web = await connect("web", (await key({ workspace: "prod", may: "agent", agent: "web" })).key);
  await web.order();
  const started = Date.now();
  const stopped = server.stop();
  expect(await web.line.end()).toMatchObject({ code: 1001 });
  await stopped;
  expect(Date.now() - started).toBeLessThan(15_000);
});

test("processes of one server pass on what they are told, and show each other's logs", async () => {
  server = await start(undefined, { processes: 2 });
  const agentsKey = (await key({ workspace: "prod", may: "agent" })).key;
  activator = new Activator(server, (await key({ workspace: "prod", may: "activate" })).key);
  // Connections go to the processes in turn, so some of these meet at different ones.
  for (let round = 0; round < 3; round++) {
    const database = await connect("db", agentsKey);
    const { db: id } = await activator.activate({ db: storePath(first) });
    const order = await database.order();
    expect(order.id).toBe(id);
    const watched = activator.log(order.id);
    await database.run(order, true, ["line"]);
    expect(await watched).toEqual(["line", "Successfully activated the deployment."]);
    expect((await activator.result(order.id)).status).toBe("Succeeded");
    await database.leave();
  }
});
