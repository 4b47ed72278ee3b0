import { expect, test } from "vitest";
import { cacheServer } from "../testing/stored.ts";
import { someInputs } from "../testing/inputs.ts";
import { dashboardConfigMap } from "./dashboard.ts";
import { prometheusRule } from "./prometheusrule.ts";
import { metricsService } from "./service.ts";
import { serviceMonitor } from "./servicemonitor.ts";

const server = cacheServer({
  monitoring: { serviceMonitor: { enabled: true, interval: "15s", labels: { release: "prometheus" } }, prometheusRule: { enabled: true, labels: { release: "prometheus" } }, dashboard: { enabled: true, labels: { folder: "ci" } } },
});

test("a ServiceMonitor finds the metrics Service by its labels and scrapes its one port", () => {
  const monitor = serviceMonitor(server, someInputs()) as unknown as { metadata: { labels: object }; spec: { selector: { matchLabels: object }; endpoints: [{ port: string; interval: string }] } };
  const service = metricsService(server, someInputs()) as unknown as { metadata: { labels: object }; spec: { ports: { name: string }[] } };
  expect(service.metadata.labels).toMatchObject(monitor.spec.selector.matchLabels);
  expect(service.spec.ports.map(({ name }) => name)).toEqual(monitor.spec.endpoints.map(({ port }) => port));
  expect(monitor.spec.endpoints[0].interval).toBe("15s");
  expect(monitor.metadata.labels).toMatchObject({ release: "prometheus" });
});

test("alerts are about the series of this server alone", () => {
  const { groups } = prometheusRule(server, someInputs())!["spec"] as { groups: { rules: { alert: string; expr: string }[] }[] };
  const rules = groups.flatMap((group) => group.rules);
  expect(rules.length).toBeGreaterThan(5);
  expect(rules.filter(({ expr }) => !expr.includes('namespace="ci",service="cache-metrics"'))).toEqual([]);
});

test("Grafana's sidecar finds the dashboard", () => {
  const { metadata, data } = dashboardConfigMap(server, someInputs()) as unknown as { metadata: { name: string; labels: object }; data: Record<string, string> };
  expect(metadata).toMatchObject({ name: "cache-dashboard", labels: { grafana_dashboard: "1", folder: "ci" } });
  expect(JSON.parse(data["stowhouse.json"]!)).toMatchObject({ panels: expect.any(Array) });
});

test("nothing of it is made unless the resource says so", () => {
  expect([serviceMonitor, prometheusRule, dashboardConfigMap].map((build) => build(cacheServer(), someInputs()))).toEqual([undefined, undefined, undefined]);
});
