import type { CacheServer } from "../cacheserver/schema.ts";
import type { Capabilities } from "../context.ts";

/** A Secret, without its contents. */
export interface SecretFacts {
  /** The fields of its data. */
  readonly keys: readonly string[];
  /** Changes with the values of the fields that secretsOf names. */
  readonly hash: string;
}

/** What is known of the world when a CacheServer's objects are made. */
export interface Inputs {
  /** Those of secretsOf that exist, by name. */
  readonly secrets: ReadonlyMap<string, SecretFacts>;
  readonly capabilities: Capabilities;
  /** Image of servers whose resource names none. */
  readonly defaultImage: string;
  /** Of the operator. */
  readonly version: string;
  /** Suffix of the names of Services, like cluster.local. */
  readonly clusterDomain: string;
}

/** A Secret a server uses. */
export interface SecretUse {
  readonly name: string;
  readonly purpose: "keys" | "database" | "s3" | "tls";
  /** Fields that must be there. */
  readonly fields: readonly string[];
  /** Fields that may be there. */
  readonly optional: readonly string[];
  /** Whether the server takes a change of it over without a restart. */
  readonly reloaded: boolean;
}

/** The Secret with a server's own keys. */
export function keysSecretName(server: CacheServer): string {
  return server.spec.auth.keysSecret?.name ?? `${server.metadata.name}-keys`;
}

/** The Secret with a server's certificate; undefined without TLS. */
export function tlsSecretName(server: CacheServer): string | undefined {
  const { tls } = server.spec;
  return tls === undefined ? undefined : (tls.secretName ?? `${server.metadata.name}-tls`);
}

/** Every Secret a server needs before its pods can start. One Secret may serve several purposes. */
export function secretsOf(server: CacheServer): SecretUse[] {
  const { database, storage } = server.spec;
  const uses: SecretUse[] = [
    { name: keysSecretName(server), purpose: "keys", fields: ["admin-key"], optional: ["write-key", "read-key", "signing-secret"], reloaded: true },
  ];
  if (database.urlSecret !== undefined) {
    uses.push({ name: database.urlSecret.name, purpose: "database", fields: [database.urlSecret.key], optional: [], reloaded: false });
  }
  const credentials = storage.s3?.credentialsSecret;
  if (credentials !== undefined) {
    uses.push({ name: credentials.name, purpose: "s3", fields: [credentials.accessKeyIdKey, credentials.secretAccessKeyKey], optional: [], reloaded: false });
  }
  const tls = tlsSecretName(server);
  if (tls !== undefined) uses.push({ name: tls, purpose: "tls", fields: ["tls.crt", "tls.key"], optional: [], reloaded: true });
  return uses;
}
