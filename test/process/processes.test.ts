import crypto from "node:crypto";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import http from "node:http";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { upload } from "../fixtures/nip.ts";
import { KEYS, startStowhouse, type Stowhouse } from "../fixtures/stowhouse.ts";

let home: string;
let server: Stowhouse;

beforeAll(async () => {
  home = await mkdtemp(path.join(tmpdir(), "stowhouse-processes-"));
  server = await startStowhouse({ data: path.join(home, "data"), home, config: { processes: 2, log: { access: false }, shutdown: { drain: "10s" } } });
});
afterAll(async () => {
  await server.kill();
  await rm(home, { recursive: true, force: true });
});

function workers(): number[] {
  return readFileSync(`/proc/${server.pid}/task/${server.pid}/children`, "utf8").trim().split(" ").filter((pid) => pid !== "").map(Number);
}

interface Answer {
  readonly status: number;
  readonly body: Buffer;
}

/** One connection to the server, which stays with the process that got it. */
class Connection {
  readonly #agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  #port = 0;

  /** @param body its chunks are sent as they come */
  call(method: string, route: string, key: string, body?: { type: string; bytes: Buffer | AsyncIterable<Buffer> }): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const headers = { authorization: `Bearer ${key}`, ...(body && { "content-type": body.type }), ...(Buffer.isBuffer(body?.bytes) && { "content-length": body.bytes.length }) };
      const request = http.request(server.url + route, { method, headers, agent: this.#agent, timeout: 30_000 }, (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk)).on("error", reject);
        response.on("end", () => resolve({ status: response.statusCode!, body: Buffer.concat(chunks) }));
      });
      request.on("response", (response) => (this.#port = response.socket.localPort!));
      request.on("error", reject).on("timeout", () => request.destroy(new Error("timeout")));
      void (async () => {
        if (body) for await (const chunk of Buffer.isBuffer(body.bytes) ? [body.bytes] : body.bytes) request.write(chunk);
        request.end();
      })();
    });
  }

  async json(method: string, route: string, key: string, value?: object): Promise<{ status: number; value: Record<string, never> }> {
    const { status, body } = await this.call(method, route, key, value && { type: "application/json", bytes: Buffer.from(JSON.stringify(value)) });
    return { status, value: JSON.parse(body.toString() || "{}") };
  }

  /** The process at its other end. */
  owner(): number | undefined {
    const hex = (port: number) => port.toString(16).toUpperCase().padStart(4, "0");
    const line = readFileSync("/proc/net/tcp", "utf8").split("\n").find((row) => row.includes(`0100007F:${hex(server.port)} 0100007F:${hex(this.#port)} `));
    const inode = line?.trim().split(/\s+/)[9];
    return workers().find((pid) => readdirSync(`/proc/${pid}/fd`).some((fd) => linkOf(`/proc/${pid}/fd/${fd}`) === `socket:[${inode}]`));
  }

  close(): void {
    this.#agent.destroy();
  }
}

function linkOf(file: string): string {
  try {
    return readlinkSync(file);
  } catch {
    return "";
  }
}

/** A connection to each of the two processes, as soon as both serve. */
async function both(): Promise<Map<number, Connection>> {
  const found = new Map<number, Connection>();
  for (const deadline = Date.now() + 30_000; found.size < 2; await setTimeout(20)) {
    if (Date.now() > deadline) throw new Error(`only ${found.size} of two processes serve`);
    const connection = new Connection();
    await connection.call("GET", "/livez", KEYS.read);
    const owner = connection.owner();
    if (owner === undefined || found.has(owner)) connection.close();
    else found.set(owner, connection);
  }
  return found;
}

const sum = (text: string, name: string, labels: string) => Number(new RegExp(`^${name}{[^}]*${labels}[^}]*} (\\d+)`, "m").exec(text)?.[1] ?? 0);

