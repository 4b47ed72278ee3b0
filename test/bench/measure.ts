import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { cpuMicros, type Subject } from "./processes.ts";

const run = promisify(execFile);

export interface Sample {
  /** Requests a second. */
  readonly rate: number;
  /** Bytes a second, those of unfinished answers too. */
  readonly bytes: number;
  /** CPU of the server for one request, µs; of a large one for 100 MB. */
  readonly cpu: number;
  readonly p99: number;
}

/** wrk with one thread; the rate, latency and the server's own CPU. @throws when any answer was not 2xx */
export async function wrk(subject: Subject, path: string, options: { connections?: number; seconds?: number; headers?: Record<string, string>; script?: string; large?: boolean } = {}): Promise<Sample> {
  const { connections = 16, seconds = 2, headers = {}, script } = options;
  const pids = subject.pids();
  const before = cpuMicros(pids);
  const { stdout } = await run("wrk", [
    "-t1", `-c${connections}`, `-d${seconds}s`, "--latency", ...(script ? ["-s", script] : []),
    ...Object.entries(headers).flatMap(([name, value]) => ["-H", `${name}: ${value}`]), `${subject.url}${path}`,
  ]);
  const used = cpuMicros(pids) - before;
  if (/Non-2xx/.test(stdout)) throw new Error(`not all answers were 2xx:\n${stdout}`);
  const rate = Number(/Requests\/sec:\s+([\d.]+)/.exec(stdout)![1]);
  const [, amount, unit] = /Transfer\/sec:\s+([\d.]+)(B|KB|MB|GB)/.exec(stdout)!;
  const bytes = Number(amount) * 1024 ** ["B", "KB", "MB", "GB"].indexOf(unit!);
  const [, requests, time] = /(\d+) requests in ([\d.]+)s/.exec(stdout)!;
  const answers = options.large ? (bytes * Number(time)) / 1e8 : Number(requests);
  return { rate, bytes, cpu: used / answers, p99: milliseconds(/99%\s+([\d.]+)(us|ms|s)/.exec(stdout)!) };
}

function milliseconds([, value, unit]: RegExpExecArray): number {
  return Number(value) * (unit === "us" ? 0.001 : unit === "ms" ? 1 : 1000);
}

/** One PUT by curl: bytes a second and the server's CPU, ms. */
export async function curlPut(subject: Subject, url: string, file: string, headers: readonly string[]): Promise<{ rate: number; cpu: number }> {
  const pids = subject.pids();
  const before = cpuMicros(pids);
  const { stdout } = await run("curl", ["-sS", "-f", "-T", file, ...headers.flatMap((header) => ["-H", header]), "-H", "Expect:", "-o", "/dev/null", "-w", "%{speed_upload}", url]);
  return { rate: Number(stdout), cpu: (cpuMicros(pids) - before) / 1000 };
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

export function shuffled<T>(items: readonly T[]): T[] {
  const result = [...items];
  for (let i = result.length - 1; i > 0; i--) {
    const j = Math.floor(Math.random() * (i + 1));
    [result[i], result[j]] = [result[j]!, result[i]!];
  }
  return result;
}

/** One line of the report: what was measured against its peer in the same rounds. */
export interface Figure {
  readonly name: string;
  readonly value: string;
  readonly ratio?: number;
  readonly spread?: string;
  readonly goal: string;
  readonly met: boolean;
  readonly note?: string;
}

/** Medians of paired ratios: each round compares neighbours in time, so that a machine whose speed drifts can't decide. */
export function paired(ours: readonly number[], theirs: readonly number[]): { ratio: number; spread: string } {
  const ratios = ours.map((value, round) => value / theirs[round]!);
  return { ratio: median(ratios), spread: `${Math.min(...ratios).toFixed(2)}–${Math.max(...ratios).toFixed(2)}` };
}
