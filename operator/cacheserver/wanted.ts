import { canonical } from "../json.ts";
import type { KubeObject } from "../object.ts";
import { desired, InvalidSpec, unavailable } from "../resources/desired.ts";
import type { Inputs } from "../resources/inputs.ts";
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
  /** Kinds of monitoring objects that the spec asks for: those that are applied, and those whose API is absent. */
  readonly monitoring: { readonly wanted: readonly string[]; readonly absent: readonly string[] };
  readonly problems: readonly Problem[];
}

/** What was wanted last, and of what. */
export interface Considered {
  basis?: string;
  wanted?: Wanted;
}

/** The same as at the last look as long as nothing it depends on has changed: making it anew costs more than all else. */
export function considered(server: CacheServer, inputs: Inputs, last: Considered): Wanted {
  const { uid, generation, labels, annotations } = server.metadata;
  const basis = canonical([uid, generation, labels, annotations, { ...inputs, secrets: [...inputs.secrets] }]);
  if (last.wanted === undefined || last.basis !== basis) Object.assign(last, { basis, wanted: wantedBy(server, inputs) });
  return last.wanted!;
}

/** The objects a server is to have, and what it can't have in this cluster. */
function wantedBy(server: CacheServer, inputs: Inputs): Wanted {
  try {
    const objects = desired(server, inputs);
    const absent = [...new Set(unavailable(server, inputs))];
    const isMonitoring = (kind: string) => MONITORING.includes(kind);
    return {
      objects,
      monitoring: { wanted: [...new Set(objects.map(({ kind }) => kind).filter(isMonitoring))], absent: absent.filter(isMonitoring) },
      problems: absent
        .filter((kind) => !isMonitoring(kind))
        .map((kind) => ({ reason: "APIMissing", message: `${kind} skipped: this cluster has no such API. Install ${HELP[kind] ?? "it"}.` })),
    };
  } catch (error) {
    if (!(error instanceof InvalidSpec)) throw error;
    return { objects: undefined, monitoring: { wanted: [], absent: [] }, problems: [{ reason: "InvalidConfig", message: error.message }] };
  }
}
