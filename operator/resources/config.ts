import { stringify } from "yaml";
import { loadConfig } from "../../server/config.ts";
import type { Field } from "../../server/config/fields.ts";
import { withoutReloadable } from "../../server/config/reloadable.ts";
import { ConfigSchema } from "../../server/config/schema.ts";
import type { CacheServer } from "../cacheserver/schema.ts";
import type { Settings } from "../fields.ts";
import { digest, isRecord } from "../json.ts";
import type { KubeObject } from "../object.ts";
import { changed } from "./changed.ts";
import { environment, FILES } from "./files.ts";
import { secretsOf, type Inputs } from "./inputs.ts";
import { metadata } from "./metadata.ts";
import { METRICS } from "./ports.ts";
import { publicUrl, serviceUrl } from "./urls.ts";

/**
 * The server's configuration for a CacheServer, as its file has it: only what differs from the server's defaults. Secrets
 * come from files that variables name, and so do address and directory, because the image sets those variables.
 */
export function configuration(server: CacheServer, inputs: Inputs): Settings {
  const { spec } = server;
  const url = publicUrl(server);
  const { keysSecret: _, ...auth } = spec.auth;
  const github: Settings = auth.github;
  const { processes, inlineLimit, caches, limits, memory, eviction, trustedProxies, log, audit, shutdown, protocols } = spec;
  const all = {
    ...(url === undefined ? {} : { url }),
    processes,
    database: { type: spec.database.type === "PostgreSQL" ? "postgres" : "sqlite", maxConnections: spec.database.maxConnections },
    inlineLimit,
    storages: { default: storage(server) },
    caches,
    // Tokens are meant for the server's origin; without a public one it is the Service's.
    auth: { ...auth, github: { ...github, audience: github["audience"] ?? url ?? serviceUrl(server, inputs) } },
    limits,
    memory,
    eviction,
    tls: spec.tls === undefined ? {} : { cert: FILES.certificate, key: FILES.certificateKey },
    trustedProxies,
    metrics: { listen: `${spec.listenAddress}:${METRICS.port}` },
    log,
    audit,
    shutdown,
  };
  const said = changed(ConfigSchema as Field, all) as Settings;
  const options = protocolOptions(protocols);
  return Object.keys(options).length === 0 ? said : { ...said, protocols: options };
}

/** Protocols that are not as they are by default. Their schemas are the server's own, so only the default of all is known here. */
function protocolOptions(protocols: CacheServer["spec"]["protocols"]): Settings {
  const said = Object.entries(protocols).map(([name, { enabled, ...options }]) => [name, { ...(enabled ? {} : { enabled }), ...withoutEmpty(options) }] as const);
  return Object.fromEntries(said.filter(([, options]) => Object.keys(options).length > 0));
}

function withoutEmpty(options: object): object {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => !isRecord(value) || Object.keys(value).length > 0));
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
    if (!(error instanceof Error && error.name === "StowError")) throw error;
    return error.message.split("\n").slice(1).map((line) => `spec.${line.trim().replace(/^storages\.default\./, "storage.")}`);
  }
}

/** Changes with everything that pods read at start only: parts of the configuration, and Secrets the server doesn't look at again. */
export function restartHash(server: CacheServer, inputs: Inputs): string {
  const secrets = secretsOf(server).filter(({ reloaded }) => !reloaded).map(({ name }) => [name, inputs.secrets.get(name)?.hash ?? null]);
  return digest({ config: withoutReloadable(configuration(server, inputs)), secrets });
}
