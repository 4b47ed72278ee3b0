import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { KEYS, startStowhouse, type Stowhouse } from "../fixtures/stowhouse.ts";

let home: string;
let server: Stowhouse | undefined;

beforeEach(async () => void (home = await mkdtemp(path.join(tmpdir(), "stowhouse-reload-"))));
afterEach(async () => {
  await server?.kill();
  server = undefined;
  await rm(home, { recursive: true, force: true });
});

const file = (name: string) => path.join(home, name);

async function start(config: object): Promise<Stowhouse> {
  await writeFile(file("read-key"), "the-first-read-key\n");
  return (server = await startStowhouse({ data: file("data"), home, config, env: { STOWHOUSE_READ_KEY: "", STOWHOUSE_READ_KEY_FILE: file("read-key") } }));
}

/** The status of a request over a connection of its own, so that any of several processes may answer; 0 for none. */
async function ask(url: string, key: string): Promise<number> {
  const answer = await fetch(url, { headers: { authorization: `Bearer ${key}`, connection: "close" }, signal: AbortSignal.timeout(10_000) }).catch(() => undefined);
  await answer?.arrayBuffer();
  return answer?.status ?? 0;
}

/** Asks on and on until it is told to stop; how often each status was answered. */
function load(url: string, key: string): { stop(): Promise<Record<number, number>> } {
  let asking = true;
  const seen: Record<number, number> = {};
  const loops = Array.from({ length: 4 }, async () => {
    while (asking) {
      const status = await ask(url, key);
      seen[status] = (seen[status] ?? 0) + 1;
    }
  });
  return { stop: async () => ((asking = false), await Promise.all(loops), seen) };
}

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  for (const deadline = Date.now() + 30_000; !(await holds()); await setTimeout(100)) if (Date.now() > deadline) throw new Error(`never happened: ${what}\n${server?.output()}`);
}

describe.each([1, 2])("a server of %i processes", (processes) => {
  const config = { processes, log: { access: false } };

  test("takes a changed file and a rotated key over, refuses a wrong file, and fails no request meanwhile", async () => {
    const { url } = await start(config);
    const whoami = `${url}/v1/auth/whoami`;
    const quota = async () => {
      const answer = await fetch(`${url}/v1/admin/caches/default`, { headers: { authorization: `Bearer ${KEYS.admin}`, connection: "close" } });
      return ((await answer.json()) as { effective: { quota: number } }).effective.quota;
    };
    const everywhere = async (key: string, status: number) => (await Promise.all(Array.from({ length: 6 }, () => ask(whoami, key)))).every((one) => one === status);
    const traffic = load(whoami, KEYS.write);

    await writeFile(file("config.json"), JSON.stringify({ ...config, caches: { default: { quota: "7GiB" } }, memory: { entries: 10 } }));
    await until("the new quota", async () => (await quota()) === 7 * 2 ** 30 && (await quota()) === 7 * 2 ** 30);
    const says = (text: string) => until(text, async () => server!.output().includes(text));
    await says('"fields":["memory.entries"]');

    await writeFile(file("read-key"), "the-second-read-key\nthe-first-read-key\n");
    await until("both keys", async () => (await everywhere("the-second-read-key", 200)) && (await everywhere("the-first-read-key", 200)));
    await writeFile(file("read-key"), "the-second-read-key\n");
    await until("the old key's end", () => everywhere("the-first-read-key", 401));

    await writeFile(file("config.json"), JSON.stringify({ ...config, caches: { default: { quota: "much" } } }));
    await until("the refusal", async () => (await (await fetch(`${url}/metrics`)).text()).includes("stowhouse_config_last_reload_successful 0"));
    await says("caches.default.quota: expected a size");
    expect(await quota()).toBe(7 * 2 ** 30);
    await writeFile(file("config.json"), JSON.stringify({ ...config, caches: { default: { quota: "8GiB" } } }));
    server!.child.kill("SIGHUP");
    await until("the quota after it", async () => (await quota()) === 8 * 2 ** 30 && (await quota()) === 8 * 2 ** 30);

    const seen = await traffic.stop();
    expect(Object.keys(seen)).toEqual(["200"]);
    const text = await (await fetch(`${url}/metrics`)).text();
    expect(text).toMatch(/^stowhouse_config_reload_total\{result="failure"\} 1$/m);
    expect(text).toMatch(/^stowhouse_config_last_reload_successful 1$/m);
  });

  test("told to stop, serves new connections on until load balancers have noticed, and fails none", async () => {
    const { url, child } = await start({ ...config, shutdown: { delay: "2s", drain: "10s" } });
    const traffic = load(`${url}/v1/auth/whoami`, KEYS.write);
    await setTimeout(300);
    const stopped = server!.stop();
    await until("not ready", async () => (await ask(`${url}/readyz`, "")) === 503);
    await setTimeout(700);
    // As a load balancer does that has noticed.
    const seen = await traffic.stop();
    expect(Object.keys(seen)).toEqual(["200"]);
    await stopped;
    expect(child.exitCode).toBe(0);
  });
});
