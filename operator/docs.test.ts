import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";
import { FIELDS_FILE, fieldsDocument, OPERATOR_FILE, withConditions } from "../crds/docs.ts";

test("crds/README.md is what the schemas say; npm run generate writes it", () => {
  expect(readFileSync(FIELDS_FILE, "utf8")).toBe(fieldsDocument());
});

test("the conditions of operator/README.md are those of the table; npm run generate writes them", () => {
  const text = readFileSync(OPERATOR_FILE, "utf8");
  expect(text).toBe(withConditions(text));
});

test("every field has a description, and no row of a table is broken", () => {
  const rows = fieldsDocument().split("\n").filter((line) => line.startsWith("| `"));
  expect(rows.length).toBeGreaterThan(100);
  for (const line of rows) {
    expect(line.match(/(?<!\\)\|/g), line).toHaveLength(5);
    expect(line, line).toMatch(/[.`] \|$/);
  }
});

test("every file the operator's README points to is there", () => {
  const links = [...readFileSync(OPERATOR_FILE, "utf8").matchAll(/\]\(([^)#]+)/g)].map(([, link]) => link!).filter((link) => !link.startsWith("http"));
  expect(links.filter((link) => !existsSync(path.join(import.meta.dirname, link)))).toEqual([]);
});
