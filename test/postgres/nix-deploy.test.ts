import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Activator, TestAgent, type Server } from "../fixtures/deploy.ts";
import { NixClient, testPath } from "../fixtures/nix.ts";
import { startPostgres, type Postgres } from "../fixtures/postgres.ts";
import { KEYS, startStowhouse, type Stowhouse } from "../fixtures/stowhouse.ts";

const DOMAIN = "cache.test";
const system = testPath("system");
const path = `/nix/store/${system.info.storePath}`;

let postgres: Postgres;
let folder: string;
let config: object;
let one: Stowhouse & Server;
let two: Stowhouse & Server;
let agentKey: string;
let activateKey: string;
beforeAll(async () => {
  postgres = await startPostgres();
  folder = await mkdtemp(join(tmpdir(), "stowhouse-deploy-replicas-"));
  config = {
    database: { type: "postgres", url: postgres.url },
    storages: { default: { path: join(folder, "blobs") } },
    protocols: { nix: { domain: DOMAIN, deploy: { workspaces: { prod: { cache: "default", agents: ["web"] } } } } },
  };
  one = await replica("one");
  two = await replica("two");
  agentKey = (await key("agent")).key;
  activateKey = (await key("activate")).key;
  expect(await new NixClient(one.url, KEYS.write).push(system)).toBe(204);
});
afterAll(async () => {
  for (const replica of [one, two]) if (replica?.alive()) await replica.stop();
  await postgres.stop();
  await rm(folder, { recursive: true, force: true });
});

const replica = async (name: string) => ({ ...(await startStowhouse({ data: join(folder, name, "data"), home: join(folder, name), config })), domain: DOMAIN });

async function key(may: "agent" | "activate"): Promise<{ key: string; id: string }> {
  const answer = await fetch(`${one.url}/v1/admin/keys`, {
    method: "POST", headers: { authorization: `Bearer ${KEYS.admin}`, "content-type": "application/json" }, body: JSON.stringify({ name: "test", permission: "read", deploy: { workspace: "prod", may } }),
  });
  const { key: text, info } = (await answer.json()) as { key: string; info: { id: string } };
  return { key: text, id: info.id };
}

test("an agent of one replica does what the other is told to, which shows its log meanwhile", async () => {
  const web = await new TestAgent(one, agentKey, "web").connect();
  const activator = new Activator(two, activateKey);
  const { web: id } = await activator.activate({ web: path });
  const order = await web.order();
  expect(order.id).toBe(id);
  const watched = activator.log(order.id);
  const lines = Array.from({ length: 200 }, (_, i) => `line ${i}`);
  await web.run(order, true, lines);
  expect(await watched).toEqual([...lines, "Successfully activated the deployment."]);
  expect((await activator.result(order.id)).status).toBe("Succeeded");
  await web.leave();
});

test("an agent that connects to the other replica leaves the first, and both send it one thing once", async () => {
  const before = await new TestAgent(one, agentKey, "web").connect();
  const web = await new TestAgent(two, agentKey, "web").connect();
  expect(web.id).toBe(before.id);
  const { web: id } = await new Activator(one, activateKey).activate({ web: path });
  expect(await before.line.end()).toMatchObject({ code: 1000 });
  expect(before.line.waiting).toBe(0);
  const order = await web.order();
  expect(order.id).toBe(id);
  await sleep(1_500);
  expect(web.line.waiting).toBe(0);
  await web.run(order);
  await web.leave();
});

test("the replica with the agent is killed in the middle: what runs goes on over the other one", async () => {
  const web = await new TestAgent(one, agentKey, "web").connect();
  const activator = new Activator(two, activateKey);
  await activator.activate({ web: path });
  const order = await web.order();
  const { progress, log, started, says } = web.process(order);
  await Promise.all([progress.status(), log.status()]);
  started();
  says("before");
  while ((await activator.deployment(order.id)).status !== "InProgress") await sleep(20);
  const viewer = activator.view(order.id);
  expect(await viewer.told()).toContain('"before"');
  await one.kill("SIGKILL");
  await web.line.end();
  const again = await new TestAgent(two, agentKey, "web").connect();
  await sleep(1_200);
  expect(again.line.waiting).toBe(0);
  await again.run(order, true, ["after"]);
  expect(await viewer.told()).toContain('"after"');
  expect(await activator.log(order.id)).toEqual(["before", "after", "Successfully activated the deployment."]);
  expect((await activator.result(order.id)).status).toBe("Succeeded");
  await again.leave();
  one = await replica("one");
});

test("a key that one replica revokes loses its connection to the other", async () => {
  const { key: text, id } = await key("agent");
  const web = await new TestAgent(two, text, "web").connect();
  expect((await fetch(`${one.url}/v1/admin/keys/${id}`, { method: "DELETE", headers: { authorization: `Bearer ${KEYS.admin}` } })).status).toBe(200);
  expect(await web.line.end()).toMatchObject({ code: 1008 });
});
