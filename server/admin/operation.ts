import type { FastifySchema, RouteShorthandOptions } from "fastify";
import type { TSchema } from "typebox";

interface Parts {
  readonly params?: TSchema;
  readonly querystring?: TSchema;
  readonly body?: TSchema;
  /** The answers by status. */
  readonly response: Readonly<Record<number, TSchema>>;
}

/** The options of an admin route: its label, and what the OpenAPI document says of it. */
export function operation(name: string, summary: string, parts: Parts): RouteShorthandOptions {
  return { config: { op: `admin.${name}`, auth: "key" }, schema: { ...parts, summary, operationId: `admin.${name}` } as FastifySchema };
}
