import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { parse } from "yaml";

/** The tables of action/README.md, made from the action.yml files. */

interface Metadata {
  readonly inputs?: Readonly<Record<string, { readonly description: string; readonly default?: string; readonly required?: boolean }>>;
  readonly outputs?: Readonly<Record<string, { readonly description: string }>>;
}

const HERE = import.meta.dirname;
export const README = path.join(HERE, "README.md");
const FILES: Readonly<Record<string, string>> = { "set-up": "../action.yml", restore: "restore/action.yml", save: "save/action.yml", cache: "cache/action.yml" };

function tables({ inputs = {}, outputs = {} }: Metadata): string {
  const ins = Object.entries(inputs).map(([name, { description, default: value, required }]) => `| \`${name}\` | ${required ? "required" : value === undefined ? "" : `\`${value}\``} | ${cell(description)} |`);
  const outs = Object.entries(outputs).map(([name, { description }]) => `| \`${name}\` | ${cell(description)} |`);
  return [
    "| Input | Default | |", "|---|---|---|", ...ins,
    ...(outs.length > 0 ? ["", "| Output | |", "|---|---|", ...outs] : []),
  ].join("\n");
}

const cell = (text: string) => text.replaceAll("|", "\\|");

/** The text with each table as the action.yml files say. @throws Error when a table has no place in it */
export function withTables(text: string): string {
  return Object.entries(FILES).reduce((result, [name, file]) => {
    const [begin, end] = [`<!-- ${name} -->\n`, `\n<!-- /${name} -->`];
    const [from, to] = [result.indexOf(begin), result.indexOf(end)];
    if (from < 0 || to < from) throw new Error(`README.md has no place for the tables of ${name}`);
    return result.slice(0, from + begin.length) + tables(parse(readFileSync(path.join(HERE, file), "utf8")) as Metadata) + result.slice(to);
  }, text);
}

if (import.meta.main) writeFileSync(README, withTables(readFileSync(README, "utf8")));
