import type { Dashboard, Panel, RowPanel, VariableModel } from "@grafana/schema";

/** Builders of Grafana's dashboards: the few kinds of panels ours have. */

/** A query and what its series are called. */
export interface Query {
  readonly expr: string;
  readonly legend: string;
}

interface Described {
  readonly title: string;
  /** What it shows and what to do about it. */
  readonly about: string;
  readonly unit: string;
  readonly queries: readonly Query[];
  readonly min?: number;
  readonly max?: number;
  /** Columns of 24. */
  readonly width: number;
}

const DATASOURCE = { type: "prometheus", uid: "${datasource}" };
const HEIGHT = 8;
const STAT_HEIGHT = 4;

type Unplaced = Omit<Panel, "gridPos" | "id"> & { readonly gridPos: { readonly w: number; readonly h: number } };

function panel(type: "timeseries" | "stat" | "bargauge", described: Described, custom: object, options: Record<string, unknown>): Unplaced {
  const { title, about, unit, queries, min, max, width } = described;
  return {
    type, title, description: about, datasource: DATASOURCE,
    gridPos: { w: width, h: type === "stat" ? STAT_HEIGHT : HEIGHT },
    targets: queries.map(({ expr, legend }, index) => ({
      datasource: DATASOURCE, refId: String.fromCharCode(65 + index), expr, legendFormat: legend,
      ...(type === "timeseries" ? { range: true } : { instant: true, range: false }),
    })),
    fieldConfig: { defaults: { unit, ...(min === undefined ? {} : { min }), ...(max === undefined ? {} : { max }), custom: { ...custom } }, overrides: [] },
    options,
  };
}

/** Lines over time. */
export function lines(described: Described): Unplaced {
  return panel("timeseries", described, { fillOpacity: 10, showPoints: "never" }, { legend: { displayMode: "list", placement: "bottom", showLegend: true }, tooltip: { mode: "multi", sort: "desc" } });
}

/** Areas on top of each other, over time. */
export function areas(described: Described): Unplaced {
  return panel("timeseries", described, { fillOpacity: 30, showPoints: "never", stacking: { mode: "normal", group: "A" } }, { legend: { displayMode: "list", placement: "bottom", showLegend: true }, tooltip: { mode: "multi", sort: "desc" } });
}

/** A number as it is now. */
export function stat(described: Described): Unplaced {
  return panel("stat", described, {}, { colorMode: "none", graphMode: "none", reduceOptions: { calcs: ["lastNotNull"], fields: "", values: false } });
}

/** Bars as they are now. */
export function bars(described: Described): Unplaced {
  return panel("bargauge", described, {}, { displayMode: "basic", orientation: "horizontal", reduceOptions: { calcs: ["lastNotNull"], fields: "", values: false } });
}

/** Panels under a headline, from left to right in lines of 24 columns. */
export interface Row {
  readonly title: string;
  readonly panels: readonly Unplaced[];
}

/** A variable whose values are those of a label. */
export function labelVariable(name: string, label: string, metric: string): VariableModel {
  return {
    type: "query", name, label, datasource: DATASOURCE,
    query: { query: `label_values(${metric}, ${name})`, refId: "variable" },
    refresh: 2, sort: 1, multi: true, includeAll: true, allValue: ".*", current: { selected: true, text: ["All"], value: ["$__all"] },
  };
}

/** A whole dashboard. @param uid stays the same over releases, so that links do */
export function board(parts: { uid: string; title: string; about: string; variables: readonly VariableModel[]; rows: readonly Row[] }): Dashboard {
  const panels: (Panel | RowPanel)[] = [];
  let y = 0;
  let id = 1;
  for (const row of parts.rows) {
    panels.push({ type: "row", title: row.title, id: id++, collapsed: false, gridPos: { x: 0, y: y++, w: 24, h: 1 }, panels: [] });
    let x = 0;
    let height = 0;
    for (const unplaced of row.panels) {
      const { w, h } = unplaced.gridPos;
      if (x + w > 24) {
        y += height;
        x = height = 0;
      }
      panels.push({ ...unplaced, id: id++, gridPos: { x, y, w, h } });
      x += w;
      height = Math.max(height, h);
    }
    y += height;
  }
  return {
    uid: parts.uid, title: parts.title, description: parts.about, tags: ["stowhouse"], editable: true, schemaVersion: 39, graphTooltip: 1, refresh: "30s",
    time: { from: "now-6h", to: "now" },
    templating: { list: [{ type: "datasource", name: "datasource", label: "Data source", query: "prometheus" }, ...parts.variables] },
    panels,
  } satisfies Dashboard;
}
