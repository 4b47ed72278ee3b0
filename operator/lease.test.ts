import { Agent } from "node:http";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { ApiServer } from "../test/fixtures/api-server.ts";
import { Kube } from "./kube.ts";
import { Lease } from "./lease.ts";

/** leaseDurationSeconds is whole seconds. Long enough that a busy machine's pauses don't cost a leader its term. */
const TIMES = { duration: 3_000, renewDeadline: 1_200, retry: 240 };
vi.setConfig({ testTimeout: 30_000 });

let server: ApiServer;
let agent: Agent;
let running: { stop(): Promise<void> }[];

beforeEach(async () => {
  server = await new ApiServer().start();
  agent = new Agent({ keepAlive: true });
  running = [];
});
afterEach(async () => {
  await Promise.all(running.map(({ stop }) => stop()));
  agent.destroy();
  await server.stop();
});

function candidate(identity: string) {
  const ending = new AbortController();
  const terms: AbortSignal[] = [];
  let cut = false;
  const kube = new Kube({
    timeout: 450,
    connect: async () => {
      if (cut) throw new Error("no network");
      return { url: new URL(server.url), agent, headers: {} };
    },
  });
  const lease = new Lease({ kube, namespace: "a", name: "operator", identity, times: TIMES, onLead: (term) => void terms.push(term), log: { info: () => {}, warn: () => {} } });
  const ended = lease.run(ending.signal);
  const one = {
    lease,
    terms,
    /** As SIGTERM does. */
    stop: () => (ending.abort(), ended),
    /** As a lost network does. */
    isolate: (yes = true) => void (cut = yes),
  };
  running.push(one);
  return one;
}

const until = (fact: () => unknown, timeout = 12_000) => vi.waitFor(() => expect(fact()).toBeTruthy(), { timeout, interval: 5 });
const pass = (ms: number) => new Promise((done) => setTimeout(done, 3 * ms));
const holder = () => (server.object("Lease", "a", "operator")?.["spec"] as { holderIdentity?: string } | undefined)?.holderIdentity;

test("one of two leads, and goes on leading", async () => {
  const one = candidate("one");
  await until(() => one.lease.leading);
  const two = candidate("two");
  await pass(1_300);
  expect([one.lease.leading, two.lease.leading, one.terms.length]).toEqual([true, false, 1]);
  expect(holder()).toBe("one");
});

test("its times are in microseconds, without which the API server refuses them", async () => {
  const one = candidate("one");
  await until(() => one.lease.leading);
  expect(server.object("Lease", "a", "operator")?.["spec"]).toMatchObject({ renewTime: expect.stringMatching(/\.\d{6}Z$/), acquireTime: expect.stringMatching(/\.\d{6}Z$/), leaseDurationSeconds: 3, leaseTransitions: 1 });
});

test("who is told to stop gives the lease back, and the next leads within a retry", async () => {
  const one = candidate("one");
  await until(() => one.lease.leading);
  const two = candidate("two");
  await pass(100);
  const asked = performance.now();
  await one.stop();
  expect(one.terms[0]!.aborted).toBe(true);
  await until(() => two.lease.leading);
  expect(performance.now() - asked).toBeLessThan(TIMES.duration / 2);
  expect(server.object("Lease", "a", "operator")?.["spec"]).toMatchObject({ holderIdentity: "two", leaseTransitions: 2 });
});

test("who can't renew stops leading before another one starts", async () => {
  const one = candidate("one");
  await until(() => one.lease.leading);
  const two = candidate("two");
  await pass(100);
  one.isolate();
  const lost = new Promise<number>((resolve) => one.terms[0]!.addEventListener("abort", () => resolve(performance.now())));
  await until(() => two.lease.leading);
  const led = performance.now();
  expect(one.lease.leading).toBe(false);
  expect(await lost).toBeLessThan(led);
  one.isolate(false);
  await pass(300);
  expect([one.lease.leading, holder()]).toEqual([false, "two"]);
});

test("a lease whose times lie in the future or the past isn't judged by them", async () => {
  for (const renewTime of ["2001-01-01T00:00:00.000000Z", "2101-01-01T00:00:00.000000Z"]) {
    server.put({ apiVersion: "coordination.k8s.io/v1", kind: "Lease", metadata: { namespace: "a", name: "operator" }, spec: { holderIdentity: "gone", leaseDurationSeconds: 3, renewTime } });
    const one = candidate("one");
    await pass(700);
    expect(one.lease.leading).toBe(false);
    await until(() => one.lease.leading);
    await one.stop();
  }
});

test("a conflict is a lost attempt, nothing more", async () => {
  const one = candidate("one");
  await until(() => one.lease.leading);
  server.refuse(409, "Conflict", 1, ({ method }) => method === "PUT");
  await pass(500);
  expect([one.lease.leading, one.terms.length]).toEqual([true, 1]);
});

test("who finds the lease in other hands stops at once", async () => {
  const one = candidate("one");
  await until(() => one.lease.leading);
  const lease = server.object("Lease", "a", "operator")!;
  server.put({ ...lease, spec: { ...(lease["spec"] as object), holderIdentity: "robber" } });
  await until(() => !one.lease.leading, 1_050);
  expect(one.terms[0]!.aborted).toBe(true);
});

test("two who start at once don't both lead", async () => {
  const all = [candidate("one"), candidate("two"), candidate("three")];
  await until(() => all.some(({ lease }) => lease.leading));
  await pass(300);
  expect(all.filter(({ lease }) => lease.leading)).toHaveLength(1);
});

test("denied the lease it says so by its last contact, and leads as soon as it may", async () => {
  server.refuse(403, "Forbidden", 5, ({ path }) => path.includes("leases"));
  const one = candidate("one");
  const before = one.lease.lastContact;
  await pass(100);
  expect([one.lease.leading, one.lease.lastContact]).toEqual([false, before]);
  await until(() => one.lease.leading);
  expect(one.lease.lastContact).toBeGreaterThan(before);
});
