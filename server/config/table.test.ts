import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { resolveConfig } from "../config.ts";
import { configDocument, configTable } from "./table.ts";

test("CONFIG.md is what the schema says; run server/config/write-table.ts when it is not", () => {
  expect(readFileSync(new URL("../CONFIG.md", import.meta.url), "utf8")).toBe(configDocument());
});

test("the table shows paths, bounds and defaults", () => {
  const table = configTable();
  expect(table).toContain("| `limits.headerSize` | size, 4KiB to 1MiB | `16KiB` | Largest head of a request. |");
  expect(table).toContain("| `caches.<name>.storages` | list of name |");
  expect(table).toContain("| `auth.github.rules[].repositoryId` | number |");
  expect(table).toContain("| `database.type` | `sqlite`, `postgres` | `sqlite` |");
});

test("every row has four cells", () => {
  for (const line of configTable().split("\n")) expect(line.match(/(?<!\\)\|/g)).toHaveLength(5);
});

test("nothing has to be set", () => {
  expect(resolveConfig({})).toEqual(resolveConfig(null));
});
