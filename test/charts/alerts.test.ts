import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { expect, test } from "vitest";
import { stringify } from "yaml";
import { alerts } from "../../operator/resources/monitoring/alerts.ts";
import { operatorAlerts } from "../../operator/resources/monitoring/operator-alerts.ts";
import { promtool } from "./prometheus.ts";

/** Each alert against hours that must raise it and hours that must not, by promtool's own evaluation. */

const GROUPS = [...alerts('service="s"'), ...operatorAlerts('service="s"')];

/** Series in promtool's notation, one value a minute: `0+60x120` rises by 60, 120 times. */
type Hours = Readonly<Record<string, string>>;

const CASES: Readonly<Record<string, { fires: Hours; quiet: Hours }>> = {
  StowhouseDown: { fires: { "up{}": "0x200" }, quiet: { 'up{instance="a"}': "0x200", 'up{instance="b"}': "1x200" } },
  StowhouseDatabaseDown: { fires: { "stowhouse_database_up{}": "0x200" }, quiet: { "stowhouse_database_up{}": "1x200" } },
  StowhouseErrors: {
    fires: { 'stowhouse_requests_total{protocol="nip",result="error"}': "0+5x200", 'stowhouse_requests_total{protocol="nip",result="hit"}': "0+100x200" },
    quiet: { 'stowhouse_requests_total{protocol="nip",result="error"}': "0+1x200", 'stowhouse_requests_total{protocol="nip",result="hit"}': "0+100x200" },
  },
  StowhouseUploadFailures: {
    fires: { 'stowhouse_upload_failures_total{protocol="nip",result="refused"}': "0+1x200" },
    // Clients that hang up are no fault of the server.
    quiet: { 'stowhouse_upload_failures_total{protocol="nip",result="aborted"}': "0+10x200" },
  },
  StowhouseStorageFailing: { fires: { 'stowhouse_storage_failing{storage="a"}': "1x200" }, quiet: { 'stowhouse_storage_failing{storage="a"}': "0 1 0x200" } },
  StowhouseDiskNearlyFull: {
    fires: { 'stowhouse_storage_free_bytes{storage="a"}': "2x200", 'stowhouse_storage_size_bytes{storage="a"}': "100x200" },
    // Eviction keeps 5 % free, so that much is usual.
    quiet: { 'stowhouse_storage_free_bytes{storage="a"}': "5x200", 'stowhouse_storage_size_bytes{storage="a"}': "100x200" },
  },
  StowhouseRefusedRequests: {
    fires: { 'stowhouse_refused_requests_total{key="key:1",result="denied"}': "0+20x200" },
    quiet: { 'stowhouse_refused_requests_total{key="key:1",result="denied"}': "0+2x200" },
  },
  StowhouseLowHitRate: {
    fires: { 'stowhouse_lookups_total{cache="c",result="hit"}': "0+1x200", 'stowhouse_lookups_total{cache="c",result="miss"}': "0+9x200" },
    // Too few to tell.
    quiet: { 'stowhouse_lookups_total{cache="c",result="hit"}': "0x200", 'stowhouse_lookups_total{cache="c",result="miss"}': "0+1x200" },
  },
  StowhouseUpstreamOpen: {
    fires: { 'stowhouse_upstream_open{cache="c",upstream="u"}': "1x200" },
    // A pause of half a minute after some failures is usual.
    quiet: { 'stowhouse_upstream_open{cache="c",upstream="u"}': "0 1 0x200" },
  },
  StowhouseConfigurationRefused: { fires: { "stowhouse_config_last_reload_successful{}": "0x200" }, quiet: { "stowhouse_config_last_reload_successful{}": "1x200" } },
  StowhouseOperatorDown: { fires: { "stowhouse_operator_leader{}": "0x200" }, quiet: { 'stowhouse_operator_leader{pod="a"}': "0x200", 'stowhouse_operator_leader{pod="b"}': "1x200" } },
  StowhouseOperatorErrors: {
    fires: { 'stowhouse_operator_reconcile_total{controller="cacheserver",result="error"}': "0+1x200" },
    quiet: { 'stowhouse_operator_reconcile_total{controller="cacheserver",result="error"}': "0 1x200" },
  },
  StowhouseResourceNotReady: { fires: { 'stowhouse_operator_managed{kind="CacheServer",ready="False"}': "1x200" }, quiet: { 'stowhouse_operator_managed{kind="CacheServer",ready="False"}': "1x20 0x200" } },
  StowhouseOperatorQueueStuck: { fires: { 'stowhouse_operator_queue_depth{controller="cacheserver"}': "60x200" }, quiet: { 'stowhouse_operator_queue_depth{controller="cacheserver"}': "5x200" } },
};

test("every alert has both", () => {
  expect(Object.keys(CASES).sort()).toEqual(GROUPS.flatMap(({ rules }) => rules.map(({ alert }) => alert)).sort());
});

test("each fires in its hours, and not in the others", async () => {
  const home = await mkdtemp(path.join(tmpdir(), "stowhouse-alerts-"));
  const rules = path.join(home, "rules.yml");
  await writeFile(rules, stringify({ groups: GROUPS }));
  const hours = (alert: string, series: Hours, firing: number) => ({
    interval: "1m",
    input_series: Object.entries(series).map(([name, values]) => ({ series: name.replace("{", '{namespace="n",service="s",'), values })),
    promql_expr_test: [{ expr: `count(ALERTS{alertname="${alert}",alertstate="firing"}) or vector(0)`, eval_time: "3h", exp_samples: [{ labels: "{}", value: firing }] }],
  });
  const tests = Object.entries(CASES).flatMap(([alert, { fires, quiet }]) => [hours(alert, fires, 1), hours(alert, quiet, 0)]);
  expect(await promtool(["test", "rules"], { rule_files: [rules], evaluation_interval: "5m", tests })).toContain("SUCCESS");
  await rm(home, { recursive: true });
});

test("each says what it is and what to do", () => {
  for (const { alert, annotations } of GROUPS.flatMap(({ rules }) => rules)) {
    expect(annotations.summary, alert).toMatch(/\.$/);
    expect(annotations.description.length, alert).toBeGreaterThan(80);
  }
});
