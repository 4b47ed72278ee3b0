import { afterEach, beforeEach, expect, test } from "vitest";
import { startApp, KEYS, type TestApp } from "../../../../test/fixtures/app.ts";
import { Activator, TestAgent, type Server } from "../../../../test/fixtures/deploy.ts";
import { NixClient, nixKey, testPath } from "../../../../test/fixtures/nix.ts";
import { WebSockets } from "../../../http/websocket.ts";
import { nix } from "../index.ts";
import { Logs } from "./logs.ts";
import { Progress } from "./progress.ts";

const LOST = 600_000;
const system = testPath("system");

let app: TestApp;
let server: Server;
let activator: Activator;
let agent: TestAgent;
let problems: string[];
let progress: Progress;
beforeEach(async () => {
  app = await startApp({ protocols: { nix: { domain: "deploy.test", deploy: { workspaces: { prod: { cache: "default" } } } } } }, [nix]);
  server = { url: await app.listen(), domain: "deploy.test" };
  activator = new Activator(server, await nixKey(app, { permission: "read", deploy: { workspace: "prod", may: "activate" } }));
  agent = await new TestAgent(server, await nixKey(app, { permission: "read", deploy: { workspace: "prod", may: "agent" } }), "web").connect();
  expect(await new NixClient(server.url, KEYS.write).push(system)).toBe(204);
  problems = [];
  const sockets = new WebSockets({ alive: async () => true }, { sockets: 1, perActor: 1, message: 1, ping: 1_000, silence: 1_000, check: 1_000 });
  // Another replica's, without a connection of its own.
  progress = new Progress({ core: app.core, sockets, agents: undefined as never, logs: new Logs(app.core.database, sockets), lost: LOST, keep: LOST, problem: (what) => problems.push(what) });
});
afterEach(async () => {
  progress.close();
  await app.close();
});

async function begin(): Promise<string> {
  await activator.activate({ web: `/nix/store/${system.info.storePath}` });
  const order = await agent.order();
  const { progress: line, started, log } = agent.process(order);
  await Promise.all([line.status(), log.status()]);
  started();
  while ((await activator.deployment(order.id)).status !== "InProgress") await new Promise((resolve) => setTimeout(resolve, 10));
  return order.id;
}

test("a deployment whose agent is not heard of has failed, its log says so, and the next one is sent", async () => {
  const id = await begin();
  const next = await activator.activate({ web: `/nix/store/${system.info.storePath}` });
  await progress.hear(Date.now() + LOST - 5_000);
  expect((await activator.deployment(id)).status).toBe("InProgress");
  await progress.hear(Date.now() + LOST + 5_000);
  expect((await activator.deployment(id)).status).toBe("Failed");
  expect(await activator.log(id)).toEqual(["Failed to activate the deployment. Its agent was not heard of for 10 minutes."]);
  expect((await agent.order()).id).toBe(next["web"]);
});

test("a database that is away is told of, and asked again", async () => {
  await app.app.close();
  await progress.hear();
  expect(problems).toHaveLength(1);
});
