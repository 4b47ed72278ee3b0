import type { TSchema } from "typebox";
import { BOUNDS } from "./bounds.ts";
import type { Field } from "./fields.ts";
import { kindOf, NAME } from "./kinds.ts";
import { describe, nearest, pathName, type Problems } from "./problems.ts";

/** Where a value stands: its path for the user, and the field of the schema with `<name>` for a map's names. */
export interface Place {
  readonly path: string;
  readonly field: string;
}

const MOST_NAMES = 1000;
const MOST_UNKNOWN = 20;

function at(place: Place, name: string, field = name): Place {
  const join = (before: string, after: string) => (before === "" ? after : `${before}.${after}`);
  return { path: join(place.path, pathName(name)), field: join(place.field, field) };
}

/** Names that carry a value; null says "not given", as an empty field of a YAML file does. */
function given(value: object): string[] {
  return Object.keys(value).filter((name) => (value as Record<string, unknown>)[name] !== null && (value as Record<string, unknown>)[name] !== undefined);
}

/**
 * Resolves a value by its schema: defaults filled in, words turned into numbers. What is wrong goes to `problems`; the
 * result is of use only where they are none. Never throws, whatever the value.
 */
export function check(described: TSchema, value: unknown, place: Place, problems: Problems): unknown {
  const schema = described as Field;
  const actual = value ?? schema.default;
  const wrong = (expected: string) => {
    problems.add(place.path, `expected ${expected}, found ${describe(actual, schema.format === "password")}`);
    return undefined;
  };
  switch (schema.type) {
    case "object":
      if (typeof actual !== "object" || actual === null || Array.isArray(actual)) return wrong("an object");
      return schema.properties === undefined ? checkMap(schema, actual, place, problems) : checkSection(schema, actual, place, problems);
    case "array":
      if (!Array.isArray(actual)) return wrong("a list");
      return checkList(schema, actual, place, problems);
    case "boolean":
      return typeof actual === "boolean" ? actual : wrong("true or false");
    case "integer":
    case "number": {
      const { minimum = -Infinity, maximum = Infinity, type } = schema;
      const fits = typeof actual === "number" && (type === "number" || Number.isSafeInteger(actual)) && actual >= minimum && actual <= maximum;
      return fits ? actual : wrong(numberText(type, minimum, maximum));
    }
    case "string":
      return checkText(schema, actual, place.field, wrong);
    default:
      // A protocol's option without a type (x-kubernetes-preserve-unknown-fields) is that protocol's to judge.
      return actual;
  }
}

function numberText(type: string, minimum: number, maximum: number): string {
  const what = type === "integer" ? "a whole number" : "a number";
  if (maximum !== Infinity && maximum !== Number.MAX_SAFE_INTEGER) return `${what} from ${minimum} to ${maximum}`;
  return minimum === -Infinity ? what : `${what} of at least ${minimum}`;
}

function checkText(schema: Field, actual: unknown, field: string, wrong: (expected: string) => undefined): unknown {
  const kind = kindOf(schema);
  const { minLength = 0, maxLength = Infinity } = schema;
  if (kind !== undefined) {
    const value = typeof actual === "string" && actual.length > maxLength ? undefined : kind.parse(actual);
    if (value === undefined) return wrong(kind.expected);
    const [least, largest] = BOUNDS[field] ?? [];
    const below = least !== undefined && (value as number) < (kind.parse(least) as number);
    const above = largest !== undefined && (value as number) > (kind.parse(largest) as number);
    return below || above ? wrong(`${kind.type === "size" ? "a size" : "a duration"} from ${least} to ${largest}`) : value;
  }
  if (typeof actual !== "string") return wrong(schema.enum === undefined ? "text" : `one of ${schema.enum.join(", ")}`);
  if (schema.enum !== undefined && !schema.enum.includes(actual)) return wrong(`one of ${schema.enum.join(", ")}`);
  if (actual.length < minLength || actual.length > maxLength) {
    return wrong(maxLength === Infinity ? `text of at least ${minLength} characters` : `text of ${minLength} to ${maxLength} characters`);
  }
  if (actual.includes("\0")) return wrong("text without NUL characters");
  if (schema.pattern !== undefined && !new RegExp(schema.pattern, "u").test(actual)) return wrong(`text that matches ${schema.pattern}`);
  return actual;
}

function checkList(schema: Field, actual: readonly unknown[], place: Place, problems: Problems): unknown {
  const { minItems = 0, maxItems = MOST_NAMES, items = {} } = schema;
  if (actual.length < minItems || actual.length > maxItems) {
    problems.add(place.path, `expected ${minItems} to ${maxItems} items, found ${actual.length}`);
    return undefined;
  }
  return Array.from(actual, (item, index) => check(items, item, { path: `${place.path}[${index}]`, field: `${place.field}[]` }, problems));
}

/** The result has no prototype: its names come from outside, and `constructor` is a fine name for a cache. */
function checkMap(schema: Field, actual: object, place: Place, problems: Problems): unknown {
  const names = Object.keys(actual);
  const values = typeof schema.additionalProperties === "object" ? schema.additionalProperties : {};
  if (names.length > MOST_NAMES) problems.add(place.path, `expected at most ${MOST_NAMES} names, found ${names.length}`);
  const result: Record<string, unknown> = Object.create(null);
  for (const name of names.slice(0, MOST_NAMES)) {
    const here = at(place, name, "<name>");
    if (NAME.parse(name) === undefined) problems.add(here.path, `expected ${NAME.expected}`);
    else result[name] = check(values, (actual as Record<string, unknown>)[name], here, problems);
  }
  return result;
}

function checkSection(schema: Field, actual: object, place: Place, problems: Problems): unknown {
  const properties = schema.properties ?? {};
  const known = Object.keys(properties);
  const names = given(actual);
  const unknown = Object.keys(actual).filter((name) => !Object.hasOwn(properties, name));
  if (unknown.length > MOST_UNKNOWN) problems.add(place.path, `${unknown.length} fields are not known here`);
  for (const name of unknown.slice(0, MOST_UNKNOWN)) {
    const meant = nearest(name, known);
    problems.add(at(place, name).path, `no such field${meant === undefined ? `; known here: ${known.join(", ") || "none"}` : `; did you mean ${meant}?`}`);
  }
  const result: Record<string, unknown> = {};
  for (const [name, field] of Object.entries(properties)) {
    const here = at(place, name);
    if (names.includes(name) || field.default !== undefined) {
      result[name] = check(field, (actual as Record<string, unknown>)[name], here, problems);
    } else if (schema.required?.includes(name)) {
      problems.add(here.path, `is missing; ${field.description ?? "it has no default"}`);
    }
  }
  return result;
}
