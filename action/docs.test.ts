import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { README, withTables } from "./docs.ts";

test("the tables of inputs and outputs are those of the action.yml files (npm run generate writes them)", () => {
  const text = readFileSync(README, "utf8");
  expect(text).toBe(withTables(text));
});
