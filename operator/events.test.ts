import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Events } from "./events.ts";
import type { KubeObject } from "./object.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const server = (name: string): KubeObject => ({ apiVersion: "stowhouse.dev/v1alpha1", kind: "CacheServer", metadata: { namespace: "a", name, uid: `uid-${name}` } });

function recorder(create: (event: KubeObject) => Promise<KubeObject> = async (event) => event) {
  const sent: KubeObject[] = [];
  const warnings: string[] = [];
  const dropped = { count: 0 };
  const kube = { create: (event: KubeObject) => (sent.push(event), create(event)) };
  const log = { info: () => {}, warn: (text: string) => void warnings.push(text), error: () => {} };
  return { events: new Events({ kube, identity: "pod_1", log, onDrop: () => void dropped.count++ }), sent, warnings, dropped };
}

const pass = (ms = 0) => vi.advanceTimersByTimeAsync(ms);

test("an event names the resource and what happened", async () => {
  const { events, sent } = recorder();
  events.record(server("cache"), "Normal", "Created", "Created Deployment/cache.");
  await pass();
  expect(sent).toMatchObject([{
    apiVersion: "events.k8s.io/v1",
    metadata: { namespace: "a", name: expect.stringMatching(/^cache\.[0-9a-f]{16}$/) },
    type: "Normal", reason: "Created", note: "Created Deployment/cache.", action: "Reconcile",
    reportingController: "stowhouse.dev/stowhouse-operator", reportingInstance: "pod_1",
    eventTime: expect.stringMatching(/\.\d{6}Z$/),
    regarding: { kind: "CacheServer", name: "cache", namespace: "a", uid: "uid-cache" },
  }]);
});

test("the same said twice is sent once, and again a minute later", async () => {
  const { events, sent, dropped } = recorder();
  for (let i = 0; i < 5; i++) events.record(server("cache"), "Warning", "SecretMissing", "There is no Secret/s3.");
  events.record(server("cache"), "Warning", "SecretMissing", "There is no Secret/db.");
  events.record(server("other"), "Warning", "SecretMissing", "There is no Secret/s3.");
  await pass(61_000);
  events.record(server("cache"), "Warning", "SecretMissing", "There is no Secret/s3.");
  await pass();
  expect(sent).toHaveLength(4);
  expect(dropped.count).toBe(4);
});

test("a resource that has much to say is heard a few times a minute, others as ever", async () => {
  const { events, sent } = recorder();
  for (let i = 0; i < 50; i++) events.record(server("loud"), "Normal", "Restored", `Restored Service/x for the ${i}. time.`);
  events.record(server("quiet"), "Normal", "Created", "Created.");
  await pass();
  expect(sent).toHaveLength(21);
  await pass(120_000);
  for (let i = 0; i < 50; i++) events.record(server("loud"), "Normal", "Restored", `Once more: ${i}`);
  await pass();
  expect(sent).toHaveLength(23);
});

test("events that the API server doesn't take are lost, not waited for without end", async () => {
  const { events, sent, warnings, dropped } = recorder(async () => { throw new Error("forbidden"); });
  events.record(server("cache"), "Normal", "Created", "x");
  await pass();
  expect([sent.length, warnings]).toEqual([1, ["an event was not taken"]]);
  const stuck = recorder(() => new Promise(() => {}));
  for (let i = 0; i < 200; i++) stuck.events.record(server(`s${i}`), "Normal", "Created", "x");
  await pass();
  expect([stuck.sent.length, stuck.dropped.count, dropped.count]).toEqual([1, 100, 0]);
});

test("a long note is cut, not refused", async () => {
  const { events, sent } = recorder();
  events.record(server("cache"), "Normal", "Created", "x".repeat(5_000));
  await pass();
  expect((sent[0]!["note"] as string).length).toBeLessThanOrEqual(1_024);
});
