import type { CacheServer } from "../cacheserver/schema.ts";
import type { Settings } from "../fields.ts";
import type { KubeObject } from "../object.ts";
import { configuration } from "./config.ts";
import type { Inputs } from "./inputs.ts";
import { metadata, selectorLabels } from "./metadata.ts";
import { clientPorts, METRICS } from "./ports.ts";

/** The operator makes keys and reads figures, wherever it runs. */
const OPERATOR = { namespaceSelector: {}, podSelector: { matchLabels: { "app.kubernetes.io/name": "stowhouse-operator" } } };

const tcp = (...ports: readonly number[]) => ports.map((port) => ({ protocol: "TCP", port }));

/** Which connections the pods may take and open. Policies know addresses, not names: of URLs only the ports can be told. */
export function networkPolicy(server: CacheServer, inputs: Inputs): KubeObject | undefined {
  const { enabled, clients, scrapers, egress } = server.spec.networkPolicy;
  if (!enabled) return undefined;
  const from = (peers: readonly object[]) => (peers.length === 0 ? {} : { from: peers });
  const ports = outgoing(server, inputs);
  return {
    apiVersion: "networking.k8s.io/v1",
    kind: "NetworkPolicy",
    metadata: metadata(server, inputs),
    spec: {
      podSelector: { matchLabels: selectorLabels(server) },
      policyTypes: ["Ingress", "Egress"],
      ingress: [
        { ...from(clients.length === 0 ? [] : [...clients, OPERATOR]), ports: tcp(...clientPorts(server).map(({ port }) => port)) },
        { ...from(scrapers), ports: tcp(METRICS.port) },
      ],
      egress: [
        { ports: [{ protocol: "UDP", port: 53 }, ...tcp(53)] },
        ...(ports.length === 0 ? [] : [{ ports: tcp(...ports) }]),
        ...egress,
      ],
    },
  };
}

/** Ports of all that a server connects to by itself. */
function outgoing(server: CacheServer, inputs: Inputs): number[] {
  const { database, storage, auth } = server.spec;
  const { url: _, auth: __, ...config } = configuration(server, inputs);
  const ports = new Set(urlsIn(config).map(portOf));
  const github: Settings = auth.github;
  if (auth.github.rules.length > 0) ports.add(portOf(String(github["issuer"])));
  if (database.type === "PostgreSQL") ports.add(database.port);
  if (storage.s3 !== undefined) {
    if (storage.s3["endpoint"] === undefined) ports.add(443);
    // Credentials of the pod's own role: from the cloud's token service, or from the node's metadata service.
    if (storage.s3.credentialsSecret === undefined) ports.add(443).add(80);
  }
  return [...ports].sort((a, b) => a - b);
}

function urlsIn(value: unknown): string[] {
  if (typeof value === "string") return /^https?:\/\//.test(value) && URL.canParse(value) ? [value] : [];
  return typeof value === "object" && value !== null ? Object.values(value).flatMap(urlsIn) : [];
}

function portOf(text: string): number {
  const { port, protocol } = new URL(text);
  return port === "" ? (protocol === "https:" ? 443 : 80) : Number(port);
}
