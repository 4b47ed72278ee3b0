import type { CacheServer } from "../cacheserver/schema.ts";
import { GROUP, type KubeObject } from "../object.ts";
import { restartHash } from "./config.ts";
import { container, gracePeriod } from "./container.ts";
import { filesVolume } from "./files.ts";
import type { Inputs } from "./inputs.ts";
import { merge } from "./merge.ts";
import { metadata, podLabels, selectorLabels } from "./metadata.ts";
import { serviceAccountName } from "./serviceaccount.ts";
import { claimName, isShared } from "./volume.ts";

/** On pods: changes with all that needs a restart, and so makes the Deployment replace them. */
const RESTART_HASH = `${GROUP}/restart-hash`;

/** User and group of the server in its image. */
const USER = 10001;

/**
 * The pods. The number of replicas is always ours to say: autoscalers set it on the CacheServer, so that there is one place
 * where it stands and removing an autoscaler doesn't reset it.
 */
export function deployment(server: CacheServer, inputs: Inputs): KubeObject {
  const { replicas } = server.spec;
  return {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: metadata(server, inputs),
    spec: {
      replicas,
      revisionHistoryLimit: 3,
      progressDeadlineSeconds: 600,
      strategy: isShared(server) ? { type: "RollingUpdate", rollingUpdate: { maxUnavailable: 0, maxSurge: 1 } } : { type: "Recreate" },
      selector: { matchLabels: selectorLabels(server) },
      template: podTemplate(server, inputs),
    },
  };
}

function podTemplate(server: CacheServer, inputs: Inputs): object {
  const { podTemplate: patch } = server.spec;
  return {
    metadata: {
      labels: { ...patch?.metadata?.labels, ...podLabels(server) },
      annotations: { ...patch?.metadata?.annotations, [RESTART_HASH]: restartHash(server, inputs) },
    },
    spec: merge(podSpec(server, inputs), patch?.spec ?? {}),
  };
}

function podSpec(server: CacheServer, inputs: Inputs): object {
  const { imagePullSecrets } = server.spec;
  const claim = claimName(server);
  return {
    serviceAccountName: serviceAccountName(server),
    automountServiceAccountToken: false,
    // A Service named stowhouse would set variables that look like ours.
    enableServiceLinks: false,
    terminationGracePeriodSeconds: gracePeriod(server),
    securityContext: {
      runAsNonRoot: true,
      runAsUser: USER,
      runAsGroup: USER,
      fsGroup: USER,
      // Without it, each start of a pod would walk through the whole volume.
      fsGroupChangePolicy: "OnRootMismatch",
      seccompProfile: { type: "RuntimeDefault" },
    },
    ...(imagePullSecrets.length === 0 ? {} : { imagePullSecrets }),
    topologySpreadConstraints: spread(server),
    containers: [container(server, inputs)],
    volumes: [
      filesVolume(server, inputs),
      claim === undefined ? { name: "data", emptyDir: {} } : { name: "data", persistentVolumeClaim: { claimName: claim } },
      { name: "tmp", emptyDir: {} },
    ],
  };
}

function spread(server: CacheServer): object[] {
  const wanted = server.spec.topologySpreadConstraints ?? [{ maxSkew: 1, topologyKey: "kubernetes.io/hostname", whenUnsatisfiable: "ScheduleAnyway" }];
  return wanted.map((constraint) => ({ labelSelector: { matchLabels: selectorLabels(server) }, ...constraint }));
}
