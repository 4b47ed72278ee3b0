import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";

/** A server under test: where it listens, and which processes do its work. */
export interface Subject {
  readonly url: string;
  readonly pids: () => number[];
  stop(): Promise<void>;
}

const root = new URL("../../", import.meta.url).pathname;

export function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const probe = createServer().listen(0, "127.0.0.1", () => {
      const { port } = probe.address() as { port: number };
      probe.close(() => resolve(port));
    });
  });
}

/** Starts the product as `npm start` does, on files and SQLite under `dir`, its log in a file there. */
export async function startStowhouse(dir: string, env: Record<string, string> = {}): Promise<Subject & { key: string; readyMs: number }> {
  mkdirSync(dir, { recursive: true });
  const port = await freePort();
  const key = "bench-write-key";
  const started = performance.now();
  const log = join(dir, "access.log");
  writeFileSync(log, "");
  const child = spawn("sh", ["-c", `exec "${process.execPath}" --max-semi-space-size=2 server/cli.ts serve >>"${log}" 2>&1`], {
    cwd: root,
    env: { ...process.env, STOWHOUSE_LISTEN: `127.0.0.1:${port}`, STOWHOUSE_DATA: join(dir, "data"), STOWHOUSE_WRITE_KEY: key, STOWHOUSE_ADMIN_KEY: "bench-admin-key", ...env },
  });
  const url = `http://127.0.0.1:${port}`;
  await reachable(`${url}/readyz`, child, log);
  return { url, key, readyMs: performance.now() - started, pids: () => [child.pid!], stop: () => stop(child) };
}

/** nginx with one worker, sendfile, an open file cache, a buffered access log, and WebDAV for PUT: as fast as it gets. */
export async function startNginx(dir: string): Promise<Subject & { files: string }> {
  const port = await freePort();
  const files = join(dir, "files");
  mkdirSync(join(files, "put"), { recursive: true, mode: 0o777 });
  mkdirSync(join(dir, "tmp"), { recursive: true });
  const config = join(dir, "nginx.conf");
  writeFileSync(
    config,
    `daemon off; worker_processes 1; pid ${dir}/nginx.pid; error_log ${dir}/error.log; user root;
events { worker_connections 1024; }
http {
  sendfile on; tcp_nopush on; tcp_nodelay on; keepalive_timeout 75s; keepalive_requests 100000000; default_type application/octet-stream;
  open_file_cache max=10000 inactive=60s; open_file_cache_valid 60s;
  access_log ${dir}/access.log combined buffer=64k flush=1s;
  client_max_body_size 0; client_body_temp_path ${dir}/tmp; client_body_buffer_size 1m;
  server { listen 127.0.0.1:${port}; root ${files}; location /put/ { dav_methods PUT DELETE; create_full_put_path on; } }
}`,
  );
  const child = spawn("nginx", ["-c", config, "-p", dir], { stdio: "ignore" });
  const url = `http://127.0.0.1:${port}`;
  await reachable(url, child, join(dir, "error.log"));
  const worker = () => execFileSync("pgrep", ["-P", String(child.pid)], { encoding: "utf8" }).trim().split("\n").map(Number);
  return { url, files, pids: worker, stop: () => stop(child) };
}


async function reachable(url: string, child: ChildProcess, log: string): Promise<void> {
  for (let i = 0; i < 1200; i++) {
    if (child.exitCode !== null) break;
    const status = await fetch(url, { signal: AbortSignal.timeout(2_000) }).then((r) => r.status, () => 0);
    if (status > 0 && status !== 503) return;
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  throw new Error(`the server did not start:\n${readFileSync(log, "utf8").slice(-2000)}`);
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null) return;
  const ended = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGTERM");
  await ended;
}

/** User and system CPU of processes so far, µs. Ticks are 10 ms. */
export function cpuMicros(pids: number[]): number {
  let ticks = 0;
  for (const pid of pids) {
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8").replace(/^.*\) /, "").split(" ");
    ticks += Number(fields[11]) + Number(fields[12]);
  }
  return ticks * 10_000;
}

/** Highest resident memory of a process so far, MiB. */
export function peakRss(pid: number): number {
  return Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))![1]) / 1024;
}

export function resetPeak(pid: number): void {
  writeFileSync(`/proc/${pid}/clear_refs`, "5");
}
