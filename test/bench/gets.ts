import { randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { median, paired, shuffled, wrk, type Figure, type Sample } from "./measure.ts";
import type { startNginx } from "./processes.ts";
import { ghaPut, nipPut, type Product } from "./product.ts";

type Nginx = Awaited<ReturnType<typeof startNginx>>;

interface Case {
  readonly label: string;
  readonly name: string;
  readonly size: number;
  readonly goal: number;
  readonly stretch: number;
}

const MB = 1_000_000;
const CASES: readonly Case[] = [
  { label: "GET 4 KiB hot", name: "4k", size: 4096, goal: 0.38, stretch: 0.45 },
  { label: "GET 64 KiB hot", name: "64k", size: 65536, goal: 0.55, stretch: 0.65 },
  { label: "GET 100 MB", name: "100m", size: 100 * MB, goal: 1, stretch: 1.5 },
];

/** Whole files over two product routes (nip download with a key, signed GitHub Actions blob) against nginx, round by round. */
export async function benchGets(server: Product, nginx: Nginx, rounds: number, seconds: number): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const { label, name, size, goal, stretch } of CASES) {
    const body = randomBytes(size) as Uint8Array<ArrayBuffer>;
    writeFileSync(join(nginx.files, name), body);
    await nipPut(server, `bench-${name}`, body);
    const signed = await ghaPut(server, `bench-${name}`, body);
    const large = size > MB;
    const runs = {
      nginx: () => wrk(nginx, `/${name}`, { seconds, large }),
      nip: () => wrk(server, `/v1/download/bench-${name}`, { seconds, large, headers: { authorization: `Bearer ${server.key}` } }),
      blob: () => wrk(server, signed, { seconds, large }),
    };
    const samples: Record<keyof typeof runs, Sample[]> = { nginx: [], nip: [], blob: [] };
    const speed = (sample: Sample) => (large ? sample.bytes : sample.rate);
    for (const run of Object.values(runs)) await run();
    for (let round = 0; round < rounds; round++) {
      for (const who of shuffled(Object.keys(runs) as (keyof typeof runs)[])) samples[who].push(await runs[who]());
    }
    for (const who of ["nip", "blob"] as const) {
      const { ratio, spread } = paired(samples[who].map(speed), samples.nginx.map(speed));
      const rate = median(samples[who].map(speed));
      figures.push({
        name: `${label}, ${who}`,
        value: large ? `${(rate / MB).toFixed(0)} MB/s` : `${(rate / 1000).toFixed(1)} k/s`,
        ratio, spread, goal: `≥ ${goal}× nginx (stretch ${stretch}×)`, met: ratio >= goal,
        note: `CPU ${median(samples[who].map((s) => s.cpu)).toFixed(1)} µs ${large ? "for 100 MB" : "a request"}, nginx ${median(samples.nginx.map((s) => s.cpu)).toFixed(1)}`,
      });
    }
  }
  return figures;
}
