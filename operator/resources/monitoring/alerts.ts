/** Alerts about servers, as groups of a PrometheusRule. */

export interface Alert {
  readonly alert: string;
  readonly expr: string;
  /** How long it must hold. */
  readonly for: string;
  readonly labels: { readonly severity: "critical" | "warning" | "info" };
  readonly annotations: { readonly summary: string; readonly description: string };
}

export interface AlertGroup {
  readonly name: string;
  readonly rules: readonly Alert[];
}

/** @param selector label matchers of one server's series, like `namespace="ci",service="cache-metrics"` */
export function alerts(selector: string): AlertGroup[] {
  const increase = (metric: string, more: string, range: string) => `increase(${metric}{${selector}${more}}[${range}])`;
  const sum = (by: string, metric: string, more: string, range: string) => `sum by (${by}) (${increase(metric, more, range)})`;
  const instance = "namespace, service";
  const rules: Alert[] = [
    {
      alert: "StowhouseDown",
      expr: `sum by (${instance}) (up{${selector}}) == 0 or absent(up{${selector}})`,
      for: "5m",
      labels: { severity: "critical" },
      annotations: {
        summary: "No Stowhouse server of {{ $labels.service }} answers.",
        description: "Builds go on without a cache. Look at `kubectl -n {{ $labels.namespace }} get pods,events` and the last lines of the pods; a wrong configuration and a full volume stop a start, and say so there.",
      },
    },
    {
      alert: "StowhouseDatabaseDown",
      expr: `min by (${instance}) (stowhouse_database_up{${selector}}) == 0`,
      for: "2m",
      labels: { severity: "critical" },
      annotations: {
        summary: "{{ $labels.service }} can't reach its database.",
        description: "The servers are not ready until it answers. Check PostgreSQL, its credentials and the network; with SQLite, the volume.",
      },
    },
    {
      alert: "StowhouseErrors",
      expr: `${sum(`${instance}, protocol`, "stowhouse_requests_total", ',result="error"', "10m")} / ${sum(`${instance}, protocol`, "stowhouse_requests_total", "", "10m")} > 0.02`,
      for: "10m",
      labels: { severity: "warning" },
      annotations: {
        summary: "{{ $labels.service }} fails {{ $value | humanizePercentage }} of {{ $labels.protocol }} requests.",
        description: "Clients see misses. The log has a line of level error for each, with the cause: storage or database, nearly always.",
      },
    },
    {
      alert: "StowhouseUploadFailures",
      expr: `${sum(`${instance}, protocol`, "stowhouse_upload_failures_total", ',result=~"error|refused"', "15m")} > 10`,
      for: "5m",
      labels: { severity: "warning" },
      annotations: {
        summary: "{{ $labels.service }} did not store {{ $value | humanize }} uploads of {{ $labels.protocol }} in 15 minutes.",
        description: "Result refused: a quota, an entry larger than allowed or a rate limit; `stowhouse stats` shows the quotas. Result error: the storage, see the log.",
      },
    },
    {
      alert: "StowhouseStorageFailing",
      expr: `max by (${instance}, storage) (stowhouse_storage_failing{${selector}}) == 1`,
      for: "5m",
      labels: { severity: "warning" },
      annotations: {
        summary: "Storage {{ $labels.storage }} of {{ $labels.service }} fails.",
        description: "New blobs go to the other storages, if there are any; what lies on this one is a miss. Check the bucket or the disk, its credentials and the network.",
      },
    },
    {
      alert: "StowhouseDiskNearlyFull",
      expr: `min by (${instance}, storage) (stowhouse_storage_free_bytes{${selector}} / stowhouse_storage_size_bytes{${selector}}) < 0.03`,
      for: "15m",
      labels: { severity: "warning" },
      annotations: {
        summary: "Storage {{ $labels.storage }} of {{ $labels.service }} has {{ $value | humanizePercentage }} left.",
        description: "Eviction keeps eviction.minFree (5 %) of each disk free, so something else fills it, or it can't keep up. Grow the volume, or lower the quotas.",
      },
    },
    {
      alert: "StowhouseRefusedRequests",
      expr: `${sum(`${instance}, key, result`, "stowhouse_refused_requests_total", "", "15m")} > 100`,
      for: "10m",
      labels: { severity: "warning" },
      annotations: {
        summary: "{{ $labels.service }} refused {{ $value | humanize }} requests of {{ $labels.key }} in 15 minutes ({{ $labels.result }}).",
        description: "denied: a key that expired, was revoked or has no right to what it asks; its builds run without a cache. refused: over a limit or a quota. `stowhouse key list` names the key, `stowhouse audit` what it asked for.",
      },
    },
    {
      alert: "StowhouseLowHitRate",
      expr: `${sum(`${instance}, cache`, "stowhouse_lookups_total", ',result="hit"', "6h")} / (${sum(`${instance}, cache`, "stowhouse_lookups_total", "", "6h")} > 500) < 0.2`,
      for: "1h",
      labels: { severity: "info" },
      annotations: {
        summary: "Only {{ $value | humanizePercentage }} of the look-ups in cache {{ $labels.cache }} of {{ $labels.service }} hit.",
        description: "Keys that change with every build never hit; entries evicted young need a larger quota (the dashboard's Evictions and Mean age); pull requests need a base branch that saves.",
      },
    },
    {
      alert: "StowhouseUpstreamOpen",
      expr: `max by (${instance}, cache, upstream) (stowhouse_upstream_open{${selector}}) == 1`,
      for: "10m",
      labels: { severity: "warning" },
      annotations: {
        summary: "{{ $labels.service }} leaves upstream {{ $labels.upstream }} of cache {{ $labels.cache }} alone.",
        description: "It failed again and again. What is kept is served, the rest is 503 unless another upstream has it. Check its URL, its credentials and the network; GET /v1/admin/nix/upstreams says what it answered last.",
      },
    },
    {
      alert: "StowhouseConfigurationRefused",
      expr: `min by (${instance}) (stowhouse_config_last_reload_successful{${selector}}) == 0`,
      for: "5m",
      labels: { severity: "warning" },
      annotations: {
        summary: "{{ $labels.service }} runs with an older configuration than its file has.",
        description: "What was written last is wrong; the log names every wrong field. The next restart would fail.",
      },
    },
  ];
  return [{ name: "stowhouse", rules }];
}
