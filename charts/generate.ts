import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import type { TSchema } from "typebox";
import { stringify } from "yaml";
import { documents } from "../crds/write.ts";
import { alerts } from "../operator/resources/monitoring/alerts.ts";
import { dashboard } from "../operator/resources/monitoring/dashboard.ts";
import { operatorAlerts } from "../operator/resources/monitoring/operator-alerts.ts";
import { operatorDashboard } from "../operator/resources/monitoring/operator-dashboard.ts";
import { protocolOptions } from "../server/app.ts";
import { RELOADABLE } from "../server/config/reloadable.ts";
import { chartConfig } from "./config.ts";
import { valuesSchema, valuesTable, valuesYaml } from "./document.ts";
import { operatorValues } from "./operator.ts";
import { serverValues } from "./server.ts";

/** Every generated file of both charts: `npm run generate` writes them, a test compares them. */

export const HERE = import.meta.dirname;

/** Stands in the charts' alerts for a release's label matchers. */
const SELECTOR = "SELECTOR";

/** Files and what they should say, by their path in charts/. */
export function generated(): Map<string, string> {
  const files = new Map([...values("stowhouse", serverValues(chartConfig(protocolOptions()))), ...values("stowhouse-operator", operatorValues)]);
  const monitoring = [["stowhouse", dashboard, alerts(SELECTOR)], ["stowhouse-operator", operatorDashboard, operatorAlerts(SELECTOR)]] as const;
  for (const [chart, board, groups] of monitoring) {
    files.set(`${chart}/files/dashboard.json`, json(board));
    files.set(`${chart}/files/alerts.yaml`, stringify({ groups }, { lineWidth: 0 }));
  }
  // The operator's chart brings the servers' dashboard too: it is one for all of them.
  files.set("stowhouse-operator/files/servers.json", json(dashboard));
  files.set("stowhouse/files/reloadable.txt", RELOADABLE.join("\n"));
  for (const [name, text] of Object.entries(documents())) files.set(`stowhouse-operator/files/crds/${name}`, text);
  return files;
}

function values(chart: string, schema: TSchema): [string, string][] {
  return [
    [`${chart}/values.yaml`, valuesYaml(schema, "Made by `npm run generate` from charts/*.ts; the README has all of it as a table.")],
    [`${chart}/values.schema.json`, json(valuesSchema(schema))],
    [`${chart}/README.md`, withTable(chart, valuesTable(schema))],
  ];
}

/** A chart's README, with the table in its place. */
function withTable(chart: string, table: string): string {
  const text = readFileSync(path.join(HERE, chart, "README.md"), "utf8");
  const [begin, end] = ["<!-- values -->\n", "\n<!-- /values -->"];
  const [from, to] = [text.indexOf(begin), text.indexOf(end)];
  if (from < 0 || to < from) throw new Error(`${chart}/README.md has no place for the table of values`);
  return text.slice(0, from + begin.length) + table + text.slice(to);
}

const json = (value: object) => `${JSON.stringify(value, null, 2)}\n`;

if (import.meta.main) for (const [file, text] of generated()) writeFileSync(path.join(HERE, file), text);
