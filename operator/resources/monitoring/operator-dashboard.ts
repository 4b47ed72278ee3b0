import type { Dashboard } from "@grafana/schema";
import { board, labelVariable, lines, stat } from "./panels.ts";

/** Grafana's dashboard of the operator itself. */

const S = 'namespace=~"$namespace"';
const rate = (metric: string) => `rate(${metric}{${S}}[$__rate_interval])`;

export const operatorDashboard: Dashboard = board({
  uid: "stowhouse-operator",
  title: "Stowhouse operator",
  about: "Whether the operator keeps up with its resources.",
  variables: [labelVariable("namespace", "Namespace", "stowhouse_operator_leader")],
  rows: [
    {
      title: "Operator",
      panels: [
        stat({ title: "Leaders", about: "One, always; none for seconds while one hands over.", unit: "short", width: 6, queries: [{ expr: `sum(stowhouse_operator_leader{${S}})`, legend: "" }] }),
        stat({ title: "Resources", about: "CacheServers and CacheKeys it looks after.", unit: "short", width: 6, queries: [{ expr: `sum(max by (kind, ready) (stowhouse_operator_managed{${S}}))`, legend: "" }] }),
        stat({ title: "Waiting", about: "Resources that wait for a reconcile.", unit: "short", width: 6, queries: [{ expr: `sum(stowhouse_operator_queue_depth{${S}})`, legend: "" }] }),
        stat({ title: "Operators up", about: "Replicas that Prometheus reaches.", unit: "short", width: 6, queries: [{ expr: `count(stowhouse_operator_leader{${S}})`, legend: "" }] }),
        lines({ title: "Reconciles", about: "By result. Errors are tried again, from after 1 s to after 5 min.", unit: "ops", min: 0, width: 12, queries: [{ expr: `sum by (controller, result) (${rate("stowhouse_operator_reconcile_total")})`, legend: "{{controller}} {{result}}" }] }),
        lines({ title: "Duration", about: "95 of 100 reconciles are as fast.", unit: "s", min: 0, width: 12, queries: [{ expr: `histogram_quantile(0.95, sum by (controller, le) (${rate("stowhouse_operator_reconcile_duration_seconds_bucket")}))`, legend: "{{controller}}" }] }),
        lines({ title: "Resources by readiness", about: "By the status of their condition Ready; its reason says more, as do Degraded and Refused.", unit: "short", min: 0, width: 12, queries: [{ expr: `max by (kind, ready) (stowhouse_operator_managed{${S}})`, legend: "{{kind}} {{ready}}" }] }),
        lines({ title: "Watch restarts", about: "Watches that had to begin again. A few an hour are usual; many mean an API server that cuts connections.", unit: "ops", min: 0, width: 12, queries: [{ expr: `sum by (kind) (${rate("stowhouse_operator_watch_restarts_total")})`, legend: "{{kind}}" }] }),
        lines({ title: "Requests to the API server", about: "By verb. An operator that has nothing to do renews its lease and little else: many patches without changes mean somebody fights it.", unit: "reqps", min: 0, width: 12, queries: [{ expr: `sum by (verb) (${rate("stowhouse_operator_api_requests_total")})`, legend: "{{verb}}" }] }),
        lines({ title: "Memory", about: "Resident memory of each replica.", unit: "bytes", min: 0, width: 12, queries: [{ expr: `stowhouse_operator_process_resident_memory_bytes{${S}}`, legend: "{{instance}}" }] }),
      ],
    },
  ],
});
