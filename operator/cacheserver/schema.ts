import type { Static, TUnsafe } from "typebox";
import { integer, oneOf, optional, section, type Field } from "../../server/config/fields.ts";
import { configSchema, type ProtocolOptions, type ProtocolSettings } from "../../server/config/schema.ts";
import { forResource, leftToServer, ruled, serverFields, serverPart } from "../fields.ts";
import type { KubeObject } from "../object.ts";
import { Access, Auth } from "./schema/auth.ts";
import { HttpRoute, Ingress, NetworkPolicy, Service, Tls } from "./schema/network.ts";
import { Autoscaling, Image, ImagePullSecrets, Monitoring, PodDisruptionBudget, PodTemplate, Resources, ServiceAccount, TopologySpreadConstraints } from "./schema/pods.ts";
import { Status } from "./schema/status.ts";
import { Caches, Database, Storage } from "./schema/storage.ts";

const server = serverFields("") as { url: TUnsafe<string>; processes: TUnsafe<number>; trustedProxies: TUnsafe<string[]>; inlineLimit: TUnsafe<string> };

/** Several servers share what they write only where both the index and the bodies can be shared. */
const shareable = (count: string, fieldPath: string) => [
  { rule: `${count} || self.database.type == 'PostgreSQL'`, message: "more than one replica needs database.type PostgreSQL", fieldPath },
  {
    rule: `${count} || self.storage.type == 'S3' || self.storage.persistentVolume.accessMode == 'ReadWriteMany'`,
    message: "more than one replica needs storage.type S3, or a volume with accessMode ReadWriteMany",
    fieldPath,
  },
];

/** The spec of a CacheServer. @param protocols options of each protocol the server has */
export function specSchema(protocols: ProtocolOptions) {
  const { properties } = configSchema(protocols);
  return ruled(
    section("The server that is wanted.", {
      replicas: integer(0, 100, { default: 1, description: "Number of pods; 0 stops the server and keeps its data. More than one needs PostgreSQL and S3 (or a ReadWriteMany volume)." }),
      image: Image,
      imagePullSecrets: ImagePullSecrets,
      storage: Storage,
      database: Database,
      caches: Caches,
      auth: Auth,
      access: Access,
      protocols: protocolsField(properties.protocols as Field) as unknown as TUnsafe<Record<string, ProtocolSettings>>,
      url: optional(server.url),
      listenAddress: oneOf(["0.0.0.0", "[::]"], { default: "0.0.0.0", description: "Address the pods listen on; [::] where they have IPv6 addresses." }),
      processes: server.processes,
      inlineLimit: server.inlineLimit,
      limits: serverPart("limits"),
      memory: serverPart("memory"),
      eviction: serverPart("eviction"),
      trustedProxies: server.trustedProxies,
      log: serverPart("log"),
      audit: serverPart("audit"),
      shutdown: serverPart("shutdown"),
      tls: Tls,
      service: Service,
      ingress: Ingress,
      httpRoute: HttpRoute,
      networkPolicy: NetworkPolicy,
      monitoring: Monitoring,
      autoscaling: Autoscaling,
      podDisruptionBudget: PodDisruptionBudget,
      topologySpreadConstraints: TopologySpreadConstraints,
      resources: Resources,
      serviceAccount: ServiceAccount,
      podTemplate: PodTemplate,
    }),
    ...shareable("self.replicas <= 1", ".replicas"),
    ...shareable("!has(self.autoscaling)", ".autoscaling"),
  );
}

export const StatusSchema = Status;

export type CacheServerSpec = Static<ReturnType<typeof specSchema>>;
export type CacheServerStatus = Static<typeof Status>;

/** As the API server stores it: defaults filled in, checked by the CRD's schema and rules. */
export interface CacheServer extends KubeObject {
  kind: "CacheServer";
  spec: CacheServerSpec;
  status?: CacheServerStatus;
}

export type AccessRule = CacheServerSpec["access"][number];

/** Whether each protocol is spoken is said here; its options are the server's to fill in. */
function protocolsField(protocols: Field): Field {
  const each = Object.entries(protocols.properties ?? {}).map(([name, protocol]) => {
    const options = Object.entries(protocol.properties ?? {}).map(([option, field]) => [option, option === "enabled" ? field : leftToServer(field)]);
    return [name, { ...protocol, properties: Object.fromEntries(options) }];
  });
  return forResource({ ...protocols, properties: Object.fromEntries(each) });
}
