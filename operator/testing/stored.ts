import { readFileSync } from "node:fs";
import { parse } from "yaml";
import type { Field } from "../../server/config/fields.ts";
import type { CacheKey } from "../cachekey/schema.ts";
import type { CacheServer } from "../cacheserver/schema.ts";
import { GROUP, VERSION } from "../object.ts";

const apiVersion = `${GROUP}/${VERSION}`;

interface Definition {
  readonly spec: { readonly versions: readonly [{ readonly schema: { readonly openAPIV3Schema: Field } }] };
}

/** The schema of a kind's spec, as the API server has it. */
function specSchema(file: string): Field {
  const crd = parse(readFileSync(new URL(`../../crds/${file}`, import.meta.url), "utf8")) as Definition;
  return crd.spec.versions[0].schema.openAPIV3Schema.properties!["spec"]!;
}
const SERVER = specSchema("cacheservers.yaml");
const KEY = specSchema("cachekeys.yaml");

/** A value with the defaults of its schema filled in, as the API server does it. */
export function withDefaults(schema: Field, value: unknown): unknown {
  const actual = value ?? structuredClone(schema.default);
  if (Array.isArray(actual)) return actual.map((item) => withDefaults(schema.items ?? {}, item));
  if (typeof actual !== "object" || actual === null) return actual;
  const filled = new Map(Object.entries(actual));
  const values = schema.additionalProperties;
  if (typeof values === "object") for (const [name, item] of filled) filled.set(name, withDefaults(values, item));
  for (const [name, field] of Object.entries(schema.properties ?? {})) {
    const item = withDefaults(field, filled.get(name));
    if (item !== undefined) filled.set(name, item);
  }
  return Object.fromEntries(filled);
}

/** A CacheServer as the API server stores it. */
export function cacheServer(spec: object = {}, metadata: { name?: string; namespace?: string; annotations?: Record<string, string> } = {}): CacheServer {
  return {
    apiVersion, kind: "CacheServer",
    metadata: { name: "cache", namespace: "ci", uid: "5f0c9a0e-0000-4000-8000-000000000001", generation: 1, ...metadata },
    spec: withDefaults(SERVER, spec) as CacheServer["spec"],
  };
}

/** A CacheKey as the API server stores it. */
export function cacheKey(spec: object, metadata: { name?: string; namespace?: string; annotations?: Record<string, string> } = {}): CacheKey {
  return {
    apiVersion, kind: "CacheKey",
    metadata: { name: "app", namespace: "ci", uid: "5f0c9a0e-0000-4000-8000-000000000002", generation: 1, ...metadata },
    spec: withDefaults(KEY, spec) as CacheKey["spec"],
  };
}
