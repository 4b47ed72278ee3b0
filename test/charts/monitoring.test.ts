import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout } from "node:timers/promises";
import type { Dashboard, Panel } from "@grafana/schema";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { serveHealth, type HealthServer } from "../../operator/health.ts";
import { Metrics } from "../../operator/metrics.ts";
import { alerts } from "../../operator/resources/monitoring/alerts.ts";
import { dashboard } from "../../operator/resources/monitoring/dashboard.ts";
import { operatorAlerts } from "../../operator/resources/monitoring/operator-alerts.ts";
import { operatorDashboard } from "../../operator/resources/monitoring/operator-dashboard.ts";
import { NixUpstream } from "../fixtures/nix-upstream.ts";
import { startStowhouse, type Stowhouse } from "../fixtures/stowhouse.ts";
import { config, round } from "./load.ts";
import { promtool, startPrometheus, type Prometheus } from "./prometheus.ts";

/** Of the servers, and of the operator: as a ServiceMonitor labels them. */
const SERVER = { namespace: "ci", service: "cache-metrics" };
const OPERATOR = { namespace: "system", service: "operator-metrics" };
const selector = (labels: typeof SERVER) => Object.entries(labels).map(([name, value]) => `${name}="${value}"`).join(",");
const GROUPS = [...alerts(selector(SERVER)), ...operatorAlerts(selector(OPERATOR))];

/** What a healthy server has no series of: all errors, and a read cache in front of S3. */
const QUIET = ["Errors", "Read cache"];
const FALLBACK = " or vector(0)";

let data: string;
let upstream: NixUpstream;
let server: Stowhouse;
let operator: HealthServer;
let prometheus: Prometheus;

beforeAll(async () => {
  data = mkdtempSync(path.join(tmpdir(), "stowhouse-monitoring-"));
  upstream = await new NixUpstream().start();
  server = await startStowhouse({ data: path.join(data, "data"), config: config(upstream.url) });
  let n = 0;
  for (; n < 5; n++) await round(server.url, n);
  const metrics = new Metrics("1.2.3");
  operator = await serveHealth({ host: "127.0.0.1", port: 0 }, { registry: metrics.registry, unhealthy: () => undefined, unready: () => undefined });
  metrics.announce(["cacheserver", "cachekey"], ["CacheServer", "Deployment"]);
  metrics.observe({ leading: () => true, depths: () => [["cacheserver", 1]], managed: () => [["CacheServer", "True", 2], ["CacheServer", "False", 1]] });
  prometheus = await startPrometheus([
    { address: server.url.slice("http://".length), labels: SERVER },
    { address: `127.0.0.1:${operator.port}`, labels: OPERATOR },
  ], GROUPS);
  for (const end = Date.now() + 60_000; Date.now() < end && !(await prometheus.scraped(10)); await setTimeout(100)) {
    await round(server.url, n++);
    metrics.reconciled("cacheserver", "success", 0.1);
    metrics.watchRestarted("Deployment");
    metrics.requested("PATCH", "Deployment", 200);
  }
});

afterAll(async () => {
  await prometheus?.stop();
  operator?.close();
  await server?.kill();
  await upstream?.stop();
  rmSync(data, { recursive: true, force: true });
});

/** The queries of a dashboard as Grafana would send them. */
function queries(board: Dashboard): { title: string; expr: string }[] {
  const panels = (board.panels ?? []).filter((panel) => panel.type !== "row") as Panel[];
  return panels.flatMap(({ title = "", targets = [] }) => targets.map(({ expr }) => ({
    title,
    expr: (expr as string).replaceAll(/\$(namespace|service)\b/g, ".*").replaceAll("$__rate_interval", "5s").replaceAll("$__range", "1m"),
  })));
}

