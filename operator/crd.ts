import type { TSchema } from "typebox";
import type { ProtocolOptions } from "../server/config/schema.ts";
import { CacheKeySpecSchema, CacheKeyStatusSchema } from "./cachekey/schema.ts";
import { specSchema, StatusSchema } from "./cacheserver/schema.ts";
import { GROUP, VERSION, type KubeObject } from "./object.ts";
import type { Rule } from "./fields.ts";

interface Column {
  readonly name: string;
  readonly type: "string" | "integer" | "date";
  readonly jsonPath: string;
  readonly description: string;
  /** 1: shown by `-o wide` only. */
  readonly priority?: 1;
}

interface Kind {
  readonly kind: string;
  readonly plural: string;
  readonly shortName: string;
  readonly description: string;
  readonly spec: TSchema;
  readonly status: TSchema;
  readonly columns: readonly Column[];
  readonly rules: readonly Rule[];
  readonly scale?: object;
}

const READY: Column = { name: "Ready", type: "string", jsonPath: '.status.conditions[?(@.type=="Ready")].status', description: "Whether it does what it is for." };
const REASON: Column = { name: "Reason", type: "string", jsonPath: '.status.conditions[?(@.type=="Ready")].reason', description: "Why it is ready or not.", priority: 1 };
const AGE: Column = { name: "Age", type: "date", jsonPath: ".metadata.creationTimestamp", description: "Time since it was made." };

const cacheServer = (protocols: ProtocolOptions): Kind => ({
  kind: "CacheServer",
  plural: "cacheservers",
  shortName: "csrv",
  description: "A Stowhouse server: a remote build cache for every build tool.",
  spec: specSchema(protocols),
  status: StatusSchema,
  scale: { specReplicasPath: ".spec.replicas", statusReplicasPath: ".status.replicas", labelSelectorPath: ".status.selector" },
  columns: [
    READY,
    { name: "Replicas", type: "integer", jsonPath: ".status.readyReplicas", description: "Pods that serve." },
    { name: "Storage", type: "string", jsonPath: ".status.storage", description: "Size of the volume, or the bucket." },
    { name: "Endpoint", type: "string", jsonPath: ".status.endpoint", description: "URL for clients." },
    { name: "Version", type: "string", jsonPath: ".status.version", description: "Version of the server." },
    AGE,
    REASON,
    { name: "Used", type: "string", jsonPath: ".status.usage.size", description: "Size of all entries.", priority: 1 },
    { name: "Hits", type: "string", jsonPath: ".status.usage.hitRate", description: "Share of lookups that were hits.", priority: 1 },
  ],
  // Services want names that start with a letter, and some children's names are ten characters longer.
  rules: [{ rule: "self.metadata.name.matches('^[a-z]([-a-z0-9]{0,48}[a-z0-9])?$')", message: "the name has a-z, 0-9 and -, at most 50 characters, and starts with a letter" }],
});

const CACHE_KEY: Kind = {
  kind: "CacheKey",
  plural: "cachekeys",
  shortName: "ckey",
  description: "An API key of a CacheServer, in a Secret of this namespace.",
  spec: CacheKeySpecSchema,
  status: CacheKeyStatusSchema,
  columns: [
    READY,
    { name: "Server", type: "string", jsonPath: ".status.server", description: "The CacheServer." },
    { name: "Permission", type: "string", jsonPath: ".spec.permission", description: "What the key may do." },
    { name: "Secret", type: "string", jsonPath: ".status.secretName", description: "The Secret that holds the key." },
    { name: "Expires", type: "string", jsonPath: ".status.expiresAt", description: "When the key ends." },
    AGE,
    REASON,
  ],
  rules: [{ rule: "self.metadata.name.size() <= 63", message: "the name has at most 63 characters" }],
};

/** The CustomResourceDefinitions, by file name. @param protocols options of each protocol the server has */
export function definitions(protocols: ProtocolOptions): Record<string, KubeObject> {
  return Object.fromEntries([cacheServer(protocols), CACHE_KEY].map((kind) => [`${kind.plural}.yaml`, definition(kind)]));
}

function definition({ kind, plural, shortName, description, spec, status, columns, rules, scale }: Kind): KubeObject {
  const schema = {
    type: "object",
    description,
    required: "default" in spec ? undefined : ["spec"],
    properties: {
      apiVersion: { type: "string", description: `${GROUP}/${VERSION}` },
      kind: { type: "string", description: kind },
      metadata: { type: "object" },
      spec,
      status,
    },
    "x-kubernetes-validations": rules,
  };
  // The schema's own marks are no JSON.
  return JSON.parse(JSON.stringify({
    apiVersion: "apiextensions.k8s.io/v1",
    kind: "CustomResourceDefinition",
    metadata: { name: `${plural}.${GROUP}` },
    spec: {
      group: GROUP,
      scope: "Namespaced",
      names: { kind, listKind: `${kind}List`, plural, singular: kind.toLowerCase(), shortNames: [shortName], categories: ["stowhouse"] },
      versions: [{ name: VERSION, served: true, storage: true, schema: { openAPIV3Schema: filled(withoutDefault(schema)) }, subresources: { status: {}, scale }, additionalPrinterColumns: columns }],
    },
  })) as KubeObject;
}

/** A status starts empty: the API server must not fill it in. */
function withoutDefault<S extends { properties: { status: TSchema } }>(schema: S): Node {
  const { default: _, ...status } = schema.properties.status as TSchema & { default?: unknown };
  return { ...schema, properties: { ...schema.properties, status } };
}

type Node = Readonly<Record<string, unknown>>;

/**
 * The same schema, the defaults of its sections written out: the API server judges a default by the rules as it stands there,
 * before the defaults of the fields within are filled in. Items of lists have none, because nobody fills in an item.
 */
function filled(schema: Node): Node {
  const { properties, items, additionalProperties } = schema as { properties?: Record<string, Node>; items?: Node; additionalProperties?: unknown };
  const within = Object.fromEntries(Object.entries(properties ?? {}).map(([name, field]) => [name, filled(field)]));
  const defaults = Object.fromEntries(Object.entries(within).flatMap(([name, field]) => ("default" in field ? [[name, field["default"]]] : [])));
  return {
    ...schema,
    ...(properties === undefined ? {} : { properties: within }),
    ...(isNode(schema["default"]) ? { default: { ...defaults, ...schema["default"] } } : {}),
    ...(items === undefined ? {} : { items: withoutOwnDefault(filled(items)) }),
    ...(isNode(additionalProperties) ? { additionalProperties: filled(additionalProperties) } : {}),
  };
}

function withoutOwnDefault({ default: _, ...schema }: Node): Node {
  return schema;
}

function isNode(value: unknown): value is Node {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
