import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import { documents } from "../crds/write.ts";
import { protocolOptions } from "../server/app.ts";
import { cacheServer, withDefaults } from "./testing/stored.ts";

/** What a structural schema may say (apiextensions.k8s.io/v1); the rest is refused or silently dropped. */
const WORDS = new Set([
  "type", "description", "default", "enum", "format", "pattern", "minLength", "maxLength", "minimum", "maximum", "minItems", "maxItems", "maxProperties", "items",
  "properties", "required", "additionalProperties", "x-kubernetes-validations", "x-kubernetes-preserve-unknown-fields", "x-kubernetes-list-type", "x-kubernetes-list-map-keys",
]);

interface Schema {
  readonly [word: string]: unknown;
  readonly type?: string;
  readonly properties?: Record<string, Schema>;
  readonly items?: Schema;
  readonly additionalProperties?: Schema;
}

const folder = new URL("../crds/", import.meta.url);
const crds = Object.entries(documents()).map(([file, text]) => ({ file, crd: parse(text) as { metadata: { name: string }; spec: { names: { kind: string; shortNames: string[]; categories: string[] }; versions: { schema: { openAPIV3Schema: Schema }; subresources: object; additionalPrinterColumns: { name: string; jsonPath: string }[] }[] } } }));
const schemaOf = (file: string) => crds.find((one) => one.file === file)!.crd.spec.versions[0]!.schema.openAPIV3Schema;

function nodes(schema: Schema, path: string): [path: string, schema: Schema][] {
  const inner = [...Object.entries(schema.properties ?? {}), ...(schema.items ? [["[]", schema.items] as const] : []), ...(schema.additionalProperties ? [["<name>", schema.additionalProperties] as const] : [])];
  return [[path, schema], ...inner.flatMap(([name, child]) => nodes(child, `${path}.${name}`))];
}
const all = crds.flatMap(({ file }) => ["spec", "status"].flatMap((part) => nodes(schemaOf(file).properties![part]!, `${file.slice(0, -5)}.${part}`)));

test("the files are what the schemas say; run `npm run generate` when they are not", () => {
  for (const [name, text] of Object.entries(documents())) expect(readFileSync(new URL(name, folder), "utf8"), name).toBe(text);
  expect(readdirSync(folder).filter((name) => name.endsWith(".yaml")).sort()).toEqual(Object.keys(documents()).sort());
});

describe("every field", () => {
  test("is written in the words of a structural schema", () => {
    const strange = all.flatMap(([path, schema]) => {
      const either = schema["x-kubernetes-int-or-string"] === true;
      const words = Object.keys(schema).filter((word) => !WORDS.has(word) && !(either && ["x-kubernetes-int-or-string", "anyOf"].includes(word)));
      if (!either && schema.type === undefined) words.push("no type");
      if (schema.properties !== undefined && schema.additionalProperties !== undefined) words.push("properties beside additionalProperties");
      return words.map((word) => `${path}: ${word}`);
    });
    expect(strange).toEqual([]);
  });

  test("has a description that is a sentence", () => {
    expect(all.filter(([, { description }]) => typeof description !== "string" || !/^[A-Z`].*[.:]$/.test(description)).map(([path]) => path)).toEqual([]);
  });

  test("that is required has no default", () => {
    expect(all.filter(([, { required, properties }]) => ((required ?? []) as string[]).some((name) => properties![name] === undefined || "default" in properties![name]!)).map(([path]) => path)).toEqual([]);
  });

  test("with a pattern has one that Go understands", () => {
    const strange = all.filter(([, { pattern }]) => /\(\?[=!<]|\\[1-9]|\\u|\{\d*,?(?!1000\})[0-9]{4,}\}/.test(String(pattern ?? "")));
    expect(strange.map(([path]) => path)).toEqual([]);
  });

  test("that repeats is bounded: rules cost by the largest value there can be", () => {
    const lists = all.filter(([, { type, maxItems }]) => type === "array" && !(Number(maxItems) > 0));
    const maps = all.filter(([, { additionalProperties, maxProperties }]) => additionalProperties !== undefined && !(Number(maxProperties) > 0));
    expect([...lists, ...maps].map(([path]) => path)).toEqual([]);
  });

  test("with rules names fields that exist in them", () => {
    for (const [path, schema] of all) {
      for (const { message, fieldPath, rule } of (schema["x-kubernetes-validations"] ?? []) as { message: string; fieldPath?: string; rule: string }[]) {
        expect(message.length, path).toBeGreaterThan(10);
        if (fieldPath !== undefined) expect(Object.keys(schema.properties ?? {}), `${path}: ${rule}`).toContain(fieldPath.slice(1));
      }
    }
  });
});

test("kubectl knows short names, one category and the columns people look at", () => {
  expect(crds.map(({ crd: { spec } }) => [spec.names.kind, spec.names.shortNames, spec.names.categories])).toEqual([["CacheServer", ["csrv"], ["stowhouse"]], ["CacheKey", ["ckey"], ["stowhouse"]]]);
  const [version] = crds[0]!.crd.spec.versions;
  expect(version!.additionalPrinterColumns.map(({ name }) => name).slice(0, 6)).toEqual(["Ready", "Replicas", "Storage", "Endpoint", "Version", "Age"]);
  expect(version!.subresources).toEqual({ status: {}, scale: { specReplicasPath: ".spec.replicas", statusReplicasPath: ".status.replicas", labelSelectorPath: ".status.selector" } });
});

test("columns show fields there are", () => {
  for (const { file, crd } of crds) {
    for (const { jsonPath } of crd.spec.versions[0]!.additionalPrinterColumns) {
      if (jsonPath.startsWith(".metadata")) continue;
      const names = jsonPath.replace(/\[\?.*?\]/, "").slice(1).split(".");
      const found = names.reduce<Schema | undefined>((schema, name) => (schema?.items ?? schema)?.properties?.[name], schemaOf(file));
      expect(found, `${file} ${jsonPath}`).toBeDefined();
    }
  }
});

test("nothing has to be set, and what means something by being there is not filled in", () => {
  const filled = withDefaults(schemaOf("cacheservers.yaml") as never, {}) as { spec: Record<string, unknown>; status?: unknown };
  expect(filled.spec).toEqual(cacheServer().spec);
  expect(filled.spec).toMatchObject({ replicas: 1, storage: { type: "PersistentVolume", persistentVolume: { size: "50Gi", accessMode: "ReadWriteOnce" }, deletionPolicy: "Retain" }, database: { type: "SQLite" } });
  for (const name of ["tls", "ingress", "httpRoute", "autoscaling", "podTemplate", "image", "url"]) expect(filled.spec).not.toHaveProperty(name);
  expect(filled.status).toBeUndefined();
});

test("an entry of access without a selector is not an entry for everyone", () => {
  expect(schemaOf("cacheservers.yaml").properties!["spec"]!.properties!["access"]!.items!["required"]).toContain("namespaceSelector");
});

test("secrets have no place in a resource", () => {
  expect(all.filter(([path, { format }]) => format === "password" || /(accessKeyId|secretAccessKey|sessionToken|adminKey|writeKey|readKey)$/.test(path)).map(([path]) => path)).toEqual([]);
});

test("each protocol of the server can be switched", () => {
  expect(Object.keys(cacheServer().spec.protocols)).toEqual(Object.keys(protocolOptions()));
});
