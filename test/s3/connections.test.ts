import crypto from "node:crypto";
import { connect, createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { setTimeout } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { get, put, sha256 } from "../../server/storage/conformance.ts";
import { openS3 } from "../../server/storage/s3.ts";
import type { BlobStore } from "../../server/storage/store.ts";
import { s3Options, services, type Service } from "./service.ts";

const MiB = 1024 * 1024;

// A network between store and service which can be made to fail.
describe.each(services)("connections to %s", (_name, start) => {
  let service: Service;
  let network: Server;
  /** Bytes of answers that pass before their connection is cut, for so many connections. */
  let cuts: number[];
  const open = new Set<Socket>();
  let connections = 0;
  let store: BlobStore;

  beforeAll(async () => {
    service = await start();
    const { hostname, port } = new URL(service.raw["endpoint"] as string);
    network = createServer((inside) => {
      const outside = connect(Number(port), hostname);
      open.add(inside);
      connections++;
      let passed = 0;
      outside.on("data", (chunk) => {
        passed += chunk.length;
        const cut = cuts[0];
        if (cut === undefined || passed < cut) return void (inside.write(chunk) || (outside.pause(), inside.once("drain", () => outside.resume())));
        cuts.shift();
        inside.destroy();
      });
      inside.on("data", (chunk) => outside.write(chunk));
      inside.on("close", () => (open.delete(inside), outside.destroy()));
      outside.on("close", () => inside.destroy());
      for (const socket of [inside, outside]) socket.on("error", () => {});
    });
    await new Promise<void>((resolve) => network.listen(0, "127.0.0.1", resolve));
  });
  afterAll(async () => {
    await new Promise((resolve) => network.close(resolve));
    await service.stop();
  });
  beforeEach(() => {
    cuts = [];
    const endpoint = `http://127.0.0.1:${(network.address() as AddressInfo).port}`;
    store = openS3(s3Options({ ...service.raw, endpoint, prefix: crypto.randomUUID(), idleTimeout: "500ms" }));
  });
  afterEach(() => store.close());

  test("a read whose connection breaks goes on where it broke", async () => {
    const bytes = crypto.randomBytes(12 * MiB);
    const name = await put(store, bytes);
    cuts = [3 * MiB, 2 * MiB, MiB, 5 * MiB];
    expect(sha256(await get(store, name, bytes.length))).toBe(sha256(bytes));
    expect(cuts).toEqual([]);
  });

  test("a read that gets nowhere fails after its attempts", async () => {
    const bytes = crypto.randomBytes(3 * MiB);
    const name = await put(store, bytes);
    const reader = await store.open(name, bytes.length);
    cuts = Array.from({ length: 100 }, () => 1);
    await expect(reader.read(0, bytes.length, () => undefined)).rejects.toThrow();
    expect(cuts.length).toBeGreaterThan(80);
  });

  test("a client slower than the idle timeout still gets every byte", async () => {
    const bytes = crypto.randomBytes(24 * MiB);
    const reader = await store.open(await put(store, bytes), bytes.length);
    const hash = crypto.createHash("sha256");
    let received = 0;
    let pauses = 2;
    const before = connections;
    await reader.read(0, bytes.length, async (chunk) => {
      hash.update(chunk);
      received += chunk.length;
      if (received < 9 * MiB || pauses === 0) return;
      pauses--;
      received = 0;
      await setTimeout(1200);
    });
    expect(hash.digest("hex")).toBe(sha256(bytes));
    // The service, or we, gave up the connection in each pause.
    expect(connections).toBeGreaterThan(before);
  });

  test("a rejected push ends the connection instead of reading on", async () => {
    const bytes = crypto.randomBytes(24 * MiB);
    const name = await put(store, bytes);
    const reader = await store.open(name, bytes.length);
    const before = open.size;
    const failure = new Error("the client left");
    for (let round = 0; round < 5; round++) await expect(reader.read(0, bytes.length, () => Promise.reject(failure))).rejects.toBe(failure);
    await expect.poll(() => open.size).toBeLessThanOrEqual(before);
  });

  test("an upload survives broken connections", async () => {
    const bytes = crypto.randomBytes(20 * MiB);
    cuts = [1, 1];
    const name = await put(store, bytes);
    expect(sha256(await get(store, name, bytes.length))).toBe(sha256(bytes));
  });

  test("a failed upload says so to a writer that waits, and its store can go on", async () => {
    cuts = Array.from({ length: 1000 }, () => 1);
    const writer = await store.create("default");
    const writing = (async () => {
      for (let count = 0; count < 200; count++) await writer.write(crypto.randomBytes(MiB));
    })();
    await expect(writing).rejects.toThrow();
    await expect(writer.commit("")).rejects.toThrow();
    await writer.abort();
    cuts = [];
    const bytes = crypto.randomBytes(9 * MiB);
    expect(sha256(await get(store, await put(store, bytes), bytes.length))).toBe(sha256(bytes));
  });
});
