import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import { tmpdir } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { NixUpstream, pathNamed, testKey } from "../fixtures/nix-upstream.ts";
import { startToxiproxy } from "../fixtures/toxiproxy.ts";
import { median, paired, wrk, type Figure, type Sample } from "./measure.ts";
import { NixClient } from "./nix-closure.ts";
import { cpuMicros, peakRss, resetPeak, startNginx, startStowhouse } from "./processes.ts";

/** Nix caches against nginx that serves the same files: real Nix pulls a closure from either, in alternating rounds. */

const { values } = parseArgs({ options: { rounds: { type: "string", default: "5" }, only: { type: "string", default: "narinfo,warm,cold,far,single-flight,memory" } } });
const rounds = Number(values.rounds);
const only = new Set(values.only.split(","));
const LARGE = 100 * 1024 * 1024;

const dir = mkdtempSync(path.join(tmpdir(), "stowhouse-bench-nix-"));
const nginx = await startNginx(path.join(dir, "nginx"));
const nix = new NixClient(path.join(dir, "nix"), nginx.files);

let servers = 0;
/** A server with nothing in it that has one upstream. */
async function fresh(upstream: string, trustedKey: string) {
  const config = path.join(dir, `config-${++servers}.yaml`);
  writeFileSync(config, JSON.stringify({
    // One address asks here for as much as a whole team does.
    limits: { requestsPerMinute: 0 },
    caches: { default: { anonymousRead: true, untrustedShare: "100%" } },
    protocols: { nix: { caches: { default: { upstreams: { nginx: { url: upstream, trustedKeys: [trustedKey] } } } } } },
  }));
  const server = await startStowhouse(path.join(dir, `server-${servers}`), { STOWHOUSE_CONFIG: config });
  const cache = `${server.url}/nix/default`;
  return { ...server, cache, publicKey: (await (await fetch(`${cache}/pubkey`)).text()).trim() };
}
type Server = Awaited<ReturnType<typeof fresh>>;

const tell = (figure: Figure) => console.log(`${figure.met ? "met   " : "MISSED"}  ${figure.name}: ${figure.value}${figure.ratio === undefined ? "" : `, ${figure.ratio.toFixed(2)}× (${figure.spread})`}; goal ${figure.goal}${figure.note ? `; ${figure.note}` : ""}`);

async function narinfos(server: Server): Promise<void> {
  const script = path.join(dir, "narinfo.lua");
  const names = readdirSync(nginx.files).filter((name) => name.endsWith(".narinfo"));
  const lua = (prefix: string) => writeFileSync(script, `local n, i = {${names.map((name) => `"${prefix}/${name}"`).join(",")}}, 0\nrequest = function() i = i % #n + 1 return wrk.format("GET", n[i]) end\n`);
  const readers = { "with a key": { authorization: `Basic ${Buffer.from(`ci:${server.key}`).toString("base64")}` }, anonymously: {} };
  const ours = Object.fromEntries(Object.keys(readers).map((name) => [name, [] as Sample[]]));
  const theirs: Sample[] = [];
  for (let round = 0; round <= rounds; round++) {
    lua("/nix/default");
    const own = new Map<string, Sample>();
    for (const [name, headers] of Object.entries(readers)) own.set(name, await wrk(server, "/", { script, headers }));
    lua("");
    const peer = await wrk(nginx, "/", { script });
    // The first round warms up.
    if (round === 0) continue;
    theirs.push(peer);
    for (const [name, sample] of own) ours[name]!.push(sample);
  }
  for (const [name, samples] of Object.entries(ours)) {
    const { ratio, spread } = paired(samples.map(({ rate }) => rate), theirs.map(({ rate }) => rate));
    const p99 = median(samples.map((sample) => sample.p99));
    tell({
      name: `narinfo ${name}, warm`, value: `${(median(samples.map(({ rate }) => rate)) / 1000).toFixed(1)} k/s`, ratio, spread, goal: "≥ 0.4× nginx", met: ratio >= 0.4,
      note: `CPU ${median(samples.map(({ cpu }) => cpu)).toFixed(0)} µs a request, nginx ${median(theirs.map(({ cpu }) => cpu)).toFixed(0)}`,
    });
    tell({ name: `narinfo ${name}, warm, p99 of 16 connections`, value: `${p99.toFixed(1)} ms`, goal: "≤ 10 ms", met: p99 <= 10 });
  }
}

/** Rounds of a pull beside a direct one. @param server for a round, ready before the clock runs @param direct where the other one pulls from */
async function pulls(name: string, goal: number, server: () => Promise<Server>, done: (server: Server) => Promise<void>, direct = nginx.url): Promise<void> {
  const ours: number[] = [];
  const theirs: number[] = [];
  const cpu: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const source = await server();
    if (round % 2 === 0) theirs.push(nix.pull(direct, nix.publicKey));
    const before = cpuMicros(source.pids());
    ours.push(nix.pull(source.cache, source.publicKey));
    cpu.push((cpuMicros(source.pids()) - before) / 1e6);
    if (round % 2 === 1) theirs.push(nix.pull(direct, nix.publicKey));
    await done(source);
  }
  const { ratio, spread } = paired(ours, theirs);
  tell({ name, value: `${median(ours).toFixed(2)} s`, ratio, spread, goal: `≤ ${goal}× nginx`, met: ratio <= goal, note: `nginx ${median(theirs).toFixed(2)} s; CPU of the server ${median(cpu).toFixed(2)} s` });
}

