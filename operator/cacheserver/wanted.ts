import type { KubeObject } from "../object.ts";
import { desired } from "../resources/desired.ts";
import type { Inputs } from "../resources/inputs.ts";
import { nameOf } from "./child.ts";
import type { Problem } from "./problem.ts";
import type { CacheServer } from "./schema.ts";

const MONITORING = ["ServiceMonitor", "PrometheusRule"];
const HELP: Readonly<Record<string, string>> = {
  HTTPRoute: "the Gateway API (gateway.networking.k8s.io/v1), or use spec.ingress",
  Certificate: "cert-manager (cert-manager.io/v1), or name a Secret in spec.tls.secretName",
};

export interface Wanted {
  /** Undefined where the spec can't be turned into objects: then nothing is touched. */
  readonly objects: readonly KubeObject[] | undefined;
  /** Kinds of monitoring objects that the spec asks for, and of them those whose API is absent. */
  readonly monitoring: { readonly wanted: readonly string[]; readonly absent: readonly string[] };
  readonly problems: readonly Problem[];
}

/** The objects a server is to have, and what it can't have in this cluster: what would be wanted in one that has every API. */
export function wantedBy(server: CacheServer, inputs: Inputs): Wanted {
  try {
    const objects = desired(server, inputs);
    const all = desired(server, { ...inputs, capabilities: { serviceMonitor: true, prometheusRule: true, httpRoute: true, certificate: true } });
    const names = new Set(objects.map(nameOf));
    const absent = kindsOf(all.filter((object) => !names.has(nameOf(object))));
    return {
      objects,
      monitoring: { wanted: kindsOf(all).filter((kind) => MONITORING.includes(kind)), absent: absent.filter((kind) => MONITORING.includes(kind)) },
      problems: absent
        .filter((kind) => !MONITORING.includes(kind))
        .map((kind) => ({ reason: "APIMissing", message: `${kind} skipped: this cluster has no such API. Install ${HELP[kind] ?? "it"}.` })),
    };
  } catch (error) {
    return { objects: undefined, monitoring: { wanted: [], absent: [] }, problems: [{ reason: "InvalidConfig", message: (error as Error).message }] };
  }
}

function kindsOf(objects: readonly KubeObject[]): string[] {
  return [...new Set(objects.map(({ kind }) => kind))];
}
