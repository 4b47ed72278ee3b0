import type { Inputs } from "../resources/inputs.ts";

const ALL = { serviceMonitor: true, prometheusRule: true, httpRoute: true, certificate: true };

/** A world in which everything is there. */
export function someInputs(changes: Partial<Inputs> = {}): Inputs {
  const secrets = new Map([
    ["cache-keys", { keys: ["admin-key", "read-key", "signing-secret", "write-key"], hash: "k1" }],
    ["database", { keys: ["url"], hash: "d1" }],
    ["bucket", { keys: ["accessKeyId", "secretAccessKey"], hash: "b1" }],
  ]);
  return { secrets, capabilities: ALL, defaultImage: "ghcr.io/stowhouse/stowhouse:0.1.0", version: "0.1.0", clusterDomain: "cluster.local", ...changes };
}
