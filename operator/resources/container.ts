import { DURATION } from "../../server/config/units.ts";
import type { CacheServer } from "../cacheserver/schema.ts";
import { environment, FILES } from "./files.ts";
import { imageOf } from "./image.ts";
import type { Inputs } from "./inputs.ts";
import { HTTP, podPorts } from "./ports.ts";

/** The server's container; a podTemplate finds it by this name. */
const NAME = "server";

/** So long a pod serves on after its deletion, because proxies and clients learn of it late, s. */
const PRE_STOP_S = 5;
/** What the process needs beside the times it is given, s. */
const MARGIN_S = 10;

/** The time a pod has from its deletion until it is killed, s. */
export function gracePeriod({ spec: { shutdown } }: CacheServer): number {
  const seconds = (name: string) => Math.ceil((DURATION.parse(shutdown[name] ?? 0) ?? 0) / 1000);
  return PRE_STOP_S + seconds("delay") + seconds("drain") + MARGIN_S;
}

export function container(server: CacheServer, inputs: Inputs): object {
  const { image, resources, tls } = server.spec;
  const ask = (path: string) => ({ httpGet: { path, port: HTTP.name, scheme: tls === undefined ? "HTTP" : "HTTPS" } });
  return {
    name: NAME,
    image: imageOf(server, inputs).reference,
    imagePullPolicy: image?.pullPolicy ?? "IfNotPresent",
    args: ["serve"],
    env: [...Object.entries(environment(server, inputs)).map(([name, value]) => ({ name, value })), ...credentials(server)],
    ports: podPorts(server).map(({ name, port }) => ({ name, containerPort: port, protocol: "TCP" })),
    resources,
    volumeMounts: [
      { name: "config", mountPath: FILES.directory, readOnly: true },
      { name: "data", mountPath: FILES.data },
      { name: "tmp", mountPath: "/tmp" },
    ],
    // A first start may have to bring a large index up to date.
    startupProbe: { ...ask("/livez"), periodSeconds: 2, timeoutSeconds: 2, failureThreshold: 150 },
    livenessProbe: { ...ask("/livez"), periodSeconds: 10, timeoutSeconds: 5, failureThreshold: 6 },
    readinessProbe: { ...ask("/readyz"), periodSeconds: 5, timeoutSeconds: 3, failureThreshold: 2 },
    lifecycle: { preStop: { sleep: { seconds: PRE_STOP_S } } },
    securityContext: { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: ["ALL"] } },
    terminationMessagePolicy: "FallbackToLogsOnError",
  };
}

/** The bucket's access key, as the SDK looks for it. */
function credentials({ spec }: CacheServer): object[] {
  const secret = spec.storage.s3?.credentialsSecret;
  if (secret === undefined) return [];
  const variable = (name: string, key: string) => ({ name, valueFrom: { secretKeyRef: { name: secret.name, key } } });
  return [variable("AWS_ACCESS_KEY_ID", secret.accessKeyIdKey), variable("AWS_SECRET_ACCESS_KEY", secret.secretAccessKeyKey)];
}
