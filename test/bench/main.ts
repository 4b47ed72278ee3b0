import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { benchGets } from "./gets.ts";
import { benchMemory, benchStart } from "./limits.ts";
import type { Figure } from "./measure.ts";
import { startNginx, startStowhouse } from "./processes.ts";
import { benchGetsBesidePuts, benchLargePuts, benchSmallPuts } from "./puts.ts";

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "7" },
    seconds: { type: "string", default: "2" },
    entries: { type: "string", default: "1000000" },
    only: { type: "string", default: "gets,puts,memory,start" },
    env: { type: "string", multiple: true, default: [] },
  },
});
const rounds = Number(values.rounds);
const seconds = Number(values.seconds);
const only = new Set(values.only.split(","));
const dir = mkdtempSync(join(tmpdir(), "stowhouse-bench-"));
const figures: Figure[] = [];
const done = (...more: Figure[]) => {
  for (const f of more) console.log(`${f.met ? "met   " : "MISSED"}  ${f.name}: ${f.value}${f.ratio === undefined ? "" : `, ${f.ratio.toFixed(2)}× (${f.spread})`}; goal ${f.goal}${f.note ? `; ${f.note}` : ""}`);
  figures.push(...more);
};

const server = await startStowhouse(join(dir, "stowhouse"), Object.fromEntries(values.env.map((pair) => pair.split("=", 2) as [string, string])));
const nginx = await startNginx(join(dir, "nginx"));
try {
  if (only.has("gets")) done(...(await benchGets(server, nginx, rounds, seconds)));
  if (only.has("puts")) {
    done(await benchLargePuts(server, nginx, dir, rounds));
    done(await benchSmallPuts(server, dir, rounds, seconds));
    if (only.has("gets")) done(await benchGetsBesidePuts(server, dir, rounds, seconds));
  }
  if (only.has("memory")) done(await benchMemory(server, dir));
} finally {
  await server.stop();
  await nginx.stop();
}
if (only.has("start")) done(await benchStart(join(dir, "start"), Number(values.entries)));
rmSync(dir, { recursive: true });
console.log(`${figures.filter((f) => f.met).length} of ${figures.length} goals met`);
