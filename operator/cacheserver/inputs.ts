import type { Context } from "../context.ts";
import { digest } from "../json.ts";
import { KubeError } from "../kube-error.ts";
import type { KubeObject } from "../object.ts";
import { secretsOf, type Inputs, type SecretFacts, type SecretUse } from "../resources/inputs.ts";
import { fieldOf, secretRef } from "../secret.ts";
import type { Problem } from "./problem.ts";
import type { CacheServer } from "./schema.ts";

/** A Secret, or a field of it, that isn't there. */
export interface Missing extends Problem {
  readonly purpose: SecretUse["purpose"];
}

export interface Gathered {
  readonly inputs: Inputs;
  readonly secrets: ReadonlyMap<string, KubeObject>;
  readonly missing: readonly Missing[];
}

const FIELD: Record<SecretUse["purpose"], string> = {
  keys: "spec.auth.keysSecret",
  database: "spec.database.urlSecret",
  s3: "spec.storage.s3.credentialsSecret",
  tls: "spec.tls",
};

/** Reads all that a server's objects depend on. Secrets are asked for by name, one by one. @throws KubeError */
export async function gather(context: Context, server: CacheServer, keys: KubeObject | undefined): Promise<Gathered> {
  const secrets = new Map<string, KubeObject>();
  const missing: Missing[] = [];
  const facts = new Map<string, SecretFacts>();
  for (const use of secretsOf(server)) {
    const { name, purpose } = use;
    const secret = secrets.get(name) ?? (purpose === "keys" ? keys : await readSecret(context, server, use, missing));
    if (secret === undefined) {
      if (!missing.some((one) => one.purpose === purpose)) missing.push({ purpose, reason: "SecretMissing", message: `Secret/${name}, which ${FIELD[purpose]} needs, doesn't exist.` });
      continue;
    }
    secrets.set(name, secret);
    const absent = use.fields.filter((field) => fieldOf(secret, field) === undefined);
    if (absent.length > 0) missing.push({ purpose, reason: "SecretFieldMissing", message: `Secret/${name}, which ${FIELD[purpose]} needs, has no field ${absent.join(", ")}.` });
    facts.set(name, factsOf(secret, use, facts.get(name)));
  }
  const { serverImage, version, clusterDomain } = context.settings;
  return { inputs: { secrets: facts, capabilities: await context.capabilities(), defaultImage: serverImage, version, clusterDomain }, secrets, missing };
}

async function readSecret(context: Context, server: CacheServer, { name, purpose }: SecretUse, missing: Missing[]): Promise<KubeObject | undefined> {
  try {
    return await context.kube.get(secretRef(server.metadata.namespace!, name));
  } catch (error) {
    if (!(error instanceof KubeError && error.status === 403)) throw error;
    missing.push({ purpose, reason: "Forbidden", message: `Secret/${name}, which ${FIELD[purpose]} needs: ${error.message}` });
    return undefined;
  }
}

/** A Secret of several purposes has the fields of all in its hash. */
function factsOf(secret: KubeObject, use: SecretUse, before: SecretFacts | undefined): SecretFacts {
  const data = (secret["data"] ?? {}) as Record<string, string>;
  const values = [...use.fields, ...use.optional].map((field) => [field, data[field] ?? null]);
  return { keys: Object.keys(data).sort(), hash: digest([before?.hash ?? null, values]) };
}
