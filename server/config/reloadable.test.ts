import { describe, expect, test } from "vitest";
import { resolveConfig } from "../config.ts";
import { changesBetween, RELOADABLE, withoutReloadable } from "./reloadable.ts";
import { configSchema } from "./schema.ts";
import type { Field } from "./fields.ts";

function between(before: object, after: object) {
  return changesBetween(resolveConfig(before), resolveConfig(after));
}

describe("which changes of the configuration a running server takes over", () => {
  test("every path names a field of the schema", () => {
    for (const path of RELOADABLE) {
      const found = path.split(".").reduce<Field | undefined>((field, name) => field?.properties?.[name], configSchema({}) as Field);
      expect(found, path).toBeDefined();
    }
  });

  test("quota, rules and log level are, listeners and storages are not", () => {
    const rules = [{ repositoryId: 1 }];
    expect(between({}, { caches: { default: { quota: "1GiB" } }, auth: { github: { rules } }, log: { level: "warn" } })).toEqual({
      reloadable: ["auth.github.rules", "caches.default.quota", "log.level"],
      restart: [],
    });
    expect(between({}, { listen: "127.0.0.1:9000", database: { maxConnections: 3 } }).restart).toEqual(["database.maxConnections", "listen.port"]);
    expect(between({}, {})).toEqual({ reloadable: [], restart: [] });
  });

  test("an added or removed cache is one change", () => {
    expect(between({}, { caches: { second: {} } }).reloadable).toEqual(["caches.second"]);
    expect(between({ caches: { second: {} } }, {}).reloadable).toEqual(["caches.second"]);
  });

  test("without them, two configurations that need no restart are equal", () => {
    const before = { listen: "127.0.0.1:9000", limits: { entrySize: "1GiB", uploads: 3 }, caches: { a: {} } };
    const after = { listen: "127.0.0.1:9000", limits: { uploads: 3 }, log: { level: "warn" } };
    expect(withoutReloadable(before)).toEqual(withoutReloadable(after));
    expect(withoutReloadable(before)).toEqual({ listen: "127.0.0.1:9000", limits: { uploads: 3 } });
  });
});
