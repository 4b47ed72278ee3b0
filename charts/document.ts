import { stringify } from "yaml";
import type { TSchema } from "typebox";
import { SIZE } from "../server/config/units.ts";
import type { Field } from "../server/config/fields.ts";

/** From one schema of a chart's values: values.yaml, values.schema.json and the README's table. */

interface Value extends Omit<Field, "type" | "properties" | "additionalProperties"> {
  readonly type?: string | readonly string[];
  readonly properties?: Readonly<Record<string, Value>>;
  readonly additionalProperties?: Value | boolean;
  readonly example?: unknown;
}

const WIDTH = 110;

/** A group of values; one with an example is a value in itself, shown as its example. */
function isGroup(value: Value): value is Value & { properties: Readonly<Record<string, Value>> } {
  return value.properties !== undefined && value.example === undefined;
}

/** The text of values.yaml: every value with its default, under its description. */
export function valuesYaml(schema: TSchema, head: string): string {
  const groups = Object.entries((schema as Value).properties ?? {}).map(([name, value]) => valueLines(name, value).join("\n"));
  return `${comment(head).join("\n")}\n\n${groups.join("\n\n")}\n`;
}

function valueLines(name: string, value: Value): string[] {
  const about = comment(`-- ${value.description}`);
  if (isGroup(value)) return [...about, `${name}:`, ...Object.entries(value.properties).flatMap(([child, field]) => valueLines(child, field)).map((line) => `  ${line}`)];
  const example = value.example === undefined ? [] : yaml({ [name]: value.example }).map((line) => `# ${line}`);
  return [...about, ...yaml({ [name]: value.default }), ...example];
}

function yaml(value: unknown): string[] {
  return stringify(value, { lineWidth: 0, indentSeq: true, defaultStringType: "PLAIN" }).trimEnd().split("\n");
}

function comment(text: string): string[] {
  const lines = [""];
  for (const word of text.split(" ")) {
    const last = lines.at(-1)!;
    if (last.length + word.length > WIDTH) lines.push(word);
    else lines[lines.length - 1] = last === "" ? word : `${last} ${word}`;
  }
  return lines.map((line) => `# ${line}`);
}

/** The rows of the README's table, in the order of values.yaml. */
export function valuesTable(schema: TSchema): string {
  const rows = (value: Value, path: string): string[] =>
    isGroup(value)
      ? Object.entries(value.properties).flatMap(([name, child]) => rows(child, path === "" ? name : `${path}.${name}`))
      : [`| \`${path}\` | ${code(value.default)} | ${value.description!.replaceAll("|", "\\|")} |`];
  return ["| Value | Default | Meaning |", "|---|---|---|", ...rows(schema as Value, "")].join("\n");
}

function code(value: unknown): string {
  return value === "" ? "" : `\`${typeof value === "string" ? value : JSON.stringify(value)}\``;
}

/** values.schema.json, as Helm reads it: what is not a value is refused by name. */
export function valuesSchema(schema: TSchema): object {
  const { properties, ...rest } = strict(schema as Value) as { properties: object };
  // Helm hands every chart the values of its parents under this name.
  return { $schema: "http://json-schema.org/draft-07/schema#", ...rest, properties: { ...properties, global: { type: "object" } } };
}

function strict(value: Value): object {
  const { default: fallback, example: _, properties, additionalProperties: more, items, pattern, type, ...words } = value;
  return {
    ...words,
    // Sizes may be plain bytes too.
    type: pattern === SIZE.pattern ? ["string", "integer"] : type,
    ...(pattern === undefined ? {} : { pattern }),
    ...(fallback === undefined || properties !== undefined ? {} : { default: fallback }),
    ...(items === undefined ? {} : { items: strict(items as Value) }),
    ...(typeof more === "object" ? { additionalProperties: strict(more) } : {}),
    ...(properties === undefined ? {} : { properties: Object.fromEntries(Object.entries(properties).map(([name, child]) => [name, strict(child)])), additionalProperties: false }),
  };
}
