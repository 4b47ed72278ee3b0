import type { AlertGroup } from "./alerts.ts";

/** Alerts about the operator itself. @param selector label matchers of its series */
export function operatorAlerts(selector: string): AlertGroup[] {
  return [{
    name: "stowhouse-operator",
    rules: [
      {
        alert: "StowhouseOperatorDown",
        expr: `absent(stowhouse_operator_leader{${selector}} == 1)`,
        for: "5m",
        labels: { severity: "warning" },
        annotations: {
          summary: "No Stowhouse operator leads.",
          description: "Servers go on as they are, but changes of CacheServers and CacheKeys wait, and keys that are due are not rotated. Look at the operator's pods and their logs, and at its Lease.",
        },
      },
      {
        alert: "StowhouseOperatorErrors",
        expr: `sum by (namespace, controller) (increase(stowhouse_operator_reconcile_total{${selector},result="error"}[15m])) > 5`,
        for: "15m",
        labels: { severity: "warning" },
        annotations: {
          summary: "The operator fails to reconcile {{ $labels.controller }} resources again and again.",
          description: "`kubectl get csrv,cachekeys -A` shows which; their conditions and events say why. A right it lacks (403) and another field manager are the usual reasons.",
        },
      },
      {
        alert: "StowhouseResourceNotReady",
        expr: `max by (namespace, kind) (stowhouse_operator_managed{${selector},ready="False"}) > 0`,
        for: "30m",
        labels: { severity: "warning" },
        annotations: {
          summary: "{{ $value }} {{ $labels.kind }} not ready for half an hour.",
          description: "`kubectl get csrv,cachekeys -A` shows which; the reason of Ready says what to do, and the operator's README has a table of all reasons. A CacheServer scaled to zero counts too.",
        },
      },
      {
        alert: "StowhouseOperatorQueueStuck",
        expr: `sum by (namespace) (stowhouse_operator_queue_depth{${selector}}) > 50`,
        for: "15m",
        labels: { severity: "warning" },
        annotations: {
          summary: "{{ $value }} resources wait for the operator.",
          description: "It can't keep up, or the API server is slow to answer it. Look at the duration of its reconciles and at its log.",
        },
      },
    ],
  }];
}
