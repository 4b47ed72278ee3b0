import { afterEach, beforeAll, expect, test } from "vitest";
import { memory } from "../fixtures/stowhouse.ts";
import { apply, freshNamespace, get, type Thing } from "../cluster/cluster.ts";
import { installRights, startOperator, tokenFor, type Operator } from "../cluster/operator.ts";
import { until } from "../cluster/rig/processes.ts";
import { cacheServer } from "../cluster/servers.ts";

/** Two operators, one of which works: however it ends, the other goes on. */

const LEASE_SECONDS = 15;

let namespace: string;
let token: string;
let running: Operator[] = [];

beforeAll(async () => {
  namespace = await freshNamespace("leader");
  token = await tokenFor(namespace, await installRights(namespace, { watchNamespaces: [namespace] }));
});
afterEach(async () => {
  // Gracefully, so that the lease is free for the next pair.
  await Promise.all(running.map((one) => one.kill("SIGTERM")));
  running = [];
});

async function pair(): Promise<[leader: Operator, standby: Operator]> {
  const start = (name: string) => startOperator(name, { token }, { namespaces: [namespace], leaseNamespace: namespace });
  running = [await start("one"), await start("two")];
  const leader = await until("one of them leads", 30, async () => {
    for (const one of running) if (await one.leads()) return one;
    return undefined;
  }, () => running.map((one) => one.said()).join("\n---\n"));
  return [leader, running.find((one) => one !== leader)!];
}

async function secondsUntilLeads(standby: Operator, limit: number): Promise<number> {
  const began = performance.now();
  await until("the other leads", limit, () => standby.leads(), () => standby.said());
  return (performance.now() - began) / 1000;
}

/** The operator does its work: a resource of this name gets its Service. */
async function works(name: string): Promise<Thing> {
  await apply(cacheServer(namespace, name, { replicas: 0 }));
  return until(`${name} has its Service`, 20, () => get("Service", namespace, name), () => running.map((one) => one.said().slice(-2000)).join("\n---\n"));
}

test("only one leads, and it works, in at most 100 MiB", async () => {
  const [leader, standby] = await pair();
  await works("first");
  const { now, peak } = memory(leader.child.pid!);
  console.log(`${now.toFixed(0)} MiB resident, ${peak.toFixed(0)} at its highest; it answered ${running.map(({ startMs }) => startMs.toFixed(0)).join(" and ")} ms after its start`);
  expect(peak).toBeLessThanOrEqual(100);
  expect(await standby.leads()).toBe(false);
});

test("SIGTERM hands over within two seconds", async () => {
  const [leader, standby] = await pair();
  const ended = leader.kill("SIGTERM");
  const seconds = await secondsUntilLeads(standby, 20);
  await ended;
  console.log(`handed over after ${seconds.toFixed(2)} s`);
  expect(seconds).toBeLessThanOrEqual(2);
  expect(leader.child.exitCode).toBe(0);
  await works("second");
});

test("kill -9 hands over when the lease has ended, three seconds later at most", async () => {
  const [leader, standby] = await pair();
  await leader.kill("SIGKILL");
  const seconds = await secondsUntilLeads(standby, 60);
  console.log(`taken over after ${seconds.toFixed(1)} s`);
  expect(seconds).toBeLessThanOrEqual(LEASE_SECONDS + 3);
  await works("third");
});

test("an operator that was stopped for longer than its lease doesn't lead any more when it wakes", async () => {
  const [leader, standby] = await pair();
  leader.child.kill("SIGSTOP");
  await secondsUntilLeads(standby, 60);
  leader.child.kill("SIGCONT");
  // It stands back, or ends and is started anew.
  await until("only one leads", 20, async () => leader.child.exitCode !== null || !(await leader.leads()));
  expect(await standby.leads()).toBe(true);
});
