import { stringify } from "yaml";
import { loadConfig } from "../../server/config.ts";
import { withoutReloadable } from "../../server/config/reloadable.ts";
import { StowError } from "../../server/core/errors.ts";
import type { CacheServer } from "../cacheserver/schema.ts";
import type { Settings } from "../fields.ts";
import { digest } from "../json.ts";
import type { KubeObject } from "../object.ts";
import { secretsOf, type Inputs } from "./inputs.ts";
import { metadata } from "./metadata.ts";
import { HTTP, METRICS } from "./ports.ts";
import { environment, FILES } from "./files.ts";
import { publicUrl, serviceUrl } from "./urls.ts";

/** The server's configuration for a CacheServer, as its file has it. Secrets come from files that variables name. */
export function configuration(server: CacheServer, inputs: Inputs): Record<string, unknown> {
  const { spec } = server;
  const url = publicUrl(server);
  const { keysSecret: _, ...auth } = spec.auth;
  const github: Settings = auth.github;
  return {
    listen: `0.0.0.0:${HTTP.port}`,
    ...(url === undefined ? {} : { url }),
    data: FILES.data,
    processes: spec.processes,
    database: { type: spec.database.type === "PostgreSQL" ? "postgres" : "sqlite", maxConnections: spec.database.maxConnections },
    inlineLimit: spec.inlineLimit,
    storages: { default: storage(server) },
    caches: spec.caches,
    // Tokens are meant for the server's origin; without a public one it is the Service's.
    auth: { ...auth, github: { ...github, audience: github["audience"] ?? url ?? serviceUrl(server, inputs) } },
    limits: spec.limits,
    memory: spec.memory,
    eviction: spec.eviction,
    ...(spec.tls === undefined ? {} : { tls: { cert: FILES.certificate, key: FILES.certificateKey } }),
    trustedProxies: spec.trustedProxies,
    metrics: { listen: `0.0.0.0:${METRICS.port}` },
    log: spec.log,
    audit: spec.audit,
    shutdown: spec.shutdown,
    protocols: spec.protocols,
  };
}

function storage({ spec }: CacheServer): object {
  if (spec.storage.s3 === undefined) return { type: "filesystem" };
  const { credentialsSecret: _, redirect, readCache, ...s3 } = spec.storage.s3;
  return { type: "s3", s3, redirect, readCache };
}

export function configMap(server: CacheServer, inputs: Inputs): KubeObject {
  return {
    apiVersion: "v1",
    kind: "ConfigMap",
    metadata: metadata(server, inputs),
    data: { [FILES.configName]: `# Made by the Stowhouse operator from CacheServer/${server.metadata.name}.\n${stringify(configuration(server, inputs), { lineWidth: 0, aliasDuplicateObjects: false })}` },
  };
}

/**
 * What the server would refuse of this configuration, one line a problem: what a CRD's schema can't say. A server must not be
 * given it: those that run would keep what they have, but the next pod would not start.
 */
export function configurationProblems(server: CacheServer, inputs: Inputs): string[] {
  // The CRD has judged the protocols by the same schema.
  const { protocols: _, ...config } = configuration(server, inputs);
  const secrets = new Map<string, string>([[FILES.databaseUrl, "postgres://host/database"]]);
  const keys = Object.entries(environment(server, inputs)).filter(([, path]) => path.startsWith(FILES.keys));
  for (const [name, path] of keys) secrets.set(path, `placeholder-for-${name.toLowerCase()}-0123456789abcdef`);
  try {
    loadConfig({ file: FILES.config, env: environment(server, inputs), readFile: (path) => secrets.get(path) ?? stringify(config) });
    return [];
  } catch (error) {
    if (!(error instanceof StowError)) throw error;
    return error.message.split("\n").slice(1).map((line) => `spec.${line.trim().replace(/^storages\.default\./, "storage.")}`);
  }
}

/** Changes with everything that pods read at start only: parts of the configuration, and Secrets the server doesn't look at again. */
export function restartHash(server: CacheServer, inputs: Inputs): string {
  const secrets = secretsOf(server).filter(({ reloaded }) => !reloaded).map(({ name }) => [name, inputs.secrets.get(name)?.hash ?? null]);
  return digest({ config: withoutReloadable(configuration(server, inputs)), secrets });
}
