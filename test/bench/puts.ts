import { randomBytes } from "node:crypto";
import { closeSync, fdatasyncSync, mkdirSync, openSync, renameSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { curlPut, median, paired, shuffled, wrk, type Figure } from "./measure.ts";
import type { startNginx } from "./processes.ts";
import { reserve, type Product } from "./product.ts";

type Nginx = Awaited<ReturnType<typeof startNginx>>;

/** Durable uploads with SHA-256 of 100 MB, always under fresh names, against nginx, which neither hashes nor syncs. */
export async function benchLargePuts(server: Product, nginx: Nginx, dir: string, rounds: number): Promise<Figure> {
  const file = join(dir, "100m");
  writeFileSync(file, randomBytes(100_000_000));
  const rates = { ours: [] as number[], nginx: [] as number[] };
  const cpus = { ours: [] as number[], nginx: [] as number[] };
  const run = {
    ours: async (name: string) => curlPut(server, await reserve(server, name), file, ["x-ms-blob-type: BlockBlob", "Content-Type: application/octet-stream"]),
    nginx: (name: string) => curlPut(nginx, `${nginx.url}/put/${name}`, file, []),
  };
  for (let round = -1; round < rounds; round++) {
    for (const who of shuffled(["ours", "nginx"] as const)) {
      const { rate, cpu } = await run[who](`put-${process.pid}-${round}-${who}`);
      if (round < 0) continue;
      rates[who].push(rate);
      cpus[who].push(cpu);
    }
  }
  rmSync(join(nginx.files, "put"), { recursive: true });
  mkdirSync(join(nginx.files, "put"));
  const { ratio, spread } = paired(rates.ours, rates.nginx);
  return {
    name: "PUT 100 MB, durable, SHA-256", value: `${(median(rates.ours) / 1e6).toFixed(0)} MB/s`, ratio, spread, goal: "≥ 0.4× nginx dav (stretch 0.6×)", met: ratio >= 0.4,
    note: `CPU ${median(cpus.ours).toFixed(0)} ms, nginx ${median(cpus.nginx).toFixed(0)}`,
  };
}

/** Durable 4 KiB uploads at 64 connections against one write + fdatasync + rename after the other in the same run. */
export async function benchSmallPuts(server: Product, dir: string, rounds: number, seconds: number): Promise<Figure> {
  const rates: number[] = [];
  const sync: number[] = [];
  const cpus: number[] = [];
  for (let round = 0; round < rounds; round++) {
    for (const who of shuffled(["ours", "sync"] as const)) {
      if (who === "sync") {
        sync.push(synchronousRate(join(dir, `sync-${round}`), seconds));
        continue;
      }
      const script = join(dir, `put-${round}.lua`);
      writeFileSync(script, smallPutScript(`${process.pid}-${round}`));
      const sample = await wrk(server, "/", { connections: 64, seconds, script, headers: { authorization: `Bearer ${server.key}`, "content-type": `multipart/form-data; boundary=${BOUNDARY}` } });
      rates.push(sample.rate);
      cpus.push(sample.cpu);
    }
  }
  const { ratio, spread } = paired(rates, sync);
  return {
    name: "PUT 4 KiB, durable, 64 connections", value: `${(median(rates) / 1000).toFixed(1)} k/s`, ratio, spread, goal: "≥ 10× a synchronous write each", met: ratio >= 10,
    note: `CPU ${median(cpus).toFixed(0)} µs a request; synchronous ${median(sync).toFixed(0)}/s`,
  };
}

const BOUNDARY = "----stowhouse-bench";

/** Fresh names and distinct bodies for every request, through nip's multipart route. */
function smallPutScript(run: string): string {
  return `
local n = 0
local filler = string.rep("x", 4076)
function request()
  n = n + 1
  local body = "--${BOUNDARY}\\r\\nContent-Disposition: form-data; name=\\"metadata\\"\\r\\n\\r\\n{}\\r\\n--${BOUNDARY}\\r\\nContent-Disposition: form-data; name=\\"file\\"; filename=\\"a\\"\\r\\nContent-Type: application/octet-stream\\r\\n\\r\\n" .. string.format("%020d", n) .. filler .. "\\r\\n--${BOUNDARY}--\\r\\n"
  return wrk.format("POST", "/v1/artifacts/small-${run}-" .. n, nil, body)
end`;
}

function synchronousRate(dir: string, seconds: number): number {
  mkdirSync(dir, { recursive: true });
  const body = randomBytes(4096);
  const end = performance.now() + seconds * 1000;
  let count = 0;
  for (; performance.now() < end; count++) {
    const fd = openSync(join(dir, "tmp"), "w");
    writeSync(fd, body);
    fdatasyncSync(fd);
    closeSync(fd);
    renameSync(join(dir, "tmp"), join(dir, String(count)));
  }
  rmSync(dir, { recursive: true });
  return count / seconds;
}

/** The slowest percent of hot GETs while large uploads run, against the same without them. */
export async function benchGetsBesidePuts(server: Product, dir: string, rounds: number, seconds: number): Promise<Figure> {
  const file = join(dir, "100m");
  const alone: number[] = [];
  const beside: number[] = [];
  const get = () => wrk(server, "/v1/download/bench-4k", { seconds, headers: { authorization: `Bearer ${server.key}` } });
  for (let round = 0; round < rounds; round++) {
    alone.push((await get()).p99);
    let running = true;
    const uploads = (async () => {
      for (let i = 0; running; i++) await curlPut(server, await reserve(server, `beside-${process.pid}-${round}-${i}`), file, ["x-ms-blob-type: BlockBlob"]);
    })();
    beside.push((await get()).p99);
    running = false;
    await uploads;
  }
  const { ratio, spread } = paired(beside, alone);
  return { name: "p99 of GETs beside large PUTs", value: `${median(beside).toFixed(2)} ms`, ratio, spread, goal: "≤ 3× of without", met: ratio <= 3, note: `alone ${median(alone).toFixed(2)} ms` };
}