/** The upstream is 20 ms away, with 1 Gbit/s for each connection, as those of the internet are at best; the cache is near. */
async function far(): Promise<void> {
  const toxiproxy = await startToxiproxy();
  const link = await toxiproxy.proxy(new URL(nginx.url).host);
  for (const stream of ["upstream", "downstream"] as const) {
    await link.addToxic({ type: "latency", stream, attributes: { latency: 10 } });
    // KB a second.
    await link.addToxic({ type: "bandwidth", stream, attributes: { rate: 125_000 } });
  }
  const url = `http://${link.address}`;
  await pulls("closure pull, cold, upstream 20 ms away", 1.15, () => fresh(url, nix.publicKey), (server) => server.stop(), url);
  await toxiproxy.stop();
}

/** Reads all of a body. @returns ms until its first byte, and its length */
function get(url: string): Promise<{ first: number; bytes: number }> {
  const began = performance.now();
  return new Promise((resolve, reject) => {
    http.get(url, { agent: false }, (answer) => {
      let first = 0;
      let bytes = 0;
      answer.on("data", (chunk: Buffer) => {
        first ||= performance.now() - began;
        bytes += chunk.length;
      });
      answer.on("end", () => resolve({ first, bytes }));
      answer.on("error", reject);
    }).on("error", reject);
  });
}

const paths = (names: readonly string[]) => names.map((name) => pathNamed(name, { size: LARGE }));

/** Eight clients that want one NAR at once, which comes at 50 MB/s. */
async function singleFlight(): Promise<void> {
  const upstream = await new NixUpstream().start();
  const server = await fresh(upstream.url, testKey("upstream-1").public.text);
  const first: number[] = [];
  let asked = 0;
  for (const one of paths(Array.from({ length: rounds }, (_, round) => `one-${round}`))) {
    upstream.add(one);
    upstream.rate = 50e6;
    await get(`${server.cache}/${one.hash}.narinfo`);
    const answers = await Promise.all(Array.from({ length: 8 }, () => get(`${server.cache}/${one.narUrl}`)));
    if (answers.some(({ bytes }) => bytes !== LARGE)) throw new Error("a client did not get all of it");
    first.push(Math.max(...answers.map((answer) => answer.first)));
    asked = Math.max(asked, upstream.count(`GET /${one.narUrl}`));
  }
  await server.stop();
  await upstream.stop();
  tell({ name: "8 cold clients of one NAR, requests upstream", value: String(asked), goal: "1", met: asked === 1 });
  tell({ name: "8 cold clients of one NAR, last one's first byte", value: `${median(first).toFixed(0)} ms`, goal: "≤ 50 ms", met: median(first) <= 50 });
}

/** Eight clients with a NAR of their own each: first through the proxy, then from the storage. */
async function memory(): Promise<void> {
  const many = paths(Array.from({ length: 8 }, (_, i) => `many-${i}`));
  const upstream = await new NixUpstream().start();
  upstream.add(...many);
  const server = await fresh(upstream.url, testKey("upstream-1").public.text);
  for (const { hash } of many) await get(`${server.cache}/${hash}.narinfo`);
  const pid = server.pids()[0]!;
  for (const state of ["cold", "warm"]) {
    resetPeak(pid);
    await Promise.all(many.map(({ narUrl }) => get(`${server.cache}/${narUrl}`)));
    const peak = peakRss(pid);
    tell({ name: `RSS with 8 × 100 MiB, ${state}`, value: `${peak.toFixed(0)} MiB`, goal: "≤ 256 MiB", met: peak <= 256 });
    // Cold ones are still being kept.
    await new Promise((resolve) => setTimeout(resolve, 10_000));
  }
  await server.stop();
  await upstream.stop();
}

try {
  if (only.has("narinfo") || only.has("warm")) {
    const server = await fresh(nginx.url, nix.publicKey);
    nix.pull(server.cache, server.publicKey);
    // What came is still being kept.
    await new Promise((resolve) => setTimeout(resolve, 5_000));
    if (only.has("narinfo")) await narinfos(server);
    if (only.has("warm")) await pulls("closure pull, warm", 1.1, async () => server, async () => {});
    await server.stop();
  }
  if (only.has("cold")) await pulls("closure pull, cold", 1.15, () => fresh(nginx.url, nix.publicKey), (server) => server.stop());
  if (only.has("far")) await far();
  if (only.has("single-flight")) await singleFlight();
  if (only.has("memory")) await memory();
} finally {
  nix.remove();
  await nginx.stop();
  rmSync(dir, { recursive: true, force: true });
}
