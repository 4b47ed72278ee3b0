import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { Agent } from "node:https";
import { tmpdir } from "node:os";
import path from "node:path";
import { KubeConfig } from "@kubernetes/client-node";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { connector } from "./kubeconfig.ts";

let folder: string;
const file = (name: string) => path.join(folder, name);
const write = (name: string, text: string) => writeFileSync(file(name), text);

beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), "stowhouse-kubeconfig-"));
  write("ca.crt", "one authority");
  write("token", "old");
});
afterEach(() => {
  vi.useRealTimers();
  rmSync(folder, { recursive: true });
});

/** As in a pod: a token and an authority that are files. */
function pod(cluster: object = {}): KubeConfig {
  const config = new KubeConfig();
  config.loadFromOptions({
    clusters: [{ name: "c", server: "https://10.0.0.1:443/base", caFile: file("ca.crt"), skipTLSVerify: false, ...cluster }],
    users: [{ name: "u", authProvider: { name: "tokenFile", config: { tokenFile: file("token") } } }],
    contexts: [{ name: "x", cluster: "c", user: "u" }],
    currentContext: "x",
  });
  return config;
}

const authorization = ({ headers }: { headers: Readonly<Record<string, string>> }) => headers["Authorization"];

test("the token is sent, and its file read again when the API server refused it", async () => {
  const connect = connector(pod);
  const { url, headers } = await connect();
  expect([url.href, authorization({ headers })]).toEqual(["https://10.0.0.1/base", "Bearer old"]);
  write("token", "new");
  expect(authorization(await connect())).toBe("Bearer old");
  expect(authorization(await connect(true))).toBe("Bearer new");
  expect(authorization(await connect())).toBe("Bearer new");
});

test("one agent keeps its connections, until a certificate changes", async () => {
  const connect = connector(pod);
  const { agent } = await connect();
  expect((agent as Agent).options).toMatchObject({ keepAlive: true });
  write("token", "new");
  expect((await connect(true)).agent).toBe(agent);
  write("ca.crt", "another authority");
  const renewed = await connect(true);
  expect(renewed.agent).not.toBe(agent);
  expect(String((renewed.agent as Agent).options.ca)).toBe("another authority");
});

test("a certificate that changed is noticed within ten seconds", async () => {
  vi.useFakeTimers({ toFake: ["performance"] });
  const connect = connector(pod);
  const { agent } = await connect();
  write("ca.crt", "another authority");
  expect((await connect()).agent).toBe(agent);
  vi.advanceTimersByTime(10_001);
  expect((await connect()).agent).not.toBe(agent);
});

test("behind a proxy, too, a changed certificate is a new agent", async () => {
  vi.useFakeTimers({ toFake: ["performance"] });
  const connect = connector(() => pod({ proxyUrl: "http://proxy:3128" }));
  const { agent } = await connect();
  write("ca.crt", "another authority");
  vi.advanceTimersByTime(10_001);
  expect((await connect()).agent).not.toBe(agent);
});

test("without a current context it says what to do", async () => {
  await expect(connector(() => new KubeConfig())()).rejects.toThrow("kubectl config use-context");
});

test("a kubeconfig that can't be read now is read at the next request", async () => {
  let there = false;
  const connect = connector(() => {
    if (!there) throw new Error("ENOENT");
    return pod();
  });
  await expect(connect()).rejects.toThrow("ENOENT");
  there = true;
  expect(authorization(await connect())).toBe("Bearer old");
});
