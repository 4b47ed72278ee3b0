import Type, { type TProperties, type TSchema, type TUnsafe } from "typebox";
import { list, oneOf, optional, section, type Field } from "../server/config/fields.ts";
import { ConfigSchema } from "../server/config/schema.ts";
import { DURATION } from "../server/config/units.ts";

/**
 * Builders of the fields only Kubernetes has, beside those of server/config/fields.ts. The static type of a resource's
 * schema is the *stored* value: words as written ("30d"), defaults filled in by the API server.
 */

interface Words {
  readonly description: string;
  readonly default?: unknown;
}

/** A check in CEL. Field paths are relative to the schema that has the rule; messages name the field for people. */
export interface Rule {
  readonly rule: string;
  readonly message: string;
  readonly fieldPath?: string;
}

/** The same schema, checked by the API server with these rules too. */
export function ruled<S extends TSchema>(schema: S, ...rules: readonly Rule[]): S {
  return Object.assign(schema, { "x-kubernetes-validations": rules });
}

/** A value that stays as it was made. */
export function immutable<S extends TSchema>(schema: S, message: string): S {
  return ruled(schema, { rule: "self == oldSelf", message });
}

/** A section that means something by being there: the API server must not fill it in. */
export function presence<P extends TProperties>(description: string, properties: P) {
  const schema = section(description, properties);
  delete (schema as { default?: unknown }).default;
  return optional(schema);
}

export const duration = (words: Words): TUnsafe<string> => Type.Unsafe<string>({ type: "string", pattern: DURATION.pattern, maxLength: 40, ...words });

/** An amount as Kubernetes writes it: 50Gi. */
export const quantity = (words: Words): TUnsafe<string> =>
  Type.Unsafe<string>({ type: "string", pattern: "^[1-9][0-9]*(\\.[0-9]{1,3})?(Ki|Mi|Gi|Ti|Pi|k|M|G|T|P)?$", maxLength: 20, ...words });

const SUBDOMAIN = "^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$";

/** The name of an object. */
export const objectName = (words: Words): TUnsafe<string> => Type.Unsafe<string>({ type: "string", minLength: 1, maxLength: 253, pattern: SUBDOMAIN, ...words });

/** A short text. */
export const string = (words: Words & { readonly pattern?: string; readonly maxLength?: number }): TUnsafe<string> =>
  Type.Unsafe<string>({ type: "string", minLength: 1, maxLength: 253, ...words });

/** A key of a Secret's data. */
export const secretKey = (words: Words): TUnsafe<string> => string({ pattern: "^[-._a-zA-Z0-9]+$", ...words });

/** Labels, annotations and their like. */
export const strings = (words: Words): TUnsafe<Record<string, string>> =>
  Type.Unsafe<Record<string, string>>({ type: "object", maxProperties: 100, additionalProperties: { type: "string", description: "Value.", maxLength: 262_144 }, ...words });

/** Something Kubernetes defines and judges itself: passed on as it is. */
export const foreign = (words: Words): TUnsafe<Record<string, unknown>> =>
  Type.Unsafe<Record<string, unknown>>({ type: "object", "x-kubernetes-preserve-unknown-fields": true, ...words });

export const int64 = (words: Words): TUnsafe<number> => Type.Unsafe<number>({ type: "integer", format: "int64", minimum: 0, ...words });

/** RFC 3339. */
export const time = (words: Words): TUnsafe<string> => Type.Unsafe<string>({ type: "string", format: "date-time", ...words });

/** Settings that go to the server as they are. */
export type Settings = Readonly<Record<string, unknown>>;

/**
 * A part of the server's own configuration, by its path there (`limits`, `storages.<name>.s3`): one definition serves both.
 * @param without names of its fields that a resource doesn't set, because the operator does or because they are secrets
 */
export function serverPart(path: string, without: readonly string[] = []): TUnsafe<Settings> {
  const names = path === "" ? [] : path.split(".");
  const part = names.reduce<Field>((field, name) => (name === "<name>" ? (field.additionalProperties as Field) : field.properties![name]!), ConfigSchema as Field);
  return Type.Unsafe<Settings>(without.length === 0 ? { ...part } : section(part.description!, propertiesOf(part, without)));
}

/** The fields of a part of the server's configuration, to stand beside fields of ours. */
export function serverFields(path: string, without: readonly string[] = []): Record<string, TUnsafe<unknown>> {
  return propertiesOf(serverPart(path) as Field, without) as Record<string, TUnsafe<unknown>>;
}

function propertiesOf(part: Field, without: readonly string[]): TProperties {
  return Object.fromEntries(Object.entries(part.properties ?? {}).filter(([name]) => !without.includes(name))) as unknown as TProperties;
}

/**
 * A schema of the server's as a resource may have it: without the fields that hold secrets, which have no place there, and
 * with every map bounded as the server bounds it.
 */
export function forResource(schema: Field): Field {
  const { properties, items, additionalProperties: values } = schema;
  const kept = Object.entries(properties ?? {}).filter(([, field]) => !isSecret(field));
  return {
    ...schema,
    ...(properties && { properties: Object.fromEntries(kept.map(([name, field]) => [name, forResource(field)])) }),
    ...(items && { items: forResource(items) }),
    ...(typeof values === "object" && { additionalProperties: forResource(values), maxProperties: 1000 }),
  };
}

/**
 * The same schema with its defaults in words alone. Options of a protocol are the server's to fill in: an API server that did
 * would have every pod told of all of them, those of an older image too, which doesn't know the newest.
 */
export function leftToServer(schema: Field): Field {
  const { default: standard, properties, items, additionalProperties: values, description, ...rest } = schema;
  const told = ["string", "number", "boolean"].includes(typeof standard) && !/ Default: /.test(description ?? "");
  return {
    ...rest,
    ...(description !== undefined && { description: told ? `${description} Default: ${String(standard)}.` : description }),
    ...(properties && { properties: Object.fromEntries(Object.entries(properties).map(([name, field]) => [name, leftToServer(field)])) }),
    ...(items && { items: leftToServer(items) }),
    ...(values !== undefined && { additionalProperties: typeof values === "object" ? leftToServer(values) : values }),
  };
}

function isSecret({ format, items, additionalProperties: values }: Field): boolean {
  return format === "password" || (items !== undefined && isSecret(items)) || (typeof values === "object" && isSecret(values));
}

/** The same map, bounded in size, and its names checked: the words of the server's schema can't say either. */
export function named<S extends TSchema>(map: S, atMost: number): S {
  return Object.assign(ruled(map, { rule: "self.all(name, name.matches('^[a-z0-9][a-z0-9-]{0,62}$'))", message: "names have a-z, 0-9 and -, at most 63 characters" }), { maxProperties: atMost });
}

/** A label selector. It has no default: one that was forgotten would select everything. */
export function labelSelector(description: string) {
  const selector = section(description, {
    matchLabels: optional(strings({ description: "Labels and the values they must have." })),
    matchExpressions: optional(list(
      section("A condition on a label.", {
        key: string({ description: "Name of the label.", maxLength: 317 }),
        operator: oneOf(["In", "NotIn", "Exists", "DoesNotExist"], { description: "How the label's value stands to the values." }),
        values: optional(list(Type.Unsafe<string>({ type: "string", maxLength: 63, description: "Value of a label." }), { maxItems: 100, description: "Values, for In and NotIn." })),
      }),
      { maxItems: 50, description: "Conditions on labels; all of them must hold." },
    )),
  });
  delete (selector as { default?: unknown }).default;
  return selector;
}