describe.each([["servers", dashboard], ["the operator", operatorDashboard]] as const)("the dashboard of %s", (_, board) => {
  test.each(queries(board))("$title: $expr", async ({ title, expr }) => {
    const own = QUIET.includes(title) ? expr : expr.replaceAll(FALLBACK, "");
    const series = await prometheus.range(own);
    expect(series.length).toBeGreaterThan(0);
    expect(series.flatMap(({ values }) => values).some((value) => Number.isFinite(value))).toBe(true);
    // With its fallback it must be right as well.
    expect((await prometheus.range(expr)).length).toBeGreaterThan(0);
  });

  test("panels have a title, a description and a place of their own", () => {
    const panels = (board.panels ?? []) as Panel[];
    expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
    const fields = panels.flatMap(({ gridPos }) => Array.from({ length: gridPos!.w * gridPos!.h }, (_, i) => `${gridPos!.x + (i % gridPos!.w)},${gridPos!.y + Math.floor(i / gridPos!.w)}`));
    expect(new Set(fields).size).toBe(fields.length);
    for (const panel of panels.filter(({ type }) => type !== "row")) {
      expect(panel.title).not.toBe("");
      expect(panel.description, panel.title).toMatch(/\.$/);
      expect(panel.gridPos!.x + panel.gridPos!.w).toBeLessThanOrEqual(24);
    }
  });
});

test("the numbers of a dashboard are those of the load", async () => {
  const value = async (title: string) => (await prometheus.instant(queries(dashboard).find((query) => query.title === title)!.expr))[0]!.values[0]!;
  // Of the two keys that are looked up of the default cache, one is there; those of the small cache always are.
  expect(await value("Hit rate")).toBeGreaterThan(0.5);
  expect(await value("Hit rate")).toBeLessThan(1);
  expect(await value("Entries")).toBeGreaterThan(5);
  expect(await value("Servers up")).toBe(2);
});

describe("alerts", () => {
  test("promtool finds nothing wrong with them, nor with the dashboards' queries", async () => {
    expect(await promtool(["check", "rules", "--lint=all", "--lint-fatal"], { groups: GROUPS })).toContain(`SUCCESS: ${GROUPS.flatMap(({ rules }) => rules).length} rules found`);
    const panels = [...queries(dashboard), ...queries(operatorDashboard)].map(({ expr }, index) => ({ record: `panel_${index}`, expr }));
    expect(await promtool(["check", "rules"], { groups: [{ name: "panels", rules: panels }] })).toContain("SUCCESS");
  });

  test("Prometheus evaluates all of them", async () => {
    await expect.poll(() => prometheus.brokenRules(), { timeout: 30_000 }).toEqual([]);
  });

  test("every series they look at is there", async () => {
    const names = new Set(GROUPS.flatMap(({ rules }) => rules.flatMap(({ expr }) => expr.match(/\bstowhouse_[a-z_]+/g) ?? [])));
    expect(names.size).toBeGreaterThan(10);
    for (const name of names) expect(await prometheus.instant(`count(${name})`), name).toHaveLength(1);
  });

  const exprOf = (name: string) => GROUPS.flatMap(({ rules }) => rules).find(({ alert }) => alert === name)!.expr;

  test("a key that is refused again and again is named", async () => {
    // The load is short: a hundredth of the threshold.
    const series = await prometheus.instant(exprOf("StowhouseRefusedRequests").replace("> 100", "> 1"));
    expect(series.map(({ metric }) => metric["key"])).toContainEqual(expect.stringMatching(/^key:config-read-[0-9a-f]{8}$/));
  });

  test("uploads that are refused count as failed", async () => {
    expect((await prometheus.instant(exprOf("StowhouseUploadFailures").replace("> 10", "> 1")))[0]?.metric).toMatchObject({ ...SERVER, protocol: "nip" });
  });

  test("a healthy server raises none; one that is gone does", async () => {
    for (const name of ["StowhouseDown", "StowhouseDatabaseDown", "StowhouseErrors", "StowhouseStorageFailing", "StowhouseConfigurationRefused", "StowhouseOperatorDown", "StowhouseOperatorErrors"]) {
      expect(await prometheus.instant(exprOf(name)), name).toEqual([]);
    }
    await server.kill();
    await expect.poll(() => prometheus.instant(exprOf("StowhouseDown")), { timeout: 30_000 }).toHaveLength(1);
  });
});
