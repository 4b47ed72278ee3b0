import type { Field } from "../../server/config/fields.ts";
import { canonical, isRecord } from "../json.ts";

/**
 * What a value says beyond its schema's defaults; undefined when that is nothing. A configuration is written without them:
 * a server of an older image isn't told of fields it doesn't know, and a newer operator's new fields restart no server.
 */
export function changed(schema: Field, value: unknown): unknown {
  const said = withoutDefaults(schema, value);
  return schema.default !== undefined && canonical(said) === canonical(schema.default) ? undefined : said;
}

function withoutDefaults({ properties, items = {}, additionalProperties: values }: Field, value: unknown): unknown {
  if (Array.isArray(value)) return value.map((item) => withoutDefaults(items, item));
  if (!isRecord(value)) return value;
  // A map's names say something by themselves.
  if (typeof values === "object") return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, withoutDefaults(values, item)]));
  if (properties === undefined) return value;
  const said = Object.entries(value).map(([name, item]) => [name, changed(properties[name] ?? {}, item)] as const);
  return Object.fromEntries(said.filter(([, item]) => item !== undefined));
}
