import type { TSchema } from "typebox";
import type { Field } from "../server/config/fields.ts";
import { configSchema, type ProtocolOptions } from "../server/config/schema.ts";

/** What the chart sets itself, each from a value of its own. */
const OURS = ["listen", "data", "metrics.listen", "tls.cert", "tls.key"];
/** Credentials without a secret half. */
const HALVES = ["accessKeyId"];

/**
 * The server's configuration as a chart's values may have it: a ConfigMap is no place for secrets, and addresses and paths
 * are the chart's.
 */
export function chartConfig(protocols: ProtocolOptions): TSchema {
  return {
    ...without(configSchema(protocols) as Field, ""),
    default: {},
    description: "Configuration of the server: server/CONFIG.md has every field. What holds secrets is given by Secrets instead, addresses and paths by the chart.",
    example: { caches: { default: { quota: "40GiB", retention: "14d" } }, auth: { github: { rules: [{ repositoryOwnerId: 583231 }] } } },
  } as TSchema;
}

function without(field: Field, path: string): Field {
  const { properties, additionalProperties, items, ...words } = field;
  const kept = Object.entries(properties ?? {}).filter(([name, child]) => !isSecret(child) && !HALVES.includes(name) && !OURS.includes(join(path, name)));
  return {
    ...words,
    ...(properties === undefined ? {} : { properties: Object.fromEntries(kept.map(([name, child]) => [name, without(child, join(path, name))])) }),
    ...(typeof additionalProperties === "object" ? { additionalProperties: without(additionalProperties, join(path, "*")) } : {}),
    ...(items === undefined ? {} : { items: without(items, `${path}[]`) }),
  };
}

function join(path: string, name: string): string {
  return path === "" ? name : `${path}.${name}`;
}

function isSecret({ format, additionalProperties: values, items }: Field): boolean {
  return format === "password" || items?.format === "password" || (typeof values === "object" && values.format === "password");
}
