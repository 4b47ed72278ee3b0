import { setTimeout } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { memory } from "../fixtures/stowhouse.ts";
import { create, freshNamespace, list, remove } from "../cluster/cluster.ts";
import { installRights, isWrite, listen, startOperator, tally, tokenFor, type Audited, type Operator } from "../cluster/operator.ts";
import { until } from "../cluster/rig/processes.ts";
import { cacheServer } from "../cluster/servers.ts";

/** Many servers for one operator: what that costs it and the API server. */

const SERVERS = 200;

let namespace: string;
let account: string;
let token: string;
let operator: Operator | undefined;

beforeAll(async () => {
  namespace = await freshNamespace("many");
  account = await installRights(namespace, { watchNamespaces: [namespace] });
  token = await tokenFor(namespace, account);
});
afterAll(async () => {
  await operator?.kill();
  // Hundreds of objects would go on keeping the cluster busy.
  await remove("Namespace", undefined, namespace);
});

const start = () => startOperator("operator", { token }, { namespaces: [namespace], leaseNamespace: namespace });
const reconciled = async () => (await list("CacheServer", namespace)).filter(({ status, metadata }) => status?.observedGeneration === metadata["generation"]).length;

test(`${SERVERS} servers are reconciled, with few calls each`, async () => {
  for (let first = 0; first < SERVERS; first += 20) {
    await Promise.all(Array.from({ length: 20 }, (_, index) => create(cacheServer(namespace, `cache-${first + index}`, { replicas: 0 }))));
  }
  const heard = listen(`system:serviceaccount:${namespace}:${account}`);
  const began = performance.now();
  operator = await start();
  await until("all are reconciled", 240, async () => (await reconciled()) === SERVERS, async () => `${await reconciled()} are\n${operator!.said().slice(-2000)}`);
  const seconds = (performance.now() - began) / 1000;
  const calls = heard();
  const { now, peak } = memory(operator.child.pid!);
  console.log(`${SERVERS} CacheServers after ${seconds.toFixed(1)} s, ${calls.length} API calls (${(calls.length / SERVERS).toFixed(1)} each), ${now.toFixed(0)} MiB resident, ${peak.toFixed(0)} at its highest`);
  console.log(JSON.stringify(tally(calls)));
  expect(calls.length / SERVERS).toBeLessThan(30);
  // Its pod's limit in the chart is 256 MiB.
  expect(peak).toBeLessThan(200);
  const settled = () => heard().filter(isChange).length;
  await until("nothing is written any more", 60, async () => {
    const before = settled();
    await setTimeout(3000);
    return settled() === before;
  });
});

test("an operator that starts anew finds all as it should be, and changes nothing", async () => {
  await operator!.kill("SIGTERM");
  const before = await versions();
  const heard = listen(`system:serviceaccount:${namespace}:${account}`);
  const began = performance.now();
  operator = await start();
  await until("it leads", 40, () => operator!.leads());
  await until("it has looked at all", 120, async () => (await operator!.metric("stowhouse_operator_reconcile_total", 'controller="cacheserver",result="success"')) >= SERVERS, () => operator!.said().slice(-2000));
  const calls = heard();
  console.log(`all looked at again after ${((performance.now() - began) / 1000).toFixed(1)} s with ${calls.length} API calls`);
  // It claims its fields again, once; that changes nothing.
  expect(tally(calls.filter((call) => isChange(call) && call.verb !== "patch"))).toEqual({});
  expect(tally(calls.filter((call) => call.objectRef?.subresource === "status"))).toEqual({});
  expect(await versions()).toEqual(before);
});

const isChange = (call: Audited) => isWrite(call) && call.objectRef?.resource !== "leases";

/** Every child's version. Claims have a new one after their second apply, whoever makes it: Kubernetes does that. */
async function versions(): Promise<Record<string, string>> {
  const kinds = ["CacheServer", "Deployment", "Service", "ConfigMap", "Secret", "ServiceAccount", "NetworkPolicy"] as const;
  const all = await Promise.all(kinds.map((kind) => list(kind, namespace)));
  return Object.fromEntries(all.flat().map(({ kind, metadata }) => [`${kind}/${metadata.name}`, metadata["resourceVersion"]]));
}
