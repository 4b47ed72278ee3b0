import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";
import { parse } from "yaml";
import { generated, HERE } from "./generate.ts";

const files = generated();

test.each([...files.keys()])("%s is what its source says; npm run generate writes it", (file) => {
  expect(readFileSync(path.join(HERE, file), "utf8")).toBe(files.get(file));
});

test("no definition is left in the chart that has no source", () => {
  const there = readdirSync(path.join(HERE, "stowhouse-operator/files/crds")).map((name) => `stowhouse-operator/files/crds/${name}`);
  expect(there.filter((file) => !files.has(file))).toEqual([]);
});

interface Schema {
  properties?: Record<string, Schema>;
  description?: string;
  additionalProperties?: unknown;
}

test.each(["stowhouse", "stowhouse-operator"])("%s: every value has a description, and the schema knows every value", (chart) => {
  const schema = JSON.parse(files.get(`${chart}/values.schema.json`)!) as Schema;
  const compare = (values: object, known: Schema, at: string) => {
    for (const [name, value] of Object.entries(values) as [string, unknown][]) {
      const field = known.properties?.[name];
      expect(field?.description, `${at}.${name}`).toMatch(/^[A-Z`].*[.`]$/);
      if (field?.properties !== undefined) compare((value ?? {}) as object, field, `${at}.${name}`);
    }
  };
  compare(parse(files.get(`${chart}/values.yaml`)!) as object, schema, chart);
});

test("the chart's configuration has no field for a secret, nor for what the chart sets", () => {
  const text = files.get("stowhouse/values.schema.json")!;
  expect(text).not.toContain('"password"');
  for (const name of ["adminKey", "secretAccessKey", "accessKeyId", "signingSecret"]) expect(text).not.toContain(`"${name}":`);
  const config = (JSON.parse(text) as Schema).properties!["config"]!;
  expect(Object.keys(config.properties!)).not.toContain("listen");
  expect(Object.keys(config.properties!)).toContain("caches");
});

test("the chart can take every reloadable field out of the configuration", () => {
  // Its template knows paths of one and two names.
  expect(files.get("stowhouse/files/reloadable.txt")!.split("\n").filter((line) => line.split(".").length > 2)).toEqual([]);
});
