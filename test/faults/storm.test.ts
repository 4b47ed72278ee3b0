import { mkdtemp, readdir, rm } from "node:fs/promises";
import { connect, type Socket } from "node:net";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { bytesOf, Random, seedOf } from "../fixtures/random.ts";
import { memory, openFiles, startStowhouse, type Stowhouse } from "../fixtures/stowhouse.ts";
import { blockId, finalized, GhaClient, NipClient, signedUrl } from "../fixtures/wire-clients.ts";
import { Kept } from "./endure.ts";

/** Clients that leave in the middle of a body, for so long. */
const SECONDS = Number(process.env["STOWHOUSE_STORM_SECONDS"] ?? 8);
const CLIENTS = 16;
const LARGE = 20 * 1024 * 1024;
const SMALL = 4_096;
/** Of the process; it is to stay far below what 16 bodies of 20 MB at once would take, MiB. */
const MOST_MEMORY = 500;

let home: string;
let server: Stowhouse;
let kept: Kept;

beforeAll(async () => {
  home = await mkdtemp(path.join(os.tmpdir(), "stowhouse-storm-"));
  server = await startStowhouse({ data: path.join(home, "data"), config: { log: { access: false }, limits: { uploads: 100_000 } } });
  kept = await Kept.save(server);
});

afterAll(async () => {
  await server?.kill();
  await rm(home, { recursive: true, force: true });
});

interface Visit {
  readonly head: string;
  /** What it would send. */
  readonly body: Buffer;
}

/** One request whose client goes away: after some bytes sent or received, at once or a little later, with FIN or RST. */
function leave(visit: Visit, random: Random): Promise<void> {
  return new Promise((resolve) => {
    const socket: Socket = connect(server.port, "127.0.0.1");
    const end = () => (random.chance(0.5) ? socket.destroy() : socket.resetAndDestroy());
    const patience = setTimeout(end, 3_000);
    socket.on("error", () => {});
    socket.on("close", () => {
      clearTimeout(patience);
      resolve();
    });
    socket.on("connect", () => {
      socket.write(visit.head);
      const sent = visit.body.subarray(0, Math.floor(visit.body.length * random.next() * 0.99));
      if (sent.length > 0) socket.write(sent);
      const moment = random.next();
      if (moment < 0.2) setImmediate(end);
      else if (visit.body.length > 0) setTimeout(end, random.int(0, 30));
      else {
        let left = random.int(0, LARGE);
        socket.on("data", (chunk) => {
          left -= chunk.length;
          if (left <= 0) end();
        });
        setTimeout(end, random.int(1, 60));
      }
    });
  });
}

test(`${CLIENTS} clients leaving in the middle of bodies, both ways, for ${SECONDS} s cost the server nothing that lasts`, { timeout: (SECONDS + 120) * 1_000 }, async () => {
  const nip = new NipClient(server);
  const gha = new GhaClient(server);
  const large = bytesOf("large", LARGE);
  const small = bytesOf("small", SMALL);
  await nip.put("storm-large", large, {});
  await nip.put("storm-small", small, {});
  const url = async (key: string, body: Buffer<ArrayBuffer>) => {
    expect(finalized(await gha.put(key, body))).toBe(true);
    return new URL(signedUrl(await gha.find(key), "signed_download_url")!);
  };
  const reserved = new URL(signedUrl(await gha.create("storm-never"), "signed_upload_url")!);
  const downloads = [await url("storm-large", large), await url("storm-small", small)];
  await kept.read();
  expect((await nip.get("storm-large")).status).toBe(200);
  const before = openFiles(server.pid);

  const auth = `Authorization: Bearer ${server.key}\r\n`;
  const line = (method: string, target: string, headers = "") => `${method} ${target} HTTP/1.1\r\nHost: ${new URL(server.url).host}\r\n${headers}`;
  const form = (body: Buffer) => Buffer.concat([Buffer.from(`--b\r\nContent-Disposition: form-data; name="metadata"\r\n\r\n{}\r\n--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n`), body, Buffer.from("\r\n--b--\r\n")]);
  const upload = (head: string, body: Buffer): Visit => ({ head: `${head}Content-Length: ${body.length}\r\n\r\n`, body });
  const signed = (target: URL) => target.pathname + target.search;
  const visits = (random: Random, serial: number): Visit => {
    const body = random.chance(0.5) ? large : small;
    switch (random.int(0, 4)) {
      case 0: return upload(line("POST", `/v1/artifacts/storm-${serial}`, `${auth}Content-Type: multipart/form-data; boundary=b\r\n`), form(body));
      case 1: return upload(line("PUT", `${signed(reserved)}&comp=block&blockid=${encodeURIComponent(blockId(serial))}`), body);
      case 2: return upload(line("PUT", signed(reserved), "x-ms-blob-type: BlockBlob\r\n"), body);
      case 3: return { head: `${line("GET", `/v1/download/storm-${body === large ? "large" : "small"}`, auth)}\r\n`, body: Buffer.alloc(0) };
      default: return { head: `${line("GET", signed(downloads[body === large ? 0 : 1]!))}\r\n`, body: Buffer.alloc(0) };
    }
  };

  const seed = seedOf("abort storm", 8_420);
  const end = Date.now() + SECONDS * 1_000;
  let left = 0;
  await Promise.all(Array.from({ length: CLIENTS }, async (_, client) => {
    const random = new Random(seed + client);
    while (Date.now() < end && server.alive()) {
      await leave(visits(random, left++), random);
    }
  }));
  expect(server.alive(), server.output().slice(-3_000)).toBe(true);
  const { peak } = memory(server.pid);

  // Everything it held for them is given back: sockets, unfinished files, handles of what was being read.
  const temporary = () => readdir(path.join(home, "data/blobs/tmp"));
  await expect.poll(temporary, { timeout: 15_000 }).toEqual([]);
  await expect.poll(() => openFiles(server.pid).sockets, { timeout: 15_000 }).toBeLessThanOrEqual(before.sockets);
  const after = openFiles(server.pid);
  console.log(`${left} clients left; open before ${before.count}, after ${after.count}; peak memory ${peak.toFixed(0)} MiB`);
  expect(left).toBeGreaterThan(CLIENTS * SECONDS);
  expect(after.files.toSorted()).toEqual(before.files.toSorted());
  expect(peak).toBeLessThan(MOST_MEMORY);
  await kept.read();
  expect((await nip.get("storm-large")).body.equals(large)).toBe(true);
  // Not one of the uploads that were left has become an entry.
  expect((await nip.lookup("storm-0")).status).toBe(404);
  await server.stop();
});
