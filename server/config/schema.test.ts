import Type from "typebox";
import { describe, expect, test } from "vitest";
import { BOUNDS } from "./bounds.ts";
import type { Field } from "./fields.ts";
import { configSchema, ConfigSchema } from "./schema.ts";
import { documentedFields } from "./table.ts";
import { VARIABLES } from "./sources.ts";

const WORDS = new Set([
  "type", "description", "default", "enum", "format", "pattern", "minLength", "maxLength", "minimum", "maximum", "minItems", "maxItems", "items",
  "properties", "required", "additionalProperties",
]);

function all(schema: Field, path = "$"): [path: string, schema: Field][] {
  const values = typeof schema.additionalProperties === "object" ? [["<name>", schema.additionalProperties] as const] : [];
  const items = schema.items === undefined ? [] : [["[]", schema.items] as const];
  const children = [...Object.entries(schema.properties ?? {}), ...values, ...items];
  return [[path, schema], ...children.flatMap(([name, child]) => all(child, `${path}.${name}`))];
}

const written = JSON.parse(JSON.stringify(ConfigSchema)) as Field;

describe.each(all(written))("%s", (_, schema) => {
  test("is in the form a CRD accepts", () => {
    expect(Object.keys(schema).filter((word) => !WORDS.has(word))).toEqual([]);
    expect(["string", "integer", "number", "boolean", "object", "array"]).toContain(schema.type);
    expect(schema.description).toMatch(/^[A-Z`].*[.`]$/);
    // Kubernetes allows one of the two only.
    expect(schema.properties === undefined || schema.additionalProperties === undefined).toBe(true);
    expect(schema.required?.filter((name) => schema.properties?.[name]?.default !== undefined) ?? []).toEqual([]);
    if (schema.type === "array") expect(schema.maxItems).toBeGreaterThan(0);
  });

  test("has a pattern, if any, that Go's regular expressions understand too", () => {
    expect(schema.pattern ?? "").not.toMatch(/\(\?[=!<]|\\[1-9]|\\u/);
  });
});

const paths = documentedFields(ConfigSchema).map((field) => field.path);

test("bounds and variables name fields that exist", () => {
  expect([...Object.keys(BOUNDS), ...Object.keys(VARIABLES)].filter((path) => !paths.includes(path))).toEqual([]);
});

test("every size and duration has bounds", () => {
  const amounts = documentedFields(ConfigSchema).filter(({ type }) => /^(size|duration)/.test(type));
  expect(amounts.filter(({ path }) => BOUNDS[path] === undefined)).toEqual([]);
});

test("a protocol's options stand beside enabled", () => {
  const schema = configSchema({ nip: Type.Object({ window: Type.Integer({ default: 5 }) }, { description: "The nip protocol." }) }) as Field;
  const nip = schema.properties?.["protocols"]?.properties?.["nip"];
  expect(Object.keys(nip?.properties ?? {})).toEqual(["enabled", "window"]);
  expect(nip?.description).toBe("The nip protocol.");
});
