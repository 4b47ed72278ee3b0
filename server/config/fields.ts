import Type, { type Static, type TObject, type TProperties, type TSchema, type TUnsafe } from "typebox";
import { DURATION, PERCENT, SIZE, type Kind } from "./units.ts";

/**
 * Builders of schema fields in the one form that Kubernetes accepts too: no unions, constants or pattern properties, a
 * description on every field, and nothing required that has a default. The static type of a schema is the *resolved*
 * value: bytes, milliseconds and fractions, every default filled in.
 */

/** A schema as plain JSON Schema words: all that the checker and the documentation read. */
export interface Field {
  readonly type?: "string" | "integer" | "number" | "boolean" | "object" | "array";
  readonly description?: string;
  readonly default?: unknown;
  readonly enum?: readonly string[];
  readonly format?: string;
  readonly pattern?: string;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly items?: Field;
  readonly properties?: Readonly<Record<string, Field>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: Field | boolean;
}

interface Words {
  readonly description: string;
  readonly default?: unknown;
}

/** A string of a kind (see kinds.ts). */
export function kind<T>(kind: Kind<T>, words: Words & { readonly format?: "password"; readonly maxLength?: number }): TUnsafe<T> {
  return Type.Unsafe<T>({ type: "string", pattern: kind.pattern, ...words });
}

export const size = (words: Words): TUnsafe<number> => kind(SIZE, words);
export const duration = (words: Words): TUnsafe<number> => kind(DURATION, words);
export const percent = (words: Words): TUnsafe<number> => kind(PERCENT, words);

/** Any text of 1 to 1000 characters; `format: "password"` marks a secret, which no message ever shows. */
export function text(words: Words & { readonly format?: "password" }): TUnsafe<string> {
  return Type.Unsafe<string>({ type: "string", minLength: 1, maxLength: 1000, ...words });
}

export function integer(minimum: number, maximum: number, words: Words): TUnsafe<number> {
  return Type.Unsafe<number>({ type: "integer", minimum, maximum, ...words });
}

export function flag(words: Words): TUnsafe<boolean> {
  return Type.Unsafe<boolean>({ type: "boolean", ...words });
}

export function oneOf<const T extends readonly string[]>(values: T, words: Words): TUnsafe<T[number]> {
  return Type.Unsafe<T[number]>({ type: "string", enum: values, ...words });
}

export function list<S extends TSchema>(items: S, words: Words & { readonly maxItems: number; readonly minItems?: number }): TUnsafe<Static<S>[]> {
  return Type.Unsafe<Static<S>[]>({ type: "array", items, ...words });
}

/** A map from names (see NAME) to values. */
export function map<S extends TSchema>(values: S, words: Words): TUnsafe<Record<string, Static<S>>> {
  return Type.Unsafe<Record<string, Static<S>>>({ type: "object", additionalProperties: values, ...words });
}

/** Marks a field that may be absent from the resolved value. */
export const optional: typeof Type.Optional = Type.Optional;

/** A group of fields; absent means all defaults, unless a field of it has none. */
export function section<P extends TProperties>(description: string, properties: P): TObject<P> {
  const schema = Type.Object(properties, { description });
  const required = (schema.required as string[] | undefined ?? []).filter((name) => !("default" in properties[name]!));
  const words = schema as unknown as { required?: string[]; default?: object };
  if (required.length > 0) words.required = required;
  else delete words.required;
  if (required.length === 0) words.default = {};
  return schema;
}
