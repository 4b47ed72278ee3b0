import type { FastifySchemaCompiler } from "fastify";
import type { TSchema } from "typebox";
import { Compile } from "typebox/compile";
import { Convert, Default } from "typebox/value";

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