describe("two processes", () => {
  test("the welcome is printed once", () => {
    expect(server.output().match(/Stowhouse serves/g)).toHaveLength(1);
  });

  test("what one has stored, the other serves at once, large and small, new and overwritten", async () => {
    const [one, other] = [...(await both()).values()] as [Connection, Connection];
    for (const size of [1_000, 300_000]) {
      for (let round = 0; round < 20; round++) {
        const bytes = crypto.randomBytes(size);
        expect((await one.call("POST", `/v1/artifacts/shared-${size}`, KEYS.write, upload(bytes))).status).toBe(201);
        const answer = await other.call("GET", `/v1/download/shared-${size}`, KEYS.read);
        expect(answer.status).toBe(200);
        expect(answer.body.equals(bytes)).toBe(true);
      }
    }
    one.close();
    other.close();
  });

  test("writes of both at the same time all succeed", async () => {
    const connections = Array.from({ length: 32 }, () => new Connection());
    const writes = Array.from({ length: 320 }, (_, index) => connections[index % 32]!.call("POST", `/v1/artifacts/many-${index}`, KEYS.write, upload(crypto.randomBytes(500))));
    expect(new Set((await Promise.all(writes)).map(({ status }) => status))).toEqual(new Set([201]));
    for (const connection of connections) connection.close();
  });

  test("a revoked key is refused by both within two seconds", async () => {
    const [one, other] = [...(await both()).values()] as [Connection, Connection];
    const { value, status } = await one.json("POST", "/v1/admin/keys", KEYS.admin, { name: "ci", permission: "write", caches: ["default"] });
    expect(status).toBe(201);
    const { key, info } = value as unknown as { key: string; info: { id: string } };
    for (const connection of [one, other]) for (let round = 0; round < 3; round++) expect((await connection.json("GET", "/v1/auth/whoami", key)).status).toBe(200);
    expect((await one.json("DELETE", `/v1/admin/keys/${info.id}`, KEYS.admin)).status).toBe(200);
    const revoked = performance.now();
    expect((await one.json("GET", "/v1/auth/whoami", key)).status).toBe(401);
    while ((await other.json("GET", "/v1/auth/whoami", key)).status !== 401) {
      // Two seconds, and a margin for a busy machine.
      expect(performance.now() - revoked).toBeLessThan(6_000);
      await setTimeout(20);
    }
    one.close();
    other.close();
  });

  test("whoever answers a scrape tells what both have counted", async () => {
    const connections = [...(await both()).values()];
    const scrape = async (connection: Connection) => (await connection.call("GET", "/metrics", KEYS.read)).body.toString();
    const requests = (text: string) => sum(text, "stowhouse_requests_total", 'op="auth.whoami",result="ok"');
    const before = requests(await scrape(connections[0]!));
    for (const connection of connections) for (let round = 0; round < 5; round++) await connection.json("GET", "/v1/auth/whoami", KEYS.read);
    for (const connection of connections) {
      const text = await scrape(connection);
      expect(requests(text)).toBe(before + 10);
      // What both see in the index is not added up.
      expect(sum(text, "stowhouse_cache_quota_bytes", 'cache="default"')).toBe(50 * 2 ** 30);
      connection.close();
    }
  });

  test("the death of one is felt by its own connections only, and another takes its place", async () => {
    const connections = await both();
    const [victim, survivor] = [...connections.keys()] as [number, number];
    process.kill(victim, "SIGKILL");
    for (let round = 0; round < 30; round++) {
      expect((await connections.get(survivor)!.json("GET", "/v1/auth/whoami", KEYS.read)).status).toBe(200);
      const fresh = new Connection();
      // A connection that was on its way to the dead one is lost with it, but at once.
      const asked = performance.now();
      const status = await fresh.json("GET", "/v1/auth/whoami", KEYS.read).then((answer) => answer.status, () => 0);
      expect(performance.now() - asked).toBeLessThan(5_000);
      if (round > 5) expect(status).toBe(200);
      fresh.close();
    }
    for (const connection of (await both()).values()) connection.close();
    expect(workers()).not.toContain(victim);
    expect(workers()).toContain(survivor);
    for (const connection of connections.values()) connection.close();
  });

  test("SIGTERM lets both finish what they do, and leaves no process", async () => {
    const connections = [...(await both()).values()];
    const pids = workers();
    const bytes = crypto.randomBytes(200_000);
    const { type, bytes: form } = upload(bytes);
    const [stopping, half] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    let begun = 0;
    async function* slowly() {
      yield form.subarray(0, 100_000);
      if (++begun === connections.length) half.resolve();
      await stopping.promise;
      await setTimeout(300);
      yield form.subarray(100_000);
    }
    const uploads = connections.map((connection, index) => connection.call("POST", `/v1/artifacts/last-${index}`, KEYS.write, { type, bytes: slowly() }));
    await half.promise;
    // Until the halves have certainly arrived.
    await setTimeout(200);
    const stopped = server.stop();
    stopping.resolve();
    expect((await Promise.all(uploads)).map(({ status }) => status)).toEqual([201, 201]);
    const asked = performance.now();
    await stopped;
    expect(performance.now() - asked).toBeLessThan(10_000);
    for (const pid of pids) expect(() => process.kill(pid, 0)).toThrow();
    for (const connection of connections) connection.close();
  });
});
