import { randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { restoreArchive, saveArchive } from "../../action/client/archive.ts";
import { startTestDaemon, type TestDaemon } from "../fixtures/daemon.ts";
import { Faulty, FAULTS } from "../fixtures/faulty.ts";
import { startServer, type TestServer } from "../fixtures/server.ts";
import { Toolkit } from "../fixtures/toolkit.ts";

/** A job with two servers, the second of which has what the first lacks. */

let servers: [TestServer, TestServer];
let first: Faulty;
let daemon: TestDaemon;
let home: string;

beforeAll(async () => {
  servers = await Promise.all([startServer(), startServer()]);
});
beforeEach(async () => {
  home = mkdtempSync(path.join(tmpdir(), "stowhouse-servers-"));
  first = await new Faulty().start(servers[0].url);
  daemon = await begun([{ url: first.url, token: servers[0].writeKey }, { url: servers[1].url, token: servers[1].writeKey }]);
});
afterEach(async () => {
  await daemon.stop();
  await first.stop();
  rmSync(home, { recursive: true, force: true });
});
afterAll(() => Promise.all(servers.map((server) => server.stop())));

/** On a busy machine its first answer may take longer than a look-up's patience. */
async function begun(of: Parameters<typeof startTestDaemon>[0]): Promise<TestDaemon> {
  const one = await startTestDaemon(of);
  await fetch(one.url);
  return one;
}
const through = () => ({ url: daemon.url, token: daemon.secret });
const straight = (server: TestServer) => ({ url: server.url, token: server.writeKey });
/** A workspace of its own for each, because a state directory knows what it saved. */
function options(key: string, workspace: string) {
  const root = path.join(home, workspace);
  mkdirSync(root, { recursive: true });
  return { key, version: "v", root, home: root, paths: ["tree"], restoreKeys: [], stateDir: path.join(root, "state"), deadlineMs: 30_000 };
}
function grow(workspace: string, body: Buffer): void {
  mkdirSync(path.join(home, workspace, "tree"), { recursive: true });
  writeFileSync(path.join(home, workspace, "tree/file"), body);
}
const restored = (workspace: string) => readFileSync(path.join(home, workspace, "tree/file"));

describe("archives", () => {
  test("are found where they are, whatever numbers the other server gives", async () => {
    const [mine, other] = [randomBytes(3_000_000), randomBytes(3_000_000)];
    grow("a", mine);
    grow("b", other);
    expect((await saveArchive(straight(servers[1]), options("mine", "a"))).status).toBe("saved");
    // The same number on the other server.
    expect((await saveArchive(straight(servers[0]), options("other", "b"))).status).toBe("saved");
    for (const [key, body] of [["mine", mine], ["other", other]] as const) {
      expect(await restoreArchive(through(), options(key, `restored-${key}`))).toMatchObject({ status: "hit", matchedKey: key });
      expect(restored(`restored-${key}`).equals(body)).toBe(true);
    }
    expect((await daemon.stop()).perProtocol).toMatchObject([{ protocol: "archive", hits: 2, misses: 0, failed: 0 }]);
  });

  test("are saved to the next server when the first dies, and count in the job's metrics", async () => {
    first.become(FAULTS["resets connections"]);
    const body = randomBytes(2_000_000);
    grow("c", body);
    expect(await saveArchive(through(), options("late", "c"))).toMatchObject({ status: "saved" });
    expect((await restoreArchive(through(), options("late", "d"))).status).toBe("hit");
    expect(restored("d").equals(body)).toBe(true);
    expect((await restoreArchive(straight(servers[1]), options("late", "e"))).status).toBe("hit");
    const { perProtocol } = await daemon.stop();
    expect(perProtocol).toMatchObject([{ protocol: "archive", stored: 1, hits: 1 }]);
    expect(Math.min(perProtocol[0]!.bytesIn, perProtocol[0]!.bytesOut)).toBeGreaterThan(body.length);
  });

  test("fail at once when no server is left", async () => {
    await daemon.stop();
    daemon = await begun([{ url: first.url, token: servers[0].writeKey }]);
    first.become(FAULTS["resets connections"]);
    grow("f", randomBytes(1000));
    const began = performance.now();
    expect((await saveArchive(through(), options("never", "f"))).status).toBe("unavailable");
    expect((await restoreArchive(through(), options("never", "g"))).status).toBe("unavailable");
    expect(performance.now() - began).toBeLessThan(5_000);
  });
});

test("a reservation of service v1 goes to the server that made it", async () => {
  first.become(FAULTS["resets connections"]);
  const job = await Toolkit.checkout("4", { ACTIONS_CACHE_SERVICE_V2: "", ACTIONS_CACHE_URL: `${daemon.url}/`, ACTIONS_RUNTIME_TOKEN: daemon.secret });
  try {
    const body = randomBytes(300_000);
    job.write("out", body);
    // The first is back by the time the chunks come.
    const reserved = await fetch(`${daemon.url}/_apis/artifactcache/caches`, { method: "POST", headers: { authorization: `Bearer ${daemon.secret}`, "content-type": "application/json" }, body: '{"key":"kept","version":"v"}' });
    const { cacheId } = (await reserved.json()) as { cacheId: number };
    first.become(undefined);
    const call = (method: string, headers: Record<string, string>, sent: Buffer | string) => fetch(`${daemon.url}/_apis/artifactcache/caches/${cacheId}`, { method, headers: { authorization: `Bearer ${daemon.secret}`, ...headers }, body: new Uint8Array(Buffer.from(sent)) });
    expect((await call("PATCH", { "content-type": "application/octet-stream", "content-range": `bytes 0-${body.length - 1}/*` }, body)).status).toBe(204);
    expect((await call("POST", { "content-type": "application/json" }, JSON.stringify({ size: body.length }))).status).toBe(204);
    expect((await daemon.stop()).unsentBytes).toBe(0);
    const status = async (server: TestServer) => (await fetch(`${server.url}/_apis/artifactcache/cache?keys=kept&version=v`, { headers: { authorization: `Bearer ${server.readKey}` } })).status;
    expect([await status(servers[0]), await status(servers[1])]).toEqual([204, 200]);
  } finally {
    job.remove();
  }
});
