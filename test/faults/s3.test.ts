import { mkdtemp, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { setTimeout } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { s3Error, startFailingProxy, type FailingProxy } from "../fixtures/failing-proxy.ts";
import { Random } from "../fixtures/random.ts";
import { startStowhouse, type Stowhouse } from "../fixtures/stowhouse.ts";
import { startToxiproxy, type Proxy, type Toxic, type Toxiproxy } from "../fixtures/toxiproxy.ts";
import { startVersitygw, type Versitygw } from "../fixtures/versitygw.ts";
import { endures, Kept, refused } from "./endure.ts";
import { lost, startTraffic, type Traffic } from "./traffic.ts";

/** Two tries of three seconds each, and what a loaded machine adds. */
const BOUND = 25_000;
const RECOVERY = 20_000;

let home: string;
let service: Versitygw;
let toxiproxy: Toxiproxy;
let line: Proxy;
let proxy: FailingProxy;
let server: Stowhouse;
let traffic: Traffic;
let kept: Kept;

/** Server → failing proxy → toxiproxy → versitygw. */
beforeAll(async () => {
  home = await mkdtemp(path.join(os.tmpdir(), "stowhouse-s3-faults-"));
  [service, toxiproxy] = await Promise.all([startVersitygw(), startToxiproxy()]);
  line = await toxiproxy.proxy(new URL(service.url).host);
  proxy = await startFailingProxy(`http://${line.address}`);
  const s3 = {
    bucket: service.bucket, endpoint: proxy.url, region: "us-east-1", pathStyle: true, accessKeyId: service.accessKey, secretAccessKey: service.secretKey,
    partSize: "5MiB", connectTimeout: "1s", requestTimeout: "3s", idleTimeout: "3s", maxAttempts: 2,
  };
  server = await startStowhouse({ data: path.join(home, "data"), home, config: { log: { access: false }, storages: { default: { type: "s3", s3 } } } });
  kept = await Kept.save(server);
  traffic = startTraffic(server, { clients: 4, size: 300_000, pause: 40 });
  await traffic.recovered(RECOVERY);
});

afterAll(async () => {
  await traffic?.stop();
  await server?.kill();
  await proxy?.stop();
  await toxiproxy?.stop();
  await service?.stop();
  await rm(home, { recursive: true, force: true });
});

const trial = () => ({ server, traffic, bound: BOUND, recovery: RECOVERY });

async function ill(toxic: Toxic, ms: number): Promise<void> {
  const name = await line.addToxic(toxic);
  await setTimeout(ms);
  await line.removeToxic(name);
}

/** What lives in the database does not feel a storage that is ill. */
function smallOnesGoOn(samples: Awaited<ReturnType<typeof endures>>): void {
  expect(refused(samples).filter(({ large }) => !large)).toEqual([]);
  expect(samples.filter(({ large, done }) => !large && done).length).toBeGreaterThan(0);
}

test("the service answers 500 and 503 now and then, and always", async () => {
  const random = new Random(7);
  const samples = await endures("S3 errors", trial(), async () => {
    for (const share of [0.3, 1]) {
      proxy.fault = () => (random.chance(share) ? random.pick([s3Error(500, "InternalError"), s3Error(503, "SlowDown")]) : "pass");
      await setTimeout(2_500);
    }
    proxy.fault = () => "pass";
  });
  expect(proxy.failed).toBeGreaterThan(10);
  smallOnesGoOn(samples);
});

test("the service is slow: it costs time and nothing else", async () => {
  const samples = await endures("S3 latency", trial(), () => ill({ type: "latency", attributes: { latency: 200, jitter: 100 } }, 3_000));
  expect(refused(samples)).toEqual([]);
});

test("connections to the service are reset", async () => {
  smallOnesGoOn(await endures("S3 resets", trial(), () => ill({ type: "reset_peer", attributes: { timeout: 20 } }, 2_500)));
});

test("the service hangs", async () => {
  smallOnesGoOn(await endures("S3 hang", trial(), () => ill({ type: "timeout", attributes: { timeout: 0 }, stream: "upstream" }, 5_000)));
});

test("answers are cut off in the middle: no body is served short, and a read goes on where it broke", async () => {
  const samples = await endures("S3 answers cut off", trial(), async () => {
    let n = 0;
    proxy.fault = ({ method }) => (method === "GET" && n++ % 2 === 0 ? { cutAfter: 60_000 } : "pass");
    await kept.read();
    await setTimeout(1_500);
    proxy.fault = () => "pass";
  });
  expect(refused(samples)).toEqual([]);
});

test("the bucket is gone, or lies empty, for a while: nothing is taken for lost", async () => {
  smallOnesGoOn(await endures("bucket gone", trial(), async () => {
    proxy.fault = () => s3Error(404, "NoSuchBucket");
    await setTimeout(1_500);
    // A gateway whose disk is not mounted has the bucket, and nothing in it.
    const bucket = new RegExp(`^/${service.bucket}/?([?]|$)`);
    proxy.fault = ({ method, url = "" }) => (bucket.test(url) ? "pass" : method === "GET" || method === "HEAD" ? s3Error(404, "NoSuchKey") : s3Error(503, "SlowDown"));
    await setTimeout(1_500);
    proxy.fault = () => "pass";
  }));
  await kept.read();
});

test("after all that, everything acknowledged is there", async () => {
  await traffic.stop();
  expect(await lost(server, traffic.ledger)).toEqual([]);
  await kept.read();
  await server.stop();
});
