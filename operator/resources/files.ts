import { VARIABLES } from "../../server/config/sources.ts";
import type { CacheServer } from "../cacheserver/schema.ts";
import { keysSecretName, tlsSecretName, type Inputs } from "./inputs.ts";
import { HTTP } from "./ports.ts";

const DIRECTORY = "/etc/stowhouse";

/** Where a server finds its files. */
export const FILES = {
  data: "/data",
  directory: DIRECTORY,
  config: `${DIRECTORY}/config.yaml`,
  configName: "config.yaml",
  keys: `${DIRECTORY}/keys`,
  databaseUrl: `${DIRECTORY}/database/url`,
  certificate: `${DIRECTORY}/tls/tls.crt`,
  certificateKey: `${DIRECTORY}/tls/tls.key`,
} as const;

/** Fields of the keys' Secret, and what they are in the configuration. */
const KEYS = { "admin-key": "auth.adminKey", "write-key": "auth.writeKey", "read-key": "auth.readKey", "signing-secret": "auth.signingSecret" } as const;

/** The fields that are there; of a Secret nobody has read yet: all that the operator puts into it. */
function keyFields(server: CacheServer, inputs: Inputs): (keyof typeof KEYS)[] {
  const fields = Object.keys(KEYS) as (keyof typeof KEYS)[];
  const known = inputs.secrets.get(keysSecretName(server))?.keys;
  return known === undefined ? fields : fields.filter((field) => known.includes(field));
}

/** Variables of the server's container, secrets not among them: those are in files. */
export function environment(server: CacheServer, inputs: Inputs): Record<string, string> {
  const keys = keyFields(server, inputs).map((field) => [`${VARIABLES[KEYS[field]]}_FILE`, `${FILES.keys}/${field}`]);
  return {
    STOWHOUSE_CONFIG: FILES.config,
    [VARIABLES.listen]: `${server.spec.listenAddress}:${HTTP.port}`,
    [VARIABLES.data]: FILES.data,
    ...Object.fromEntries(keys),
    ...(server.spec.database.urlSecret === undefined ? {} : { [`${VARIABLES["database.url"]}_FILE`]: FILES.databaseUrl }),
  };
}

const RELATIVE = (path: string) => path.slice(DIRECTORY.length + 1);

/**
 * Configuration, keys, database URL and certificate as one volume: mounted as a whole directory, so that changes arrive, and
 * because a volume can't be mounted inside a read-only one.
 */
export function filesVolume(server: CacheServer, inputs: Inputs): object {
  const secret = (name: string, items: readonly (readonly [key: string, path: string])[]) => ({
    secret: { name, items: items.map(([key, path]) => ({ key, path: RELATIVE(path) })) },
  });
  const { urlSecret } = server.spec.database;
  const tls = tlsSecretName(server);
  return {
    name: "config",
    projected: {
      defaultMode: 0o440,
      sources: [
        { configMap: { name: server.metadata.name, items: [{ key: FILES.configName, path: FILES.configName }] } },
        secret(keysSecretName(server), keyFields(server, inputs).map((field) => [field, `${FILES.keys}/${field}`])),
        ...(urlSecret === undefined ? [] : [secret(urlSecret.name, [[urlSecret.key, FILES.databaseUrl]])]),
        ...(tls === undefined ? [] : [secret(tls, [["tls.crt", FILES.certificate], ["tls.key", FILES.certificateKey]])]),
      ],
    },
  };
}
