import Type, { type Static, type TProperties, type TSchema, type TUnsafe } from "typebox";

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
