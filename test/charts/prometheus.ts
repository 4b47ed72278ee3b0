import { mkdtemp, rm, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { setTimeout } from "node:timers/promises";
import { stringify } from "yaml";
import type { AlertGroup } from "../../operator/resources/monitoring/alerts.ts";
import { freePort, run, startServer } from "../fixtures/tools.ts";

/** A real Prometheus (Debian's), which scrapes targets on this machine once a second. */
export interface Prometheus {
  /** Series of an expression, each with its values. */
  range(expr: string): Promise<Series[]>;
  instant(expr: string): Promise<Series[]>;
  /** Rules that could not be evaluated: name and error. */
  brokenRules(): Promise<string[]>;
  /** Whether every target has been scraped so often. */
  scraped(times: number): Promise<boolean>;
  stop(): Promise<void>;
}

export interface Series {
  readonly metric: Readonly<Record<string, string>>;
  readonly values: readonly number[];
}

export interface Target {
  readonly address: string;
  readonly labels: Readonly<Record<string, string>>;
}

interface Answer {
  data: { result: { metric: Record<string, string>; value?: [number, string]; values?: [number, string][] }[] };
}

/** Seconds of data that range queries look at. */
const WINDOW = 30;

export async function startPrometheus(targets: readonly Target[], groups: readonly AlertGroup[]): Promise<Prometheus> {
  const home = await mkdtemp(path.join(os.tmpdir(), "stowhouse-prometheus-"));
  const [config, rules] = [path.join(home, "prometheus.yml"), path.join(home, "rules.yml")];
  await writeFile(rules, stringify({ groups }));
  await writeFile(config, stringify({
    global: { scrape_interval: "1s", scrape_timeout: "1s", evaluation_interval: "1s" },
    rule_files: [rules],
    scrape_configs: [{ job_name: "stowhouse", static_configs: targets.map(({ address, labels }) => ({ targets: [address], labels })) }],
  }));
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const server = await startServer("prometheus", [`--config.file=${config}`, `--storage.tsdb.path=${home}/data`, `--web.listen-address=127.0.0.1:${port}`], `${url}/-/ready`);
  // It answers 503 while it opens its database.
  for (const end = Date.now() + 60_000; !(await fetch(`${url}/-/ready`)).ok; await setTimeout(50)) if (Date.now() > end) throw new Error("Prometheus did not get ready");
  const ask = async <T>(what: string, parameters: Record<string, string>): Promise<T> => {
    const answer = await fetch(`${url}/api/v1/${what}?${new URLSearchParams(parameters).toString()}`, { signal: AbortSignal.timeout(10_000) });
    if (!answer.ok) throw new Error(`${JSON.stringify(parameters)}: ${answer.status} ${await answer.text()}`);
    return (await answer.json()) as T;
  };
  const series = ({ data }: Answer): Series[] => data.result.map(({ metric, value, values = [value!] }) => ({ metric, values: values.map(([, text]) => Number(text)) }));
  const instant = async (expr: string) => series(await ask<Answer>("query", { query: expr }));
  return {
    instant,
    range: async (expr) => {
      const now = Date.now() / 1000;
      return series(await ask<Answer>("query_range", { query: expr, start: String(now - WINDOW), end: String(now), step: "1" }));
    },
    brokenRules: async () => {
      const { data } = await ask<{ data: { groups: { rules: { name: string; health: string; lastError?: string }[] }[] } }>("rules", {});
      return data.groups.flatMap(({ rules: all }) => all).filter(({ health }) => health !== "ok").map(({ name, health, lastError }) => `${name}: ${health} ${lastError ?? ""}`);
    },
    scraped: async (times) => {
      const counts = await instant(`count_over_time(up[5m])`);
      return counts.length === targets.length && counts.every(({ values }) => values[0]! >= times);
    },
    stop: async () => {
      await server.stop();
      await rm(home, { recursive: true, force: true });
    },
  };
}

/** Runs promtool on a file of this content. Its output, or what it found wrong. */
export async function promtool(args: readonly string[], content: object): Promise<string> {
  const home = await mkdtemp(path.join(os.tmpdir(), "stowhouse-promtool-"));
  try {
    const file = path.join(home, "file.yml");
    await writeFile(file, stringify(content));
    return await run("promtool", [...args, file], { cwd: home, timeout: 60_000 }).then(({ stdout }) => stdout, (error: { stdout: string; stderr: string }) => `FAILED ${error.stdout}${error.stderr}`);
  } finally {
    await rm(home, { recursive: true, force: true });
  }
}
