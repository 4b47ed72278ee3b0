import type { FastifySchemaCompiler } from "fastify";
import Type, { type Static, type TProperties, type TSchema, type TUnsafe } from "typebox";
import { Compile } from "typebox/compile";
import { Convert, Default } from "typebox/value";

/** Longest list of one answer. */
export const MAX_PAGE = 500;

export const Limit = Type.Optional(Type.Integer({ minimum: 1, maximum: MAX_PAGE, default: 100, description: "Items of one answer." }));
export const CacheName = Type.String({ pattern: "^[a-z0-9][a-z0-9-]{0,62}$", description: "Name of a cache." });
export const Time = Type.String({ format: "date-time", description: "ISO 8601." });
export const Count = Type.Integer({ minimum: 0 });
export const Scope = Type.String({ minLength: 1, maxLength: 600, description: "A scope like team:ci or 1296269:refs/heads/main." });

/** May be null; in the words of OpenAPI 3.0. */
export function nullable<S extends TSchema>(schema: S, description?: string): TUnsafe<Static<S> | null> {
  return Type.Unsafe<Static<S> | null>({ ...schema, nullable: true, ...(description === undefined ? {} : { description }) });
}

/** An object with these fields and no others. */
export function strict<P extends TProperties>(properties: P, description?: string) {
  return Type.Object(properties, { additionalProperties: false, ...(description === undefined ? {} : { description }) });
}

/** The time of a number of milliseconds. */
export function iso(ms: number): string {
  return new Date(ms).toISOString();
}

/** Checks what a request holds. Unlike Fastify's default it refuses fields nobody knows: a misspelt filter of a DELETE must not widen it. */
export const compileSchema: FastifySchemaCompiler<TSchema> = ({ schema, httpPart }) => {
  const validator = Compile(schema);
  return (value: unknown) => {
    // Texts become numbers and flags in paths and queries only; JSON has its own. No body is one without fields.
    const converted: unknown = Default(schema, httpPart === "body" ? (value ?? {}) : Convert(schema, value));
    if (validator.Check(converted)) return { value: converted };
    const [first] = validator.Errors(converted).filter((error) => error.keyword !== "boolean");
    return { error: new Error(`${httpPart ?? "request"}${first?.instancePath ?? ""} ${first === undefined ? "is not valid" : wordsOf(first)}`) };
  };
};

function wordsOf(error: { message: string; params: object }): string {
  const { additionalProperties } = error.params as { additionalProperties?: readonly string[] };
  return additionalProperties === undefined ? error.message : `has no field ${additionalProperties.slice(0, 5).map((name) => JSON.stringify(name.slice(0, 40))).join(", ")}`;
}
