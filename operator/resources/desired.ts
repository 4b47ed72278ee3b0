import type { CacheServer } from "../cacheserver/schema.ts";
import type { Capabilities } from "../context.ts";
import type { KubeObject } from "../object.ts";
import { certificate } from "./certificate.ts";
import { configMap, configurationProblems } from "./config.ts";
import { dashboardConfigMap } from "./dashboard.ts";
import { deployment } from "./deployment.ts";
import { horizontalPodAutoscaler } from "./hpa.ts";
import { httpRoute } from "./httproute.ts";
import { ingress } from "./ingress.ts";
import type { Inputs } from "./inputs.ts";
import { networkPolicy } from "./networkpolicy.ts";
import { podDisruptionBudget } from "./pdb.ts";
import { prometheusRule } from "./prometheusrule.ts";
import { metricsService, service } from "./service.ts";
import { serviceAccount } from "./serviceaccount.ts";
import { serviceMonitor } from "./servicemonitor.ts";
import { volumeClaim } from "./volume.ts";

type Builder = (server: CacheServer, inputs: Inputs) => KubeObject | undefined;

/** What pods need comes before them. */
const BUILDERS: readonly Builder[] = [
  serviceAccount, configMap, volumeClaim, certificate, networkPolicy, service, metricsService, deployment,
  podDisruptionBudget, horizontalPodAutoscaler, ingress, httpRoute, serviceMonitor, prometheusRule, dashboardConfigMap,
];

const CAPABILITY: Readonly<Record<string, keyof Capabilities>> = {
  Certificate: "certificate",
  HTTPRoute: "httpRoute",
  ServiceMonitor: "serviceMonitor",
  PrometheusRule: "prometheusRule",
};

/** A spec that the CRD's schema lets pass, but a server would refuse. The message names its fields. */
export class InvalidSpec extends Error {
  override readonly name = "InvalidSpec";
}

/**
 * Every object a CacheServer stands for, in the order in which they are applied. Pure: the same resource and inputs make the
 * same objects. @throws InvalidSpec
 */
export function desired(server: CacheServer, inputs: Inputs): KubeObject[] {
  const problems = configurationProblems(server, inputs);
  if (problems.length > 0) throw new InvalidSpec(problems.join("; "));
  return wanted(server, inputs).filter((object) => isPossible(object, inputs));
}

/** Kinds the resource asks for whose API this cluster lacks: left out of what is desired. */
export function unavailable(server: CacheServer, inputs: Inputs): string[] {
  return wanted(server, inputs).filter((object) => !isPossible(object, inputs)).map(({ kind }) => kind);
}

function wanted(server: CacheServer, inputs: Inputs): KubeObject[] {
  return BUILDERS.map((build) => build(server, inputs)).filter((object) => object !== undefined);
}

function isPossible({ kind }: KubeObject, { capabilities }: Inputs): boolean {
  const needed = CAPABILITY[kind];
  return needed === undefined || capabilities[needed];
}
