import { readFileSync, writeFileSync } from "node:fs";
import type { TSchema } from "typebox";
import { CacheKeySpecSchema, CacheKeyStatusSchema } from "../operator/cachekey/schema.ts";
import { specSchema, StatusSchema } from "../operator/cacheserver/schema.ts";
import { CONDITIONS } from "../operator/conditions.ts";
import { protocolOptions } from "../server/app.ts";
import { documentedFields } from "../server/config/table.ts";

/** The reference of our resources, from what the operator itself works by: README.md here, and the conditions of operator/README.md. */

export const FIELDS_FILE = new URL("README.md", import.meta.url);
export const OPERATOR_FILE = new URL("../operator/README.md", import.meta.url);

function row(cells: readonly string[]): string {
  return `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
}

function fields(schema: TSchema, path: string): string {
  const rows = documentedFields(schema, path).map((field) => row([`\`${field.path}\``, field.type, field.default, field.description]));
  return [row(["Field", "Kind", "Default", "Meaning"]), "|---|---|---|---|", ...rows].join("\n");
}

/** The whole of crds/README.md. */
export function fieldsDocument(): string {
  return `# Fields of CacheServer and CacheKey

<!-- Made by \`npm run generate\` from operator/cacheserver/schema.ts and operator/cachekey/schema.ts. Change those, not this file. -->

\`kubectl explain csrv.spec\` shows the same on a cluster. [The operator's README](../operator/README.md) tells what to do with them, and what
each condition means. Sizes are written like \`10GiB\`, durations like \`30d\` or \`2h30m\`, quantities as Kubernetes has them (\`50Gi\`).

## CacheServer: what you ask for

${fields(specSchema(protocolOptions()), "spec")}

## CacheServer: what the operator tells

${fields(StatusSchema, "status")}

## CacheKey: what you ask for

${fields(CacheKeySpecSchema, "spec")}

## CacheKey: what the operator tells

${fields(CacheKeyStatusSchema, "status")}
`;
}

function conditions(kind: string): string {
  const rows = CONDITIONS.filter((one) => one.kind === kind).map(({ type, status, reason, text }) => row([type, status, `\`${reason}\``, text]));
  return [row(["Condition", "Status", "Reason", "Meaning"]), "|---|---|---|---|", ...rows].join("\n");
}

/** A text with the tables of conditions in their places. @throws Error when one has no place */
export function withConditions(text: string): string {
  return ["CacheServer", "CacheKey"].reduce((result, kind) => {
    const [begin, end] = [`<!-- conditions of ${kind} -->\n`, `\n<!-- /conditions of ${kind} -->`];
    const [from, to] = [result.indexOf(begin), result.indexOf(end)];
    if (from < 0 || to < from) throw new Error(`operator/README.md has no place for the conditions of ${kind}`);
    return result.slice(0, from + begin.length) + conditions(kind) + result.slice(to);
  }, text);
}

if (import.meta.main) {
  writeFileSync(FIELDS_FILE, fieldsDocument());
  writeFileSync(OPERATOR_FILE, withConditions(readFileSync(OPERATOR_FILE, "utf8")));
}
