import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { protocolOptions } from "../../app.ts";
import { configSchema } from "../../config/schema.ts";
import { documentedFields } from "../../config/table.ts";

const text = readFileSync(new URL("./MIGRATING.md", import.meta.url), "utf8");
const table = text.split("\n## Defaults\n")[1]!.split("\n## ")[0]!;
const rows = table.split("\n").filter((line) => line.startsWith("| `")).map((line) => line.split("|").slice(1, -1).map((cell) => cell.trim()));
const bare = (cell: string) => cell.replace(/^`|`$/g, "");

test.each(rows.map((cells): [string, string] => [bare(cells[0]!), bare(cells[1]!)]))("MIGRATING.md says the default of %s: %s", (path, said) => {
  const field = documentedFields(configSchema(protocolOptions())).find((one) => one.path === path);
  expect(field, "there is such a field").toBeDefined();
  expect(bare(field!.default) || "none").toBe(said);
});

test("every row of defaults says what both others do, and why", () => {
  expect(rows.length).toBeGreaterThan(30);
  for (const cells of rows) expect(cells, cells[0]).toHaveLength(5);
});
