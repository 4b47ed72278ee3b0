import { randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import http from "node:http";
import { loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { startTestDaemon } from "../fixtures/daemon.ts";
import { median, paired, wrk } from "./measure.ts";
import { startStowhouse, type Subject } from "./processes.ts";
import { ghaPut, nipPut } from "./product.ts";

/** What the daemon on the runner costs: the same requests through it and straight to the server, one after the other in every round. */

const { values } = parseArgs({ options: { rounds: { type: "string", default: "7" }, seconds: { type: "string", default: "1" } } });
const rounds = Number(values.rounds);
const seconds = Number(values.seconds);
const MB = 1_000_000;
const LOOKUPS = 500;

const dir = mkdtempSync(join(tmpdir(), "stowhouse-bench-"));
const server = await startStowhouse(dir);
const daemon = await startTestDaemon([{ url: server.url, token: server.key }]);
const child = () => Number(readFileSync(`/proc/${daemon.pid}/task/${daemon.pid}/children`, "utf8"));
const through: Subject = { url: daemon.url, pids: () => [child()], stop: () => Promise.resolve() };
const headers = (secret: string) => ({ authorization: `Bearer ${secret}` });

/** Sequential look-ups of an entry over one connection, ms each. */
async function lookups(url: string, secret: string): Promise<number[]> {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  const body = JSON.stringify({ key: "bench-lookup", version: "0".repeat(64), restore_keys: [] });
  const times: number[] = [];
  for (let i = 0; i < LOOKUPS; i++) {
    const began = performance.now();
    await new Promise<void>((resolve, reject) => {
      http.request(`${url}/twirp/github.actions.results.api.v1.CacheService/GetCacheEntryDownloadURL`, { method: "POST", agent, headers: { ...headers(secret), "content-type": "application/json" } }, (answer) => {
        if (answer.statusCode !== 200) reject(new Error(`look-up: ${answer.statusCode}`));
        answer.on("end", resolve).resume();
      }).on("error", reject).end(body);
    });
    times.push(performance.now() - began);
  }
  agent.destroy();
  return times.toSorted((a, b) => a - b);
}

/** The time of an upload as its tool sees it, ms. */
async function upload(url: string, key: string, name: string): Promise<number> {
  const began = performance.now();
  await nipPut({ ...server, url, key }, name, body100);
  return performance.now() - began;
}

const body100 = randomBytes(100 * MB) as Uint8Array<ArrayBuffer>;
const pair = () => ({ direct: [] as number[], daemon: [] as number[] });
const runs = { p50: pair(), p99: pair(), small: pair(), large: pair(), cpu: pair(), put: pair() };
const open = { p50: [] as number[], p99: [] as number[] };
try {
  await ghaPut(server, "bench-lookup", randomBytes(100) as Uint8Array<ArrayBuffer>);
  await nipPut(server, "64k", randomBytes(65_536) as Uint8Array<ArrayBuffer>);
  await nipPut(server, "100m", body100);
  for (let round = 0; round < rounds; round++) {
    for (const [side, subject, key] of [["direct", server, server.key], ["daemon", through, daemon.secret]] as const) {
      const times = await lookups(subject.url, key);
      runs.p50[side].push(times[LOOKUPS >> 1]!);
      runs.p99[side].push(times[Math.floor(LOOKUPS * 0.99)]!);
      runs.small[side].push((await wrk(subject, "/v1/download/64k", { seconds, headers: headers(key) })).rate);
      const large = await wrk(subject, "/v1/download/100m", { seconds, connections: 4, large: true, headers: headers(key) });
      runs.large[side].push(large.bytes);
      runs.cpu[side].push(large.cpu);
      runs.put[side].push(await upload(subject.url, key, `put-${side}-${round}`));
    }
  }
  await server.stop();
  for (let round = -1; round < rounds; round++) {
    const times = await lookups(daemon.url, daemon.secret);
    // The first finds out.
    if (round < 0) continue;
    open.p50.push(times[LOOKUPS >> 1]!);
    open.p99.push(times[Math.floor(LOOKUPS * 0.99)]!);
  }
} finally {
  await daemon.stop(0);
  await server.stop();
  rmSync(dir, { recursive: true });
}

const line = (what: string, { direct, daemon: ours }: ReturnType<typeof pair>, show: (value: number) => string) => {
  const { ratio, spread } = paired(ours, direct);
  console.log(`${what}: direct ${show(median(direct))}, daemon ${show(median(ours))}, ${ratio.toFixed(2)}× (${spread})`);
};
const ms = (value: number) => `${value.toFixed(2)} ms`;
line("look-up, median", runs.p50, ms);
line("look-up, p99", runs.p99, ms);
line("GET 64 KiB, 16 connections", runs.small, (value) => `${(value / 1000).toFixed(1)} k/s`);
line("GET 100 MB, 4 connections", runs.large, (value) => `${Math.round(value / MB)} MB/s`);
line("CPU of the process for 100 MB", runs.cpu, (value) => `${Math.round(value / 1000)} ms`);
line("upload of 100 MB until it is answered", runs.put, (value) => `${Math.round(value)} ms`);
console.log(`fail-open look-up: median ${ms(median(open.p50))}, p99 ${ms(median(open.p99))}`);
console.log(`load average at the end: ${loadavg().map((one) => one.toFixed(1)).join(" ")}`);
