import { execFileSync } from "node:child_process";
import { mkdtemp, open, readdir, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { setTimeout } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { inject } from "../fixtures/inject.ts";
import { mountTmpfs, type Mount } from "../fixtures/mounts.ts";
import { startStowhouse, type Stowhouse } from "../fixtures/stowhouse.ts";
import { endures, Kept, refused } from "./endure.ts";
import { lost, startTraffic, type Sample, type Traffic } from "./traffic.ts";

/** Longest wait for an answer, ms: system calls of a traced server take long on a loaded machine. */
const BOUND = 20_000;
const RECOVERY = 20_000;

let home: string;
let disk: Mount;
let server: Stowhouse;
let traffic: Traffic;
let kept: Kept;

beforeAll(async () => {
  home = await mkdtemp(path.join(os.tmpdir(), "stowhouse-disk-"));
  disk = await mountTmpfs(path.join(home, "disk"), "96m");
  server = await startStowhouse(how());
  kept = await Kept.save(server);
  traffic = startTraffic(server, { clients: 4, size: 300_000, pause: 60 });
  await traffic.recovered(RECOVERY);
});

afterAll(async () => {
  await traffic?.stop();
  await server?.kill();
  await disk?.unmount();
  await rm(home, { recursive: true, force: true });
});

// Eviction would make room, and then nothing would be full.
const how = () => ({ data: path.join(disk.directory, "data"), home, config: { log: { access: false }, eviction: { minFree: "0%" } } });
const trial = () => ({ server, traffic, bound: BOUND, recovery: RECOVERY });
const statuses = (samples: readonly Sample[]) => [...new Set(samples.map(({ status }) => status))];

/** Takes all the space there is. */
async function fill(): Promise<() => Promise<void>> {
  const filler = path.join(disk.directory, "filler");
  const file = await open(filler, "w");
  const block = Buffer.alloc(64 * 1024, "x");
  for (const size of [block.length, 4_096]) {
    while (await file.write(block, 0, size).then(({ bytesWritten }) => bytesWritten === size, () => false));
  }
  await file.close();
  return () => rm(filler);
}

test("a full disk: uploads are refused as such, reads go on, and room is enough to go on", async () => {
  const samples = await endures("full disk", trial(), async () => {
    const free = await fill();
    for (let i = 0; i < 4; i++) {
      await kept.read();
      await setTimeout(500);
    }
    await free();
  });
  const no = refused(samples);
  expect(no.length).toBeGreaterThan(3);
  // Large and small: the files' disk is full, and so is the database's.
  expect(statuses(no.filter(({ op }) => op === "nip put"))).toEqual([507]);
  expect(no.filter(({ op }) => op.endsWith("get"))).toEqual([]);
});

test("a disk that can't sync: nothing is acknowledged meanwhile", async () => {
  const samples = await endures("EIO in fdatasync and fsync", trial(), async () => {
    const fault = await inject(server.pid, "fdatasync:error=EIO", "fsync:error=EIO");
    await setTimeout(300);
    const before = traffic.ledger.count().acknowledged;
    await setTimeout(2_500);
    expect(traffic.ledger.count().acknowledged).toBe(before);
    await kept.read();
    await fault.stop();
  });
  expect(refused(samples).length).toBeGreaterThan(3);
  expect(statuses(refused(samples).filter(({ op }) => op === "nip put"))).toEqual([503]);
});

test("now and then a write fails, with EIO or a full disk", async () => {
  const samples = await endures("EIO and ENOSPC in some writes", trial(), async () => {
    for (const fault of ["pwrite64:error=EIO:when=2+3", "pwrite64:error=ENOSPC:when=3+4", "rename:error=EIO:when=1+2", "openat:error=EIO:when=3+5", "ftruncate:error=EIO"]) {
      const injected = await inject(server.pid, fault);
      await setTimeout(800);
      await injected.stop();
    }
  });
  expect(refused(samples).length).toBeGreaterThan(3);
});

test("reads fail: a look-up is a miss or says so, a body is whole or cut off, and all is well afterwards", async () => {
  traffic.take();
  const fault = await inject(server.pid, "pread64:error=EIO:when=1+2");
  await setTimeout(1_500);
  await fault.stop();
  await traffic.recovered(RECOVERY);
  expect(server.alive()).toBe(true);
  await kept.read();
});

test("no descriptor is left: the server goes on when there are some again", async () => {
  const limit = (count: number | string) => execFileSync("prlimit", ["--pid", String(server.pid), `--nofile=${count}:`]);
  const before = execFileSync("prlimit", ["--pid", String(server.pid), "--nofile", "--noheadings", "--raw", "--output", "SOFT"], { encoding: "utf8" }).trim();
  const now = (await readdir(`/proc/${server.pid}/fd`)).length;
  limit(now - 2);
  await setTimeout(2_000);
  expect(server.alive()).toBe(true);
  limit(before);
  await traffic.recovered(RECOVERY);
});

test("a server killed on a full disk starts on it and serves what it has", async () => {
  const free = await fill();
  await server.kill();
  server = await startStowhouse({ ...how(), port: server.port });
  await kept.read();
  await free();
  await traffic.recovered(RECOVERY);
});

test("after all that, everything acknowledged is there and nothing unfinished is left", async () => {
  await traffic.stop();
  expect(await lost(server, traffic.ledger)).toEqual([]);
  await kept.read();
  await expect.poll(() => readdir(path.join(disk.directory, "data/blobs/tmp")), { timeout: 5_000 }).toEqual([]);
  await server.stop();
});
