import type { TSchema } from "typebox";
import { BOUNDS } from "./bounds.ts";
import type { Field } from "./fields.ts";
import { kindOf } from "./kinds.ts";
import { RELOADABLE } from "./reloadable.ts";
import { ConfigSchema } from "./schema.ts";
import { VARIABLES } from "./sources.ts";

/** A field of the configuration as its documentation shows it. */
export interface Documented {
  /** `limits.entrySize`, `caches.<name>.quota`, `auth.github.rules[].cache`. */
  readonly path: string;
  readonly type: string;
  /** As YAML, or empty. */
  readonly default: string;
  readonly description: string;
}

/** Every field a user can set, in the schema's order; sections themselves are left out. */
export function documentedFields(schema: TSchema, path = ""): Documented[] {
  const field = schema as Field;
  if (field.properties !== undefined) {
    return Object.entries(field.properties).flatMap(([name, value]) => documentedFields(value as TSchema, path === "" ? name : `${path}.${name}`));
  }
  const values = field.type === "array" ? field.items : field.additionalProperties;
  if (typeof values === "object" && values.properties !== undefined) {
    return documentedFields(values as TSchema, field.type === "array" ? `${path}[]` : `${path}.<name>`);
  }
  return [{ path, type: typeText(field, path), default: defaultText(field.default), description: field.description ?? "" }];
}

function typeText(field: Field, path: string): string {
  const { type = "anything", items = {}, minimum, maximum } = field;
  const values = field.additionalProperties;
  if (type === "array") return `list of ${typeText(items, `${path}[]`)}`;
  if (typeof values === "object") return `map of ${typeText(values, `${path}.<name>`)}`;
  if (field.enum !== undefined) return field.enum.map((value) => `\`${value}\``).join(", ");
  const bounds = BOUNDS[path] ?? (type === "integer" && maximum !== Number.MAX_SAFE_INTEGER ? [minimum, maximum] : undefined);
  if (field.format === "password") return "secret";
  const word = kindOf(field)?.type ?? { string: "text", boolean: "true or false", integer: "number" }[type as string] ?? type;
  return bounds === undefined ? word : `${word}, ${bounds[0]} to ${bounds[1]}`;
}

function defaultText(value: unknown): string {
  if (value === undefined) return "";
  return `\`${typeof value === "string" ? value : JSON.stringify(value)}\``;
}

function row(cells: readonly string[]): string {
  return `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
}

/** The reference of all fields, as a Markdown table. */
export function configTable(): string {
  const rows = documentedFields(ConfigSchema).map((field) => row([`\`${field.path}\``, field.type, field.default, field.description]));
  return [row(["Field", "Kind", "Default", "Meaning"]), "|---|---|---|---|", ...rows].join("\n");
}

/** The whole of server/CONFIG.md. */
export function configDocument(): string {
  const variables = Object.entries(VARIABLES).map(([path, variable]) => row([`\`${variable}\``, `\`${path}\``]));
  return `# Configuration

<!-- Made from server/config/schema.ts by \`node server/config/write-table.ts\`. Change the schema, not this file. -->

Nothing has to be set. A file (\`--config\`, or \`STOWHOUSE_CONFIG\`) ending in \`.yaml\`, \`.yml\`, \`.json\` or \`.toml\` sets any field;
[config.sample.yaml](config.sample.yaml) shows all of them. Environment variables override the file, and the flags \`--listen\`,
\`--data\`, \`--url\` and \`--log-level\` override both. A configuration with anything wrong in it is refused at start, with every wrong field.

- **Sizes** are written like \`10GiB\`, \`500MB\` or \`65536\` (bytes); \`GiB\` is 1024³ bytes, \`GB\` is 1000³.
- **Durations** are written like \`30d\`, \`2h30m\`, \`5s\` or \`250ms\`.
- **Shares** are written like \`25%\`.
- Relative paths start at the directory the server is started in.

## Environment

| Variable | Field |
|---|---|
${variables.join("\n")}

Each of them may name a file that holds the value, with \`_FILE\` behind its name: \`STOWHOUSE_ADMIN_KEY_FILE=/run/secrets/admin-key\`.
\`STOWHOUSE_DATABASE_URL\` sets \`database.type: postgres\` too. Empty variables count as absent.

## Changes while the server runs

The server looks at its configuration file, and at the files that \`…_FILE\` variables name, every two seconds, and at once on SIGHUP
(unless it runs in a terminal). It takes over, without a restart and without failing a request:

${RELOADABLE.map((path) => `\`${path}\``).join(", ")}

with everything below. What else has changed waits for a restart, and the log names it. A wrong configuration is refused as a whole: the log
says what is wrong, \`stowhouse_config_last_reload_successful\` becomes 0, and the one before stays.

- **Keys** (\`auth.adminKey\`, \`writeKey\`, \`readKey\`) may be several, one a line: to rotate one, add the new line, give the new key to its
  users, then remove the old line. A key that is gone is refused at once, with the sessions and signed URLs made from it.
- **\`auth.signingSecret\`** may be several lines: the first signs, all verify. With several replicas, first add the new line at the end, then
  move it to the top, then, when a session's lifetime has passed, remove the old one. Whoever goes from the secret in the database to one of
  their own (or back) ends the sessions that run.
- **Rules** count from the next exchange on; a session keeps what it was given until it ends, or until its run is revoked.
- **A cache** that is removed here keeps its entries, unreachable, until it is added again; one that names a new storage waits for the restart.

## Fields

${configTable()}

The options of each protocol stand under \`protocols.<name>\`, beside \`enabled\` (default \`true\`); its README lists them.
`;
}
